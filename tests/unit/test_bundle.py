"""A bundle is used only when it is whole and as it was packed; what is wrong is said by the file's name."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from heatdrop.errors import InvalidBundle
from heatdrop.explaining.explainer import Explainer
from heatdrop.model import bundle as bundles
from heatdrop.model.bundle import FILES, GRADIENTS, Bundle, digest, open_bundle
from heatdrop.model.classifier import Classifier
from heatdrop.model.loading import load_keras_model
from heatdrop.vocabulary import ExplanationSettings


def use_everything(folder: Path) -> None:
    """What classifying and explaining do with a bundle."""
    bundle = open_bundle(folder)
    Classifier(bundle)
    Explainer(bundle, ExplanationSettings())
    load_keras_model(bundle)


def change_description(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    path = folder / "bundle.json"
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def put_in(folder: Path, name: str, data: bytes) -> None:
    """Replace a file together with its digest, as someone who makes bundles by hand would."""
    (folder / name).write_bytes(data)
    change_description(folder, lambda content: content["digests"].update({name: digest(data)}))


def test_a_packed_bundle_says_what_it_is(small_bundle: Bundle) -> None:
    opened = open_bundle(small_bundle.folder)
    assert opened == small_bundle
    assert (opened.labels, opened.size) == (("BACTERIAL", "NORMAL", "VIRAL"), (64, 64))
    assert opened.model.name == "small"
    assert {path.name for path in small_bundle.folder.iterdir()} == {"bundle.json", *opened.files}


@pytest.mark.parametrize("name", [*FILES, GRADIENTS])
def test_a_changed_file_is_refused_by_name(bundle_copy: Path, name: str) -> None:
    data = bytearray((bundle_copy / name).read_bytes())
    data[len(data) // 2] ^= 1
    (bundle_copy / name).write_bytes(data)
    with pytest.raises(InvalidBundle, match=name):
        use_everything(bundle_copy)


@pytest.mark.parametrize("name", [*FILES, GRADIENTS])
def test_a_missing_or_half_written_file_is_refused_by_name(bundle_copy: Path, name: str) -> None:
    data = (bundle_copy / name).read_bytes()
    (bundle_copy / name).write_bytes(data[: len(data) // 2])
    with pytest.raises(InvalidBundle, match=name):
        use_everything(bundle_copy)
    (bundle_copy / name).unlink()
    with pytest.raises(InvalidBundle, match=f"lacks {name}"):
        use_everything(bundle_copy)


def test_prediction_needs_no_keras_model(bundle_copy: Path) -> None:
    (bundle_copy / "model.keras").unlink()
    assert Classifier(open_bundle(bundle_copy)).bundle.labels == ("BACTERIAL", "NORMAL", "VIRAL")


@pytest.mark.parametrize("kind", ["missing folder", "empty folder", "file", "without bundle.json"])
def test_what_is_no_bundle_is_refused(bundle_copy: Path, tmp_path: Path, kind: str) -> None:
    folder = bundle_copy if kind == "without bundle.json" else tmp_path / "other"
    if kind == "empty folder":
        folder.mkdir()
    elif kind == "file":
        folder.write_bytes(b"")
    elif kind == "without bundle.json":
        (folder / "bundle.json").unlink()
    with pytest.raises(InvalidBundle, match=r"no model bundle: it has no bundle\.json"):
        open_bundle(folder)


@pytest.mark.parametrize("text", [b"", b'{"format": 1', b"\xff\xfe", b"[]", b"null", b"{}"])
def test_a_description_that_makes_no_sense_is_refused_in_one_line(bundle_copy: Path, text: bytes) -> None:
    (bundle_copy / "bundle.json").write_bytes(text)
    with pytest.raises(InvalidBundle, match=r"bundle\.json cannot be understood") as caught:
        open_bundle(bundle_copy)
    assert "\n" not in str(caught.value)


def test_a_wrong_field_is_refused_by_name(bundle_copy: Path) -> None:
    change_description(bundle_copy, lambda content: content.update(preprocess="caffe"))
    with pytest.raises(InvalidBundle, match=r"bundle\.json cannot be understood: preprocess.convention: .*densenet"):
        open_bundle(bundle_copy)


def test_a_bundle_of_a_later_format_is_refused_whatever_its_fields(bundle_copy: Path) -> None:
    (bundle_copy / "bundle.json").write_text('{"format": 2, "models": []}')
    with pytest.raises(InvalidBundle, match=r"format 2; this version reads 1"):
        open_bundle(bundle_copy)


@pytest.mark.parametrize("labels", [["A", "B"], ["A", "B", "C", "D"]])
def test_labels_that_do_not_fit_the_model_are_refused(bundle_copy: Path, labels: list[str]) -> None:
    put_in(bundle_copy, "labels.json", json.dumps(labels).encode())
    with pytest.raises(InvalidBundle, match=f"3 outputs but {len(labels)} labels"):
        Classifier(open_bundle(bundle_copy))


@pytest.mark.parametrize(
    "text", ['{"0": "A"}', '["A", "A", "B"]', '["A", 2, "B"]', '["A", "", "B"]', '["A", "\\ud800", "B"]', "A\nB", "ABC"]
)
def test_labels_that_are_no_list_of_different_names_are_refused(bundle_copy: Path, text: str) -> None:
    put_in(bundle_copy, "labels.json", text.encode())
    with pytest.raises(InvalidBundle, match=r"labels\.json .* no list of different names"):
        open_bundle(bundle_copy)


@pytest.mark.parametrize("data", [b"", b"garbage" * 10, b"\x1c\0\0\0TFL3" + b"\0" * 60])
def test_a_model_that_litert_cannot_load_is_refused_by_name(bundle_copy: Path, data: bytes) -> None:
    put_in(bundle_copy, "model.tflite", data)
    with pytest.raises(InvalidBundle, match=r"model\.tflite"):
        Classifier(open_bundle(bundle_copy))


def test_a_size_that_is_not_the_models_is_refused(bundle_copy: Path) -> None:
    change_description(bundle_copy, lambda content: content.update(height=96))
    with pytest.raises(InvalidBundle, match=r"takes 64 x 64 x 3, but .*\(96, 64\)"):
        Classifier(open_bundle(bundle_copy))


def test_fields_of_later_versions_are_ignored(bundle_copy: Path, small_bundle: Bundle) -> None:
    change_description(bundle_copy, lambda content: content.update(later={"by": "then"}))
    assert open_bundle(bundle_copy).description == small_bundle.description


def test_digests_are_sha_256() -> None:
    assert bundles.digest(b"abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
