"""Each line in docs/models.md that packs a model is run, on a small model of the same library."""

import ast
import json
import re
import shlex
import shutil
from pathlib import Path

import keras
import pytest
from safetensors.numpy import save_file

from heatdrop.cli import main
from heatdrop.model.bundle import open_bundle
from heatdrop.model.preprocessing import Preprocessing

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "models.md").read_text(encoding="utf-8")
DATA = ROOT / "tests" / "data"
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", TEXT, re.DOTALL)
LINES = [line for kind, block in BLOCKS if kind == "sh" for line in block.splitlines()]
MODELS = {
    "densenet121.onnx": ("onnx/small-torchvision-densenet.onnx", 3),
    "vit.onnx": ("onnx/small-timm-vit.new.onnx", 3),
    "monai.onnx": ("onnx/small-monai-densenet.onnx", 3),
    "xrv.onnx": ("onnx/small-torchxrayvision-densenet.onnx", 18),
    "old.h5": ("keras2/keras2.h5", 3),
    "weights.safetensors": ("", 3),
}
"""For each model in the document, a small one and how many classes it has."""


@pytest.mark.slow
@pytest.mark.parametrize("line", [line for line in LINES if ".keras " not in line])
def test_a_line_that_packs_a_model_packs_a_small_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: str
) -> None:
    monkeypatch.chdir(tmp_path)
    program, *arguments = shlex.split(line)
    model, classes = MODELS[arguments[2]]
    if model:
        shutil.copy(DATA / model, arguments[2])
    else:
        keras.utils.set_random_seed(1)
        network = keras.applications.MobileNetV2(weights=None, classes=classes, input_shape=(64, 64, 3))
        for weight in network.weights:
            # Untrained, each of its many layers would make its input smaller, until no gradient is left.
            if "moving_variance" in weight.path:
                weight.assign(weight * 0.1)
        save_file({weight.path: weight.numpy() for weight in network.weights}, arguments[2])
    names = [f"class {number}" for number in range(classes)]
    Path("labels.json").write_text(json.dumps(names))
    Path("timm.json").write_text(next(block for kind, block in BLOCKS if kind == "json"))
    monkeypatch.setattr("sys.argv", [program, *arguments])

    assert program == "heatdrop"
    with pytest.raises(SystemExit) as ended:
        main()

    assert not ended.value.code
    bundle = open_bundle(Path("bundle"))
    assert list(bundle.labels) == names
    assert bundle.channels == (1 if arguments[2] in ("monai.onnx", "xrv.onnx") else 3)
    assert (bundle.description.thresholds is not None) == (arguments[2] == "xrv.onnx")


def test_what_exports_a_model_is_python() -> None:
    for kind, block in BLOCKS:
        if kind == "python":
            ast.parse(block)


def test_every_field_of_a_preprocessing_is_described() -> None:
    assert [name for name in Preprocessing.model_fields if f"`{name}`" not in TEXT] == []
