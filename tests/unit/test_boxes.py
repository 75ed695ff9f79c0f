"""Boxes are read from both formats and matched with images, and maps are judged by what they find in them."""

import json
from collections.abc import Iterator
from pathlib import Path

import cv2
import keras
import numpy as np
import pytest

from heatdrop import images
from heatdrop.errors import InvalidDataset
from heatdrop.model import packing
from heatdrop.model.bundle import Bundle
from heatdrop.model.loading import load_keras_model
from heatdrop.model.preprocessing import preprocess
from heatdrop.saliency.tensorflow_engine import TensorFlowEngine
from heatdrop.trust import perturbation
from heatdrop.trust.boxes import Box, boxed_images, read_boxes
from heatdrop.trust.certify import certify, localise
from heatdrop.trust.kinds import passes_of, settings_of
from heatdrop.trust.localisation import overlap_at_best_cut, points_into, share_within
from heatdrop.vocabulary import ExplanationSettings

SIDE = 48
LESION = 12
CHEST_XRAYS = Path(__file__).parents[3] / "shared" / "data" / "chest_xray" / "train"

# -------------------------------------------------------------------------------------------------------------- files

CSV = "file,label,x,y,width,height\na/1.png,sick,10,20,30.5,40\n2.png,,0,0,5,5\n"
COCO = {
    "images": [{"id": 7, "file_name": "a/1.png"}, {"id": 9, "file_name": "2.png"}],
    "categories": [{"id": 1, "name": "sick"}],
    "annotations": [
        {"image_id": 7, "category_id": 1, "bbox": [10, 20, 30.5, 40]},
        {"image_id": 9, "bbox": [0, 0, 5, 5]},
    ],
}
BOXES = [Box("a/1.png", "sick", 10, 20, 30.5, 40), Box("2.png", None, 0, 0, 5, 5)]


@pytest.mark.parametrize(
    "text",
    [CSV, "\ufeff" + CSV, CSV.replace("file,label,x,y", "Image, Class ,Left,TOP"), json.dumps(COCO)],
    ids=["csv", "with a mark", "other names", "coco"],
)
def test_boxes_are_read_from_csv_and_coco(tmp_path: Path, text: str) -> None:
    (tmp_path / "boxes").write_text(text, encoding="utf-8")
    assert read_boxes(tmp_path / "boxes") == BOXES


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("file,x,y,width\n1.png,1,2,3\n", "a column height"),
        ("file,x,y,width,height\n", "holds no boxes"),
        ("file,x,y,width,height\n1.png,1,2,3,wide\n", "wide"),
        ("file,x,y,width,height\n1.png,1,2,3,nan\n", "no number"),
        ("file,x,y,width,height\n1.png,1,2\n", "cannot be understood"),
        ('{"images": []}', "annotations"),
        ("{", "cannot be understood"),
    ],
)
def test_file_that_holds_no_boxes_is_refused_with_what_is_missing(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "boxes").write_text(text)
    with pytest.raises(InvalidDataset, match=said):
        read_boxes(tmp_path / "boxes")


def test_missing_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(InvalidDataset, match="cannot be read"):
        read_boxes(tmp_path / "none.csv")


# ----------------------------------------------------------------------------------------------------------- measures


def test_map_that_holds_the_box_is_right_and_one_beside_it_is_wrong() -> None:
    mask = np.zeros((SIDE, SIDE), bool)
    mask[10:18, 20:35] = True
    right, wrong = mask.astype(np.float32), np.roll(mask, 20, axis=0).astype(np.float32)
    assert points_into(right, mask)
    assert not points_into(wrong, mask)
    assert (share_within(right, mask), share_within(wrong, mask)) == (1, 0)
    assert share_within(np.zeros_like(right), mask) == 0
    assert overlap_at_best_cut([right] * 4, np.stack([mask] * 4)) == pytest.approx([1, 1], abs=0.05)
    assert (overlap_at_best_cut([wrong] * 4, np.stack([mask] * 4)) < 0.2).all()


def test_the_cut_is_not_chosen_on_the_images_that_it_is_judged_by() -> None:
    """One half of the images asks for a small cut and the other one for a large one."""
    raw = np.linspace(1, 0, SIDE * SIDE, dtype=np.float32).reshape(SIDE, SIDE)
    small, large = np.zeros((2, SIDE, SIDE), bool)
    small[:2], large[:24] = True, True
    assert (overlap_at_best_cut([raw] * 4, np.stack([small, large] * 2)) < 0.2).all()


