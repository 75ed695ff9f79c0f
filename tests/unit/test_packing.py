"""Any Keras classifier of pictures becomes a bundle, never by running code from a file, never over something else."""

import contextlib
import json
import os
import warnings
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers

from heatdrop.errors import InvalidBundle, InvalidRequest
from heatdrop.images import DecodedImage
from heatdrop.model import bundle as bundles
from heatdrop.model import packing
from heatdrop.model.bundle import Bundle, open_bundle
from heatdrop.model.classifier import Classifier
from heatdrop.model.loading import load_keras_file, load_keras_model
from heatdrop.model.packing import pack, pack_file


def tiny_model(outputs: int = 2, activation: str = "softmax", shape: Sequence[int | None] = (32, 32, 3)) -> keras.Model:
    keras.utils.set_random_seed(outputs)
    inputs = keras.Input(shape)
    x = layers.Conv2D(4, 3, activation="relu")(inputs)
    x = layers.GlobalAveragePooling2D()(x)
    return keras.Model(inputs, layers.Dense(outputs, activation=activation)(x))


def pack_tiny(model: keras.Model, folder: Path, labels: Sequence[str] = ("a", "b"), **changes: Any) -> Bundle:
    return pack(model, folder, **{"name": "tiny", "labels": labels, "preprocess_as": "scale01"} | changes)


@pytest.fixture
def keras_file(tmp_path: Path) -> Path:
    tiny_model().save(tmp_path / "tiny.keras")
    return tmp_path / "tiny.keras"


@contextlib.contextmanager
def reported(messages: list[str]) -> Iterator[None]:
    try:
        yield
    except InvalidBundle as error:
        messages.append(str(error))
        raise


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def nested_sigmoid() -> keras.Model:
    """Transfer learning as tutorials write it: preprocessing and a base model inside."""
    base = keras.Model((i := keras.Input((32, 32, 3))), layers.Conv2D(4, 3, activation="relu")(i), name="base")
    x = inputs = keras.Input((32, 32, 3))
    x = layers.Dropout(0.3)(layers.GlobalMaxPooling2D()(base(layers.Rescaling(1 / 255)(x))))
    return keras.Model(inputs, layers.Dense(1, activation="sigmoid")(x))


def sequential() -> keras.Model:
    steps = [keras.Input((32, 24, 3)), layers.Conv2D(4, 3), layers.BatchNormalization(), layers.Flatten()]
    return keras.Sequential([*steps, layers.Dense(2), layers.Softmax()])


def in_lists() -> keras.Model:
    model = tiny_model()
    return keras.Model(list(model.inputs), list(model.outputs))


@pytest.mark.parametrize("make", [nested_sigmoid, sequential, in_lists])
def test_models_of_every_build_are_packed_and_predict_alike(tmp_path: Path, make) -> None:
    model = make()
    bundle = pack_tiny(model, tmp_path / "b", preprocess_as="none")
    plain = keras.Model(model.inputs[0], model.outputs[0])
    pixels = np.random.default_rng(0).integers(0, 256, (*bundle.size, 3), np.uint8)
    found = {p.label: p.score for p in Classifier(bundle).classify(DecodedImage(pixels, "PNG", 1, 1))}
    loaded = load_keras_model(bundle)
    for one in (plain, loaded):
        expected = np.ravel(one(pixels[None].astype(np.float32), training=False))[-1]
        assert found["b"] == pytest.approx(float(expected), abs=1e-4)


@pytest.mark.parametrize(
    ("make", "problem"),
    [
        (lambda: tiny_model(shape=(None, None, 3)), r"takes \(None, None, 3\)"),
        (lambda: tiny_model(shape=(32, 32, 2)), r"takes \(32, 32, 2\)"),
        (lambda: keras.Sequential([keras.Input((10,)), layers.Dense(2, "softmax")]), r"takes \(10,\)"),
        (lambda: keras.Sequential([keras.Input((8, 8, 3)), layers.Dense(2, "softmax")]), r"gives \(8, 8, 2\)"),
        (
            lambda: keras.Model(
                [a := keras.Input((8, 8, 3)), b := keras.Input((8, 8, 3))],
                layers.Dense(2, "softmax")(layers.GlobalAveragePooling2D()(a + b)),
            ),
            "2 inputs and 1 outputs",
        ),
        (lambda: tiny_model(activation="linear"), "softmax or sigmoid"),
    ],
)
def test_what_is_no_classifier_of_pictures_is_refused(tmp_path: Path, make, problem: str) -> None:
    model = make()
    if problem.startswith("softmax"):
        model.layers[-1].bias.assign([3.0, -2.0])
    with pytest.raises(InvalidBundle, match=problem):
        pack_tiny(model, tmp_path / "b")
    assert not (tmp_path / "b").exists()


