"""The paths and patterns of a command line become the files that a person means."""

import json
import os
from pathlib import Path

import pytest

from heatdrop.errors import InvalidRequest
from heatdrop.explaining.inputs import find_files, path_text


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with files of every kind, which is also the working folder."""
    for name in ("b.jpg", "a.png", "notes.txt", ".hidden.jpg", "deep/er/c.dcm", "deep/.git/d.jpg", ".cache/e.jpg"):
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(name.encode())
    monkeypatch.chdir(tmp_path)
    return tmp_path


def found(*paths: str) -> list[str]:
    return [str(path) for path in find_files(paths)]


def test_a_folder_is_walked_and_what_is_hidden_left_out(tree: Path) -> None:
    names = ["a.png", "b.jpg", "deep/er/c.dcm", "notes.txt"]
    assert found(".") == names
    assert found(str(tree)) == [str(tree / name) for name in names]


def test_a_hidden_file_or_folder_that_is_named_is_taken(tree: Path) -> None:
    assert found(".hidden.jpg", ".cache") == [".hidden.jpg", ".cache/e.jpg"]


def test_a_pattern_matches_files_and_no_folders(tree: Path) -> None:
    assert found("*") == ["a.png", "b.jpg", "notes.txt"]
    assert found("*.jpg") == ["b.jpg"]
    assert found("**/*.dcm") == ["deep/er/c.dcm"]


def test_files_come_in_the_order_of_the_arguments_and_sorted_within_each(tree: Path) -> None:
    assert found("deep", "*.*g") == ["deep/er/c.dcm", "a.png", "b.jpg"]


def test_a_file_named_in_several_ways_comes_once(tree: Path) -> None:
    assert found("b.jpg", "./b.jpg", "*.jpg", "deep/../b.jpg", str(tree / "b.jpg")) == ["b.jpg"]


def test_a_file_whose_name_looks_like_a_pattern_is_that_file(tree: Path) -> None:
    (tree / "scan[1].jpg").write_bytes(b"")
    (tree / "scan1.jpg").write_bytes(b"")
    assert found("scan[1].jpg") == ["scan[1].jpg"]


@pytest.mark.parametrize("path", ["nowhere", "*.bmp", "deep/.", "x" * 300 + ".jpg", "y/" * 3000, "[", ""])
def test_what_stands_for_no_file_is_refused_by_name(tree: Path, path: str) -> None:
    (tree / "deep/er/c.dcm").unlink()
    with pytest.raises(InvalidRequest) as caught:
        find_files(["a.png", path])
    assert (path or "''") in str(caught.value)


def test_names_that_are_not_utf_8_are_found_and_shown_as_text(tree: Path) -> None:
    raw = b"ra\xffdio \xe9.jpg"
    (tree / os.fsdecode(raw)).write_bytes(b"")
    (file,) = find_files(["ra*.jpg"])
    assert os.fsencode(file) == raw
    assert path_text(file) == "ra\\xffdio \\xe9.jpg"
    assert json.loads(json.dumps(path_text(file)).encode("utf-8")) == path_text(file)


def test_names_of_other_scripts_are_shown_as_they_are() -> None:
    assert path_text(Path("röntgen/胸部.jpg")) == "röntgen/胸部.jpg"
