"""Answers stay inside the output folder, whatever a file or a class is called."""

import json
from pathlib import Path

import pytest

from heatdrop.errors import InvalidRequest
from heatdrop.explaining.explainer import file_stem
from heatdrop.explaining.output_folder import OutputFolder
from heatdrop.vocabulary import Prediction, Result, State

HOSTILE = [
    "../../etc/passwd",
    "/etc/passwd",
    "..",
    ".",
    "",
    "a/b",
    "$HOME",
    "a\0b",
    "\x1b[31mred\n",
    "肺炎",
    "CON",
    "x" * 500,
]


def result(file: str) -> Result:
    return Result(file=file, image_id="0" * 32, state=State.CLASSIFIED, predictions=(Prediction(label="é", score=1),))


@pytest.mark.parametrize("name", HOSTILE)
def test_heatmaps_never_leave_the_output_folder(tmp_path: Path, name: str) -> None:
    output = OutputFolder(tmp_path / "out")
    stem = file_stem(3, name)
    contents = [(f"{stem}.{kind}", kind.encode()) for kind in ("overlay.png", "figure.png", "maps.npz")]
    saved = output.save_heatmap(name, "0123456789abcdef" * 2, name, contents)
    assert saved.label == name
    for path, (_, content) in zip((saved.overlay, saved.figure, saved.maps), contents, strict=True):
        assert (output.root / path).read_bytes() == content
        assert (output.root / path).resolve().is_relative_to(output.root.resolve())
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert len([path for path in tmp_path.rglob("*") if path.is_file()]) == 3


def test_classes_whose_labels_have_no_harmless_letter_keep_apart() -> None:
    stems = [file_stem(index, label) for index, label in enumerate(["肺", "炎", "a b", "a/b", "A-B"])]
    assert stems == ["0", "1", "2-a-b", "3-a-b", "4-a-b"]


def test_files_of_one_name_in_two_folders_keep_apart(tmp_path: Path) -> None:
    output = OutputFolder(tmp_path)
    contents = [("o.png", b"o"), ("f.png", b"f"), ("m.npz", b"m")]
    first = output.save_heatmap("x/scan.jpg", "1" * 32, "a", contents)
    second = output.save_heatmap("y/scan.jpg", "2" * 32, "a", contents)
    assert {first.overlay, first.figure, first.maps}.isdisjoint({second.overlay, second.figure, second.maps})


def test_saving_again_leaves_the_same_files(tmp_path: Path) -> None:
    output = OutputFolder(tmp_path)
    contents = [("o.png", b"o"), ("f.png", b"f"), ("m.npz", b"m")]
    assert output.save_heatmap("a.jpg", "1" * 32, "a", contents) == output.save_heatmap(
        "a.jpg", "1" * 32, "a", contents
    )
    assert len([path for path in tmp_path.rglob("*") if path.is_file()]) == 3


def test_results_are_one_utf_8_json_object_a_line(tmp_path: Path) -> None:
    path = OutputFolder(tmp_path / "new" / "out").save_results([result("röntgen\n.jpg"), result("b.jpg")])
    assert path == tmp_path / "new" / "out" / "results.jsonl"
    lines = path.read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["file"] for line in lines] == ["röntgen\n.jpg", "b.jpg"]
    assert [Result.model_validate_json(line) for line in lines] == [result("röntgen\n.jpg"), result("b.jpg")]


@pytest.mark.parametrize("name", ["taken", "taken/below"])
def test_an_output_folder_that_cannot_be_made_is_refused_by_name(tmp_path: Path, name: str) -> None:
    (tmp_path / "taken").write_bytes(b"a file")
    with pytest.raises(InvalidRequest, match="taken"):
        OutputFolder(tmp_path / name)
