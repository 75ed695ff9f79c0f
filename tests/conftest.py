"""One small real DenseNet, packed once, and real radiographs in every format: what most tests share."""

import gc
import os
import shutil
import signal
from importlib.resources import files as package_files
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import cv2
import pytest
from tests.kept_bundles import kept_bundle

from heatdrop import images
from heatdrop.model.bundle import Bundle

# A shell's background jobs ignore Ctrl-C, as would the commands that tests start and end by it.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

LABELS = ("BACTERIAL", "NORMAL", "VIRAL")
pytest_plugins = ["tests.iam.plugin"]

CLOUDS = ("faults", "integration")
"""The folders of tests whose clouds take turns in a worker's moto."""


def pytest_collection() -> None:
    """Look for no garbage while the tests are imported: what comes stays, and looking takes a sixth of that time."""
    gc.disable()


def pytest_collection_finish() -> None:
    """Leave what is imported by now, TensorFlow above all, out of each later search for garbage."""
    gc.collect()
    gc.freeze()
    gc.enable()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the files that take longest first, so that parallel workers end together, and each cloud's files in a row."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}

    def place(item: pytest.Item) -> tuple[int, bool]:
        folder = item.path.parent.name
        of_cloud = CLOUDS.index(folder) + 1 if folder in CLOUDS else 0
        return of_cloud or (0 if item.path in slow else len(CLOUDS) + 1), item.path not in slow

    items.sort(key=place)


@pytest.fixture(scope="session")
def radiographs() -> Path:
    """The folder of the pydicom-data package."""
    return Path(str(package_files("data_store"))) / "data"


@pytest.fixture(scope="session")
def chest_dicom(radiographs: Path) -> Path:
    """RG1, a real chest radiograph (CR, 1955 x 1841)."""
    return radiographs / "RG1_J2KI.dcm"


@pytest.fixture(scope="session")
def chest_jpeg(chest_dicom: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same chest as a JPEG of 480 x 452."""
    pixels = images.decode(chest_dicom.read_bytes()).pixels
    path = tmp_path_factory.mktemp("chest") / "chest.jpg"
    cv2.imwrite(str(path), cv2.resize(pixels, (480, 452), interpolation=cv2.INTER_AREA))
    return path


@pytest.fixture(scope="session")
def small_model():
    """A DenseNet of four blocks of two layers, 64 x 64, three classes, with fixed weights."""
    import keras
    from keras.src.applications.densenet import DenseNet

    keras.utils.set_random_seed(7)
    return DenseNet([2, 2, 2, 2], weights=None, input_shape=(64, 64, 3), classes=len(LABELS))


@pytest.fixture(scope="session")
def small_bundle(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """The small DenseNet as a bundle. Read only: take ``bundle_copy`` to change it."""

    def pack(folder: Path) -> None:
        from heatdrop.model import packing

        model = request.getfixturevalue("small_model")
        packing.pack(model, folder, name="small", labels=LABELS, preprocess_as="densenet")

    return kept_bundle(tmp_path_factory.mktemp("bundles") / "small", pack)


@pytest.fixture
def bundle_copy(small_bundle: Bundle, tmp_path: Path) -> Path:
    """A copy of the small bundle's folder that a test may damage."""
    return Path(shutil.copytree(small_bundle.folder, tmp_path / "bundle"))


@pytest.fixture(scope="session")
def tiny_bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """Two convolutions, 48 x 32, quick to explain, with labels that are hard to show. Read only."""

    def pack(folder: Path) -> None:
        import keras

        from heatdrop.model import packing

        keras.utils.set_random_seed(5)
        inputs = keras.Input((48, 32, 3))
        x = keras.layers.Conv2D(8, 5, strides=2, activation="relu")(inputs)
        x = keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(8, 3, activation="relu")(x))
        model = keras.Model(inputs, keras.layers.Dense(3, activation="softmax")(x))
        labels = ["$x_1$", "../../肺炎", "a\n\x1b[0m"]
        packing.pack(model, folder, name="tiny", labels=labels, preprocess_as="densenet")

    return kept_bundle(tmp_path_factory.mktemp("bundles") / "tiny", pack)


@pytest.fixture
def tiny_backbone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two convolutions and a normalisation in the place of DenseNet121, which takes a minute to train and export."""
    import keras

    from heatdrop.model import architectures

    def build(include_top: bool, weights: str | None, input_tensor: "keras.KerasTensor") -> "keras.Model":
        assert not include_top
        x = keras.layers.Conv2D(8, 5, strides=2, name="conv1")(input_tensor)
        x = keras.layers.ReLU(name="relu")(keras.layers.BatchNormalization(name="bn")(x))
        x = keras.layers.Conv2D(16, 5, strides=2, name="conv2", activation="relu")(x)
        model = keras.Model(keras.utils.get_source_inputs(input_tensor), x)
        if weights:
            model.load_weights(weights)
        return model

    monkeypatch.setitem(architectures._BUILDERS, "densenet121", build)