# ------------------------------------------------------------------------------------------- planted, and found again


def backgrounds(count: int) -> np.ndarray:
    """(N, SIDE, SIDE, 3) radiographs, real ones where there are any, else pictures with ribs, lungs and noise."""
    if CHEST_XRAYS.is_dir():
        files = sorted((CHEST_XRAYS / "NORMAL").iterdir())[:count]
        return np.stack([images.resize(images.decode(file.read_bytes()).pixels, (SIDE, SIDE)) for file in files])
    random = np.random.default_rng(1)
    y, x = np.mgrid[-1 : 1 : SIDE * 1j, -1 : 1 : SIDE * 1j]
    pictures = []
    for _ in range(count):
        ribs = 20 * np.sin(random.uniform(12, 16) * (y + 0.3 * x**2) + random.uniform(0, 6))
        lungs = 60 * np.exp(-(((np.abs(x) - 0.45) / 0.3) ** 2) - (y / 0.7) ** 2)
        grain = cv2.GaussianBlur(random.normal(0, 25, (SIDE, SIDE)), (0, 0), 1.5)
        pictures.append((150 + ribs - lungs + grain).clip(0, 255))
    return np.repeat(np.stack(pictures)[..., None], 3, axis=3).astype(np.uint8)


def planted(pictures: np.ndarray, sick: np.ndarray) -> tuple[np.ndarray, list[tuple[int, int]]]:
    """The ``sick`` ones with a soft bright spot pasted in at a random place; and the left upper corner of each spot."""
    random = np.random.default_rng(2)
    result, corners = pictures.copy(), []
    y, x = np.mgrid[-1 : 1 : LESION * 1j, -1 : 1 : LESION * 1j]
    # A bright core with a dark rim, as nothing else in a radiograph has.
    far = x**2 + y**2
    spot = 160 * np.exp(-far / 0.12) - 80 * np.exp(-((np.sqrt(far) - 0.7) ** 2) / 0.03)
    for index, is_sick in enumerate(sick):
        top, left = random.integers(4, SIDE - LESION - 4, 2)
        corners.append((int(top), int(left)))
        if is_sick:
            place = result[index, top : top + LESION, left : left + LESION]
            place[:] = (place + spot[..., None]).clip(0, 255)
    return result, corners


def network() -> keras.Model:
    keras.utils.set_random_seed(5)
    # Trained with noise, it stays right about the noisy copies that SmoothGrad makes.
    layers = [keras.Input((SIDE, SIDE, 3)), keras.layers.GaussianNoise(0.8)]
    for filters in (16, 32, 32):
        layers += [keras.layers.Conv2D(filters, 3, padding="same", use_bias=False)]
        layers += [keras.layers.BatchNormalization(momentum=0.9), keras.layers.ReLU(), keras.layers.MaxPooling2D()]
    return keras.Sequential(
        [*layers[:-1], keras.layers.GlobalMaxPooling2D(), keras.layers.Dense(2, activation="softmax")]
    )


def write(folder: Path, pictures: np.ndarray, sick: np.ndarray, corners: list[tuple[int, int]]) -> Path:
    """The pictures in a folder for each class, at twice their size, and a file of their boxes."""
    lines = ["file,label,x,y,width,height"]
    for index, (picture, is_sick, (top, left)) in enumerate(zip(pictures, sick, corners, strict=True)):
        label = "sick" if is_sick else "well"
        (folder / label).mkdir(parents=True, exist_ok=True)
        cv2.imwrite(
            str(folder / label / f"{index}.png"),
            cv2.resize(picture, (2 * SIDE, 2 * SIDE), interpolation=cv2.INTER_NEAREST),
        )
        if is_sick:
            lines.append(f"{index}.png,sick,{2 * left},{2 * top},{2 * LESION},{2 * LESION}")
    boxes = folder / "boxes.csv"
    boxes.write_text("\n".join(lines))
    return boxes


def bundle_of(model: keras.Model, folder: Path) -> Bundle:
    return packing.pack(model, folder, name="planted", labels=("well", "sick"), preprocess_as="densenet")


