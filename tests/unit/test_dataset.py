"""A folder of labelled images is read as it is meant, and no patient is on both sides of the split."""

import shutil
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pytest

from heatdrop import images
from heatdrop.errors import InvalidDataset
from heatdrop.model import dataset as datasets
from heatdrop.model.dataset import Dataset, find_examples, load, split

KAGGLE = Path(__file__).parents[3] / "shared" / "data" / "chest_xray"


@pytest.fixture(scope="module")
def jpegs(radiographs: Path) -> list[bytes]:
    """40 different crops of a real radiograph."""
    pixels = images.resize(images.decode((radiographs / "RG1_J2KI.dcm").read_bytes()).pixels, (240, 240))
    corners = np.random.default_rng(0).integers(0, 140, (40, 2))
    return [cv2.imencode(".jpg", pixels[y : y + 100, x : x + 100])[1].tobytes() for y, x in corners]


def write(root: Path, names: list[str], jpegs: list[bytes]) -> Path:
    for name, data in zip(names, jpegs, strict=False):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return root


def two_classes(count: int = 10) -> list[str]:
    return [f"{label}/{label}{index}.jpg" for label in ("a", "b") for index in range(count)]


def made_up(groups: list[str], targets: list[int], labels: tuple[str, ...] = ("a", "b")) -> Dataset:
    return Dataset(labels, np.zeros((len(groups), 1, 1, 3), np.uint8), np.array(targets), tuple(groups))


def test_the_folders_name_is_the_label(tmp_path: Path, jpegs) -> None:
    found = find_examples(write(tmp_path, two_classes(), jpegs))
    assert Counter(example.label for example in found) == {"a": 10, "b": 10}
    assert all(example.path.parent.name == example.label for example in found)


def test_kaggles_layout_is_read_from_its_train_folder(tmp_path: Path, jpegs) -> None:
    names = [f"train/{name}" for name in two_classes()] + [f"test/{name}" for name in two_classes()]
    found = find_examples(write(tmp_path, names, jpegs))
    assert len(found) == 20
    assert all(example.path.is_relative_to(tmp_path / "train") for example in found)


def test_files_in_deeper_folders_and_of_every_suffix_are_found_and_others_left_out(tmp_path: Path, jpegs) -> None:
    names = [*two_classes(), "a/deep/er/x.JPEG", "b/y.dcm", "b/z.Png", "b/readme.txt", "a/Thumbs.db"]
    found = {example.path.name for example in find_examples(write(tmp_path, names, jpegs))}
    assert {"x.JPEG", "y.dcm", "z.Png"} < found
    assert not {"readme.txt", "Thumbs.db"} & found


def test_what_is_hidden_is_left_out(tmp_path: Path, jpegs) -> None:
    hidden = ["a/._a1.jpg", "b/.cache/b1.jpg", ".ipynb_checkpoints/a1-checkpoint.jpg", ".empty/readme"]
    found = find_examples(write(tmp_path, two_classes() + hidden, jpegs))
    assert {example.path.name for example in found} == {Path(name).name for name in two_classes()}
    (tmp_path / "a" / "folder.jpg").mkdir()
    assert len(find_examples(tmp_path)) == 20


def test_kermanys_pneumonia_is_split_by_file_name(tmp_path: Path, jpegs) -> None:
    names = [f"NORMAL/IM-{n:04}-0001.jpeg" for n in range(8)]
    names += [f"PNEUMONIA/person{n}_{kind}_{n}.jpeg" for kind in ("bacteria", "virus") for n in range(8)]
    found = find_examples(write(tmp_path, names, jpegs), "kermany")
    assert Counter(example.label for example in found) == {"NORMAL": 8, "BACTERIAL": 8, "VIRAL": 8}
    assert all(("_virus_" in example.path.name) == (example.label == "VIRAL") for example in found)
    (tmp_path / "PNEUMONIA" / "person9.jpeg").write_bytes(jpegs[0])
    with pytest.raises(InvalidDataset, match=r"person9\.jpeg"):
        find_examples(tmp_path, "kermany")