def test_a_model_with_weights_that_are_no_numbers_is_refused(tmp_path: Path) -> None:
    model = tiny_model()
    model.layers[-1].kernel.assign(np.full((4, 2), np.nan))
    with pytest.raises(InvalidBundle, match="nan"):
        pack_tiny(model, tmp_path / "b")


@pytest.mark.parametrize("labels", [(), ("a",), ("a", "b", "c"), ("a", "a"), ("a", ""), ("a", "\ud800")])
def test_labels_that_do_not_fit_are_refused(tmp_path: Path, labels: Sequence[str]) -> None:
    for model in (tiny_model(), tiny_model(1, "sigmoid")):
        with pytest.raises(InvalidBundle, match=f"{len(labels)} labels for . outputs"):
            pack_tiny(model, tmp_path / "b", labels)


def test_an_export_that_predicts_differently_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = packing.to_litert(sensitive := tiny_model())
    sensitive.layers[-1].kernel.assign(sensitive.layers[-1].kernel * 10)
    monkeypatch.setattr(packing, "to_litert", lambda *_: other)
    with pytest.raises(InvalidBundle, match="differs from Keras by"):
        pack_tiny(sensitive, tmp_path / "b")
    assert not (tmp_path / "b").exists()


def test_the_version_changes_with_weights_labels_and_preprocessing_and_with_nothing_else(tmp_path: Path) -> None:
    model = tiny_model()
    first = pack_tiny(model, tmp_path / "1")
    assert pack_tiny(tiny_model(), tmp_path / "2", name="other", training={"epochs": 3}).model.version == (
        first.model.version
    )
    others = [
        pack_tiny(model, tmp_path / "3", ["b", "a"]),
        pack_tiny(model, tmp_path / "4", preprocess_as="densenet"),
    ]
    model.layers[-1].bias.assign([0.0, 1e-3])
    others.append(pack_tiny(model, tmp_path / "5"))
    assert len({first.model.version} | {bundle.model.version for bundle in others}) == 4


def test_packing_replaces_the_bundle_that_is_there_and_leaves_nothing_else(tmp_path: Path) -> None:
    old = pack_tiny(tiny_model(), tmp_path / "b", name="old")
    new = pack_tiny(tiny_model(3), tmp_path / "b", list("abc"), name="new")
    assert open_bundle(tmp_path / "b") == new != old
    assert os.listdir(tmp_path) == ["b"]  # noqa: PTH208


def test_a_half_written_bundle_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "model.keras").write_bytes(b"half")
    assert pack_tiny(tiny_model(), tmp_path / "b") == open_bundle(tmp_path / "b")


@pytest.mark.parametrize("moment", ["to_litert", "_check_equal"])
def test_packing_that_fails_leaves_the_bundle_that_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    pack_tiny(tiny_model(), tmp_path / "b")
    before = contents(tmp_path)

    def full_disk(*_: object) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr(packing, moment, full_disk)
    with pytest.raises(OSError, match="No space"):
        pack_tiny(tiny_model(3), tmp_path / "b", list("abc"))
    assert contents(tmp_path) == before


def test_a_bundle_in_use_stays_usable_while_it_is_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old = pack_tiny(tiny_model(), tmp_path / "b")
    seen = []
    check = packing._check_equal

    def look_meanwhile(*arguments: Any) -> None:
        check(*arguments)
        seen.append(open_bundle(tmp_path / "b"))
        seen[-1].read(bundles.LITERT_MODEL)

    monkeypatch.setattr(packing, "_check_equal", look_meanwhile)
    pack_tiny(tiny_model(3), tmp_path / "b", list("abc"))
    assert seen == [old]


@pytest.mark.parametrize("name", ["", "b", "b/notes.txt"])
def test_packing_never_removes_what_is_no_bundle(tmp_path: Path, name: str) -> None:
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "notes.txt").write_text("mine")
    with pytest.raises(InvalidRequest, match="name a"):
        pack_tiny(tiny_model(), tmp_path / name)
    assert contents(tmp_path) == {"b/notes.txt": b"mine"}


def test_the_working_folder_is_not_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InvalidRequest, match="working folder"):
        pack_tiny(tiny_model(), Path())