@pytest.fixture(scope="module")
def untrained(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return bundle_of(network(), tmp_path_factory.mktemp("untrained") / "bundle")


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    sick = np.arange(24) % 2 == 1
    write(tmp_path / "images", *planted_set(sick))
    return tmp_path / "images"


def planted_set(sick: np.ndarray) -> tuple[np.ndarray, np.ndarray, list[tuple[int, int]]]:
    pictures, corners = planted(backgrounds(len(sick)), sick)
    return pictures, sick, corners


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("none.png,sick,1,1,9,9", "no file has this name"),
        ("1.png,broken,1,1,9,9", "is of the class broken, which the model does not know"),
        ("1.png,sick,90,1,20,9", "is not within the image of 96 x 96 pixels"),
        ("1.png,sick,-3,1,20,9", "is not within the image"),
        ("1.png,sick,5,5,0,9", "is not within the image"),
        ("1.png,well,5,5,9,9", "only those of sick are used"),
    ],
)
def test_box_that_cannot_be_used_is_listed_and_the_others_are_used(
    folder: Path, untrained: Bundle, line: str, said: str
) -> None:
    with (folder / "boxes.csv").open("a") as boxes:
        boxes.write(f"\n{line}")
    engine = TensorFlowEngine(load_keras_model(untrained))
    found = boxed_images(untrained, folder, read_boxes(folder / "boxes.csv"), 100, "folder", engine)
    (problem,) = found.problems
    assert said in problem
    assert line.split(",")[0] in problem
    assert len(found.subject) == 12
    assert found.masks.shape == (12, SIDE, SIDE)
    assert found.masks.sum(axis=(1, 2)) == pytest.approx(LESION**2)
    assert (found.subject.classes == 1).all()


def test_certificates_of_all_kinds_of_map_come_from_one_go(
    folder: Path, untrained: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(perturbation, "STEPS", 2)
    monkeypatch.setattr("heatdrop.trust.certify.RANDOMISED_IMAGES", 2)
    monkeypatch.setattr("heatdrop.trust.certify.STEPS", 2)
    settings = settings_of(["mean_abs", "signed", "integrated_gradients"], ExplanationSettings(samples=5))
    measured = certify(untrained, folder, settings=settings, count=20, boxes=folder / "boxes.csv")
    titles = {certificate.kind.title for certificate in measured.certificates}
    assert titles == {
        "SmoothGrad mean_abs, 5 samples, noise 0.2",
        "SmoothGrad signed, 5 samples, noise 0.2",
        "Integrated gradients, 5 samples, noise 0.2",
    }
    best, *others = measured.certificates
    assert best.behind_best == (0, 0, 0)
    for certificate in others:
        assert best.faithfulness is not None
        assert certificate.faithfulness is not None
        assert certificate.behind_best is not None
        apart = best.faithfulness[0] - certificate.faithfulness[0]
        assert certificate.behind_best[0] == pytest.approx(apart, abs=2e-4)
        assert apart >= 0
    for certificate in measured.certificates:
        names = ["skill", "parameter randomisation", "insertion and deletion", "repeatability", "boxes"]
        assert [check.name for check in certificate.checks] == names
        assert certificate.seconds is not None
        assert certificate.seconds > 0
    assert measured.problems == ()


@pytest.mark.slow
def test_planted_evidence_is_found_by_the_kinds_of_map_that_look_closely(tmp_path: Path) -> None:
    """A model that was trained on soft spots at random places looks at them: good maps point there."""
    sick, half = np.random.default_rng(3).random(520) < 0.5, 440
    pictures, sick, corners = planted_set(sick)
    model = network()
    model.compile(keras.optimizers.Adam(3e-3), "sparse_categorical_crossentropy")
    model.fit(preprocess(pictures[:half], "densenet"), sick[:half].astype(int), batch_size=32, epochs=8, verbose=0)
    boxes = write(tmp_path / "images", pictures[half:], sick[half:], corners[half:])
    bundle, engine = bundle_of(model, tmp_path / "bundle"), TensorFlowEngine(model)
    boxed = boxed_images(bundle, tmp_path / "images", read_boxes(boxes), 40, "folder", engine)
    assert (boxed.subject.scores.argmax(1) == 1).mean() > 0.95, "the spots were not learnt"
    passes = passes_of(settings_of(["all"], ExplanationSettings()))
    found = localise(boxed, passes, model, engine, 0, lambda done, total: None)
    pointing = {kind.title: figures["pointing_map"] for kind, figures in found.items()}
    print(pointing, {kind.title: figures["share_in_box_map"] for kind, figures in found.items()})
    missing = {title for title, figure in pointing.items() if isinstance(figure, tuple) and figure[0] < 0.95}
    assert missing == set(), pointing