@pytest.mark.parametrize(
    ("first", "second", "same"),
    [
        ("person7_bacteria_1", "person7_virus_2", True),
        ("person7_bacteria_1", "person70_bacteria_1", False),
        ("IM-0115-0001", "NORMAL2-IM-0115-0002", True),
        ("IM-0115-0001", "IM-0116-0001", False),
        ("scan1", "scan2", False),
    ],
)
def test_patients_are_told_by_file_names(tmp_path: Path, jpegs, first: str, second: str, same: bool) -> None:
    write(tmp_path, [f"a/{first}.jpeg", f"b/{second}.jpeg", *two_classes()], jpegs)
    groups = {example.path.stem: example.group for example in find_examples(tmp_path)}
    assert (groups[first] == groups[second]) is same


def test_files_of_one_name_in_two_classes_are_two_patients(tmp_path: Path, jpegs) -> None:
    names = [f"{label}/{index}.jpg" for label in ("a", "b") for index in range(9)]
    assert len({example.group for example in find_examples(write(tmp_path, names, jpegs))}) == 18


def test_the_split_does_not_depend_on_where_the_set_lies(
    tmp_path: Path, jpegs, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "here", two_classes(), jpegs)
    shutil.copytree(tmp_path / "here", tmp_path / "there")
    monkeypatch.chdir(tmp_path)
    for root in (Path("here"), tmp_path / "there"):
        held_out = split(load(find_examples(root), 32), 0.2, seed=3)[1].groups
        assert held_out == split(load(find_examples(tmp_path / "here"), 32), 0.2, seed=3)[1].groups


@pytest.mark.parametrize(
    ("names", "problem"),
    [
        ([], "is not a folder"),
        (["a/readme.txt"], "class folder .*a holds no image"),
        ([f"a/{n}.jpg" for n in range(9)], "1 class folders"),
        ([*two_classes(), "c/readme.txt"], "class folder .*c holds no image"),
        (two_classes(7), "class a has 7 images; at least 8"),
    ],
)
def test_a_folder_that_cannot_be_trained_on_is_refused(tmp_path: Path, jpegs, names: list[str], problem: str) -> None:
    with pytest.raises(InvalidDataset, match=problem):
        find_examples(write(tmp_path / "set", names, jpegs))


def test_images_are_decoded_as_the_pipeline_decodes_a_drop(tmp_path: Path, jpegs, chest_dicom: Path) -> None:
    write(tmp_path, two_classes(), jpegs)
    shutil.copy(chest_dicom, tmp_path / "a" / "chest.dcm")
    examples = find_examples(tmp_path)
    loaded = load(examples, 48)
    assert loaded.pixels.shape == (21, 48, 48, 3)
    assert loaded.labels == ("a", "b")
    for index, example in enumerate(examples):
        pixels = images.decode(example.path.read_bytes()).pixels
        difference = loaded.pixels[index].astype(int) - images.resize(pixels, (48, 48))
        assert np.abs(difference).mean() < 3
        assert loaded.labels[loaded.targets[index]] == example.label


def test_what_cannot_be_read_is_listed_and_left_out(tmp_path: Path, jpegs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets, "MAX_UNREADABLE_SHARE", 0.1)
    write(tmp_path, two_classes(), jpegs)
    (tmp_path / "a" / "a3.jpg").write_bytes(jpegs[0][:500])
    (tmp_path / "b" / "b3.jpg").unlink()
    (tmp_path / "b" / "b3.jpg").symlink_to("nowhere")
    examples = find_examples(tmp_path)
    seen = []
    loaded = load(examples, 32, lambda found: (seen.append(example) or example for example in found))
    assert seen == examples
    assert len(loaded) == 18
    first, second = loaded.unreadable
    assert "a3.jpg" in first
    assert "b3.jpg: No such file" in second
    sound = [e for e in examples if e.path.name not in {"a3.jpg", "b3.jpg"}]
    assert np.array_equal(loaded.pixels, load(sound, 32).pixels)
    assert np.array_equal(loaded.targets, load(sound, 32).targets)


