"""What Keras 2 saved is read with its weights, by its description alone."""

import json
import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest
from tensorflow.python.keras.protobuf.saved_metadata_pb2 import SavedMetadata

from heatdrop.errors import InvalidBundle
from heatdrop.model.keras2 import METADATA
from heatdrop.model.model_files import load_model
from heatdrop.model.packing import pack

SAVED = Path(__file__).parents[1] / "data" / "keras2"
"""Written by ``make.py`` there; the SavedModel is without its graph, which is never read."""


@pytest.mark.parametrize("name", ["keras2.h5", "saved_model"])
def test_a_model_of_keras_2_gives_what_keras_2_predicted(tmp_path: Path, name: str) -> None:
    with np.load(SAVED / "predictions.npz") as saved:
        images, scores = saved["images"].astype(np.float32), saved["scores"]

    model = load_model(SAVED / name)

    np.testing.assert_allclose(model([images], training=False), scores, atol=1e-6)


def test_a_model_of_keras_2_becomes_a_bundle(tmp_path: Path) -> None:
    bundle = pack(
        load_model(SAVED / "keras2.h5"), tmp_path / "b", name="old", labels=["a", "b", "c"], preprocess_as="raw"
    )

    assert bundle.size == (12, 12)


def changed(folder: Path, name: str, change) -> Path:
    """A copy of a saved model whose description was changed as text."""
    if name == "keras2.h5":
        file = Path(shutil.copy(SAVED / name, folder))
        with h5py.File(file, "r+") as opened:
            opened.attrs["model_config"] = change(opened.attrs["model_config"])
        return file
    saved = Path(shutil.copytree(SAVED / name, folder / name))
    metadata = SavedMetadata.FromString((saved / METADATA).read_bytes())
    for node in metadata.nodes:
        node.metadata = change(node.metadata)
    (saved / METADATA).write_bytes(metadata.SerializeToString())
    return saved


@pytest.mark.parametrize("name", ["keras2.h5", "saved_model"])
@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda text: text.replace("nn.relu", "io.write_file"), "TFOpLambda"),
        (lambda text: text.replace('"ReLU"', '"Lambda"'), "[Ll]ambda|function"),
        (lambda text: text.replace('"ReLU"', '"Telescope"'), "Telescope"),
        (lambda text: text[:-9], "damaged"),
        (lambda text: json.dumps([]), "damaged"),
    ],
)
def test_what_has_code_of_its_own_or_is_damaged_is_refused(tmp_path: Path, name: str, change, problem: str) -> None:
    with pytest.raises(InvalidBundle, match=problem) as caught:
        load_model(changed(tmp_path, name, change))

    assert "\n" not in str(caught.value)


def test_a_saved_model_without_a_description_is_refused_with_a_way_out(tmp_path: Path) -> None:
    (tmp_path / "saved_model.pb").write_bytes(b"")

    with pytest.raises(InvalidBundle, match=r"which layers it is made of; save the model as \.keras, or export"):
        load_model(tmp_path)


def test_a_saved_model_that_lacks_weights_is_refused(tmp_path: Path) -> None:
    saved = Path(shutil.copytree(SAVED / "saved_model", tmp_path / "saved_model"))
    (saved / "variables" / "variables.index").unlink()

    with pytest.raises(InvalidBundle, match="cannot be loaded safely"):
        load_model(saved)


@pytest.mark.parametrize("content", [b"", b"\x89HDF\r\n\x1a\n", b"nothing"])
def test_another_file_is_no_hdf5(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "model.h5").write_bytes(content)

    with pytest.raises(InvalidBundle, match=r"model\.h5.* (no HDF5 file|truncated)"):
        load_model(tmp_path / "model.h5")


def test_weights_alone_are_refused(tmp_path: Path) -> None:
    file = Path(shutil.copy(SAVED / "keras2.h5", tmp_path / "w.hdf5"))
    with h5py.File(file, "r+") as opened:
        del opened.attrs["model_config"]

    with pytest.raises(InvalidBundle, match="holds weights without a model"):
        load_model(file)
