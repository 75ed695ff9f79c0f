"""What PyTorch's libraries export is read so that it predicts what PyTorch predicts and has the maps that Captum makes.

The models are small, with random weights; ``heatdrop bench onnx`` compares those that people use. The files are written
by ``python -m heatdrop.bench.peers.torch_models`` (torch 2.14.1, torchvision 0.29.1, timm 1.0.31, MONAI 1.6.1,
torchxrayvision 1.5.7, Captum 0.9.0).
"""

from pathlib import Path

import pytest

from heatdrop.bench.onnx_models import compare

EXPORTED = Path(__file__).parents[1] / "data" / "onnx"
SMOOTH = {"convnext", "mobilenet", "vit"}
"""Whose activations are smooth: no ReLU decides by its last digit there. MobileNet's few hardly do."""


@pytest.mark.parametrize("model", sorted(EXPORTED.glob("*.onnx")), ids=lambda path: path.stem)
def test_an_exported_model_predicts_and_is_explained_as_in_pytorch(model: Path) -> None:
    found = compare(model)

    assert found["outputs"] < 1e-4
    assert found["cosine"] > 0.9999
    smooth = model.stem.partition(".")[0].rpartition("-")[2] in SMOOTH
    assert found["relative_l2"] < (2e-3 if smooth else 2e-2)


def test_there_are_models_of_each_library_and_exporter() -> None:
    names = {path.stem for path in EXPORTED.glob("*.onnx")}

    for library in ("torchvision", "timm", "monai", "torchxrayvision"):
        assert any(library in name and not name.endswith(".new") for name in names)
        assert any(library in name and name.endswith(".new") for name in names)