def test_a_link_to_a_folder_is_followed(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    pack_tiny(tiny_model(), tmp_path / "link")
    assert open_bundle(tmp_path / "real").model == open_bundle(tmp_path / "link").model
    assert (tmp_path / "link").is_symlink()


@pytest.mark.parametrize(
    "text",
    [
        b'["NORMAL", "r\xc3\xb6ntgen $x$"]',
        b"NORMAL\nr\xc3\xb6ntgen $x$\n",
        b"NORMAL\r\nr\xc3\xb6ntgen $x$\r\n",
        b"\xef\xbb\xbfNORMAL\nr\xc3\xb6ntgen $x$",
        b'\xef\xbb\xbf["NORMAL", "r\xc3\xb6ntgen $x$"]',
    ],
)
def test_a_labels_file_is_a_json_list_or_one_name_a_line(keras_file: Path, tmp_path: Path, text: bytes) -> None:
    (tmp_path / "labels").write_bytes(text)
    bundle = pack_file(keras_file, tmp_path / "labels", "none", tmp_path / "b", "n")
    assert bundle.labels == ("NORMAL", "röntgen $x$")


@pytest.mark.parametrize("text", [None, b"[", b"\xff\xfeN\0"])
def test_a_labels_file_that_cannot_be_read_is_refused_by_name(keras_file: Path, tmp_path: Path, text) -> None:
    if text is not None:
        (tmp_path / "labels.json").write_bytes(text)
    with pytest.raises(InvalidBundle, match=r"labels\.json cannot be read"):
        pack_file(keras_file, tmp_path / "labels.json", "none", tmp_path / "b", "n")


def test_an_unknown_preprocessing_is_refused(keras_file: Path, tmp_path: Path) -> None:
    (tmp_path / "labels").write_text("a\nb")
    with pytest.raises(InvalidBundle, match="'torch'; choose one of densenet"):
        pack_file(keras_file, tmp_path / "labels", "torch", tmp_path / "b", "n")


def leave_a_trace(x: Any) -> Any:
    # Nothing of this module's globals travels inside a pickled function.
    import pathlib

    pathlib.Path(pathlib.Path.home() / "trace").write_text("ran")
    return x


@pytest.mark.parametrize("suffix", ["keras", "h5"])
def test_a_lambda_layer_is_refused_and_never_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    inputs = keras.Input((8, 8, 3))
    x = layers.GlobalAveragePooling2D()(layers.Lambda(lambda x: leave_a_trace(x))(inputs))
    model = keras.Model(inputs, layers.Dense(2, activation="softmax")(x))
    trace = tmp_path / "trace"
    assert trace.exists()  # it runs when the model is built: here the test looks in the right place
    with warnings.catch_warnings(action="ignore"):
        model.save(tmp_path / f"evil.{suffix}")
    trace.unlink()
    with pytest.raises(InvalidBundle, match=f"evil.{suffix} cannot be loaded safely.*[Ll]ambda") as caught:
        load_keras_file(tmp_path / f"evil.{suffix}")
    assert "\n" not in str(caught.value)
    assert not trace.exists()


@pytest.mark.parametrize(
    "payload",
    [
        {"module": "subprocess", "class_name": "Popen", "config": {"args": ["touch", "{trace}"]}},
        {"module": "os", "class_name": "function", "config": "system", "registered_name": "function"},
        {"module": "builtins", "class_name": "function", "config": "exec", "registered_name": "function"},
    ],
)
def test_a_config_that_names_other_code_is_refused_and_never_runs(
    keras_file: Path, tmp_path: Path, payload: dict[str, Any]
) -> None:
    trace = tmp_path / "trace"
    with zipfile.ZipFile(keras_file) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    config = json.loads(files["config.json"])
    evil = json.loads(json.dumps(payload).replace("{trace}", str(trace)))
    if payload["class_name"] == "function":
        config["config"]["layers"][1]["config"]["activation"] = evil
    else:
        config["config"]["layers"][1].update({"registered_name": None, **evil})
    with zipfile.ZipFile(tmp_path / "evil.keras", "w") as archive:
        for name, data in (files | {"config.json": json.dumps(config).encode()}).items():
            archive.writestr(name, data)
    with pytest.raises(InvalidBundle, match="cannot be loaded safely"):
        load_keras_file(tmp_path / "evil.keras")
    assert not trace.exists()


def test_a_damaged_keras_file_is_refused_whatever_keras_raises(keras_file: Path, tmp_path: Path) -> None:
    data = keras_file.read_bytes()
    damaged = tmp_path / "damaged.keras"
    kinds = [data[: len(data) // 2], b"", b"not a model"]
    for position in range(0, len(data), len(data) // 12):
        kinds.append(data[:position] + bytes([data[position] ^ 0xFF]) + data[position + 1 :])
    messages = []
    for kind in kinds:
        damaged.write_bytes(kind)
        # A flipped bit may also lie where it does no harm.
        with contextlib.suppress(InvalidBundle), reported(messages):
            load_keras_file(damaged)
    assert len(messages) >= 10
    assert all("damaged.keras" in message and "\n" not in message for message in messages)


@pytest.mark.parametrize("name", ["missing.keras", "folder"])
def test_a_model_that_is_not_there_is_said_to_be_so(tmp_path: Path, name: str) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(InvalidBundle, match=f"no Keras model .*{name}"):
        load_keras_file(tmp_path / name)


def test_an_archive_that_holds_no_model_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "other.keras", "w") as archive:
        archive.writestr("readme", "hello")
    with pytest.raises(InvalidBundle, match=r"other\.keras cannot be loaded safely"):
        load_keras_file(tmp_path / "other.keras")