def test_a_set_of_which_too_much_cannot_be_read_is_refused_in_one_line(tmp_path: Path, jpegs) -> None:
    write(tmp_path, two_classes(), jpegs)
    for index in range(3):
        (tmp_path / "a" / f"a{index}.jpg").write_bytes(b"")
    with pytest.raises(InvalidDataset, match=r"3 of 20 files cannot be read.*a0\.jpg") as caught:
        load(find_examples(tmp_path), 32)
    assert "\n" not in str(caught.value)


def test_byte_identical_files_are_one_patient_also_through_a_chain_of_them(tmp_path: Path, jpegs) -> None:
    names = ["a/person1_x.jpg", "b/person2_x.jpg", "b/person2_y.jpg", "a/person3_y.jpg", "a/person3_z.jpg"]
    write(tmp_path, [*names, *two_classes()], [jpegs[0], jpegs[0], jpegs[1], jpegs[1], jpegs[2], *jpegs[3:]])
    examples = find_examples(tmp_path)
    group = dict(zip([e.path.name for e in examples], load(examples, 32).groups, strict=True))
    assert len({group[Path(name).name] for name in names}) == 1
    assert len(set(group.values())) == 21


@pytest.mark.parametrize("seed", range(8))
def test_no_patient_is_on_both_sides_and_nothing_is_lost(seed: int) -> None:
    random = np.random.default_rng(seed)
    groups = [f"p{n}" for n in random.integers(0, 60, 300)]
    whole = made_up(groups, random.integers(0, 3, 300).tolist(), ("a", "b", "c"))
    training, validation = split(whole, 0.2, seed)
    assert not set(training.groups) & set(validation.groups)
    assert Counter(training.groups) + Counter(validation.groups) == Counter(groups)
    assert len(validation) == pytest.approx(60, abs=15)
    assert training.labels == validation.labels == whole.labels


def test_each_class_gives_its_share() -> None:
    whole = made_up([f"p{n}" for n in range(400)], [0] * 300 + [1] * 100)
    _, validation = split(whole, 0.1, seed=0)
    assert np.bincount(validation.targets).tolist() == [30, 10]


def test_the_split_is_the_same_for_a_seed_and_another_for_another() -> None:
    whole = made_up([f"p{n}" for n in range(100)], [0, 1] * 50)
    assert split(whole, 0.2, 1)[1].groups == split(whole, 0.2, 1)[1].groups
    assert split(whole, 0.2, 1)[1].groups != split(whole, 0.2, 2)[1].groups


def test_more_images_move_hardly_any_other() -> None:
    names = [f"p{n}" for n in range(200)]
    before = set(split(made_up(names, [0, 1] * 100), 0.2, 1)[1].groups)
    after = set(split(made_up([*names, "new1", "new2"], [0, 1] * 101), 0.2, 1)[1].groups)
    assert len(before ^ (after - {"new1", "new2"})) <= 3


@pytest.mark.parametrize("groups", [["p"] * 20, ["p"] * 10 + [f"q{n}" for n in range(10)]])
def test_a_class_of_one_patient_cannot_be_split(groups: list[str]) -> None:
    with pytest.raises(InvalidDataset, match=r"no image of a.* is left for validation"):
        split(made_up(groups, [0] * 10 + [1] * 10), 0.2, 0)


@pytest.mark.skipif(not KAGGLE.is_dir(), reason="the chest X-ray set is not beside the checkout")
def test_the_chest_x_ray_set_is_split_by_patient_into_three_classes() -> None:
    found = find_examples(KAGGLE, "kermany")
    assert Counter(e.label for e in found) == {"BACTERIAL": 2530, "NORMAL": 1341, "VIRAL": 1345}
    labels = ("BACTERIAL", "NORMAL", "VIRAL")
    whole = made_up([e.group for e in found], [labels.index(e.label) for e in found], labels)
    training, validation = split(whole, 0.1, 0)
    assert not set(training.groups) & set(validation.groups)
    np.testing.assert_allclose(np.bincount(validation.targets), [253, 134.1, 134.5], atol=3)
