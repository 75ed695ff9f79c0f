"""Boxes that people drew around findings: read from a file, and matched with images and classes.

Boxes are in pixels of the upright original picture. What cannot be used is listed with its reason, never left out
without a word.
"""

import csv
import io
import json
import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from heatdrop import images
from heatdrop.errors import InvalidDataset, RejectedImage
from heatdrop.model.bundle import Bundle
from heatdrop.model.dataset import Dataset, Example, find_examples
from heatdrop.model.preprocessing import preprocess
from heatdrop.saliency import GradientEngine
from heatdrop.trust.images import Subject
from heatdrop.vocabulary import LabelRule

MIN_BOXED_IMAGES = 8

_COLUMNS = {
    "file": ("file", "file_name", "filename", "image", "image index"),
    "label": ("label", "class", "category", "finding label"),
    "x": ("x", "left", "xmin", "bbox [x"),
    "y": ("y", "top", "ymin"),
    "width": ("width", "w"),
    "height": ("height", "h", "h]"),
}
"""What is known of a box, and the names of columns that hold it, in small letters."""


@dataclass(frozen=True)
class Box:
    """A rectangle on an image.

    Attributes:
        file: the path of the image below the folder of images, or its name alone.
        label: what it shows; None where the file does not say.
        x, y: its left and its upper side.
        width, height: its size.
    """

    file: str
    label: str | None
    x: float
    y: float
    width: float
    height: float

    def __str__(self) -> str:
        return f"the box at ({self.x:g}, {self.y:g}) of {self.file}"


@dataclass(frozen=True)
class BoxedImages:
    """The images that have boxes.

    Attributes:
        subject: the images, each with the class that is explained: that of its boxes, else the one predicted.
        masks: (N, H, W) which pixels of the model's input lie in a box.
        problems: a sentence about each box that was not used.
    """

    subject: Subject
    masks: NDArray[np.bool_]
    problems: tuple[str, ...]


def read_boxes(path: Path) -> list[Box]:
    """The boxes in a CSV file or a COCO file (JSON with images, annotations and categories).

    A CSV file has a header with the columns file, x, y, width, height and, if wanted, label.

    Raises:
        InvalidDataset: it cannot be read or is neither; the message says what is missing.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
        boxes = list(_of_coco(json.loads(text)) if text.lstrip().startswith("{") else _of_csv(text))
    except OSError as error:
        raise InvalidDataset(f"the boxes {path} cannot be read: {error.strerror}") from error
    except KeyError as error:
        raise InvalidDataset(f"the boxes {path} lack {error.args[0]}; see heatdrop bundle certify --help") from error
    except (ValueError, TypeError) as error:
        raise InvalidDataset(f"the boxes {path} cannot be understood: {error}") from error
    if not boxes:
        raise InvalidDataset(f"{path} holds no boxes")
    return boxes


def boxed_images(
    bundle: Bundle, folder: Path, boxes: Sequence[Box], count: int, rule: LabelRule, engine: GradientEngine
) -> BoxedImages:
    """The first ``count`` images in ``folder`` that have boxes.

    Raises:
        InvalidDataset: fewer than ``MIN_BOXED_IMAGES`` have boxes that can be used.
    """
    examples = find_examples(folder, rule)
    by_path = {example.path.relative_to(folder).as_posix(): example for example in examples}
    by_name: dict[str, list[Example]] = defaultdict(list)
    for example in examples:
        by_name[example.path.name].append(example)
    problems: list[str] = []
    of_example: dict[Path, list[Box]] = defaultdict(list)
    for box in boxes:
        found = [by_path[box.file]] if box.file in by_path else by_name[Path(box.file).name]
        if len(found) == 1 and (box.label is None or box.label in bundle.labels):
            of_example[found[0].path].append(box)
        elif len(found) == 1:
            problems.append(f"{box} is of the class {box.label}, which the model does not know")
        else:
            problems.append(f"{box}: {'several files have' if found else 'no file has'} this name in {folder}")
    pixels, masks, labels = [], [], []
    kept: list[Example] = []
    for example in (example for example in examples if example.path in of_example):
        if len(kept) == count:
            break
        try:
            picture = images.decode(example.path.read_bytes(), at_least=bundle.size)
        except (OSError, RejectedImage) as error:
            problems.append(f"{example.path} cannot be read: {error}")
            continue
        label, mask, remarks = _mask(of_example[example.path], (picture.height, picture.width), bundle.size)
        problems += remarks
        if mask.any():
            pixels.append(images.resize(picture.pixels, bundle.size))
            masks.append(mask)
            labels.append(label)
            kept.append(example)
    if len(kept) < MIN_BOXED_IMAGES:
        said = f"; the first problem: {problems[0]}" if problems else ""
        raise InvalidDataset(f"{len(kept)} images have boxes; at least {MIN_BOXED_IMAGES} are needed{said}")
    return BoxedImages(_subject(bundle, pixels, labels, kept, engine), np.stack(masks), tuple(problems))


def _subject(
    bundle: Bundle,
    pixels: Sequence[NDArray[np.uint8]],
    labels: Sequence[str | None],
    examples: Sequence[Example],
    engine: GradientEngine,
) -> Subject:
    stacked = np.stack(pixels)
    inputs = preprocess(stacked, bundle.preprocessing, bundle.channels)
    scores = engine.predict(inputs)
    classes = scores.argmax(1)
    for index, label in enumerate(labels):
        if label is not None:
            classes[index] = bundle.labels.index(label)
    targets = np.array([bundle.labels.index(e.label) if e.label in bundle.labels else -1 for e in examples])
    data = Dataset(bundle.labels, stacked, targets, tuple(example.group for example in examples))
    return Subject(data, inputs, scores, classes)


def _mask(
    boxes: Sequence[Box], original: tuple[int, int], size: tuple[int, int]
) -> tuple[str | None, NDArray[np.bool_], list[str]]:
    """The class and the pixels of the boxes of one image, and a sentence about each box that was not used.

    The boxes of the class that comes first are used: a map explains one class.
    """
    mask = np.zeros(size, np.bool_)
    problems: list[str] = []
    label = next((box.label for box in boxes if box.label is not None), None)
    down, along = size[0] / original[0], size[1] / original[1]
    for box in boxes:
        if box.label not in (None, label):
            problems.append(f"{box} is of the class {box.label}; only those of {label} are used on this image")
        elif not _inside(box, original):
            problems.append(f"{box} is not within the image of {original[1]} x {original[0]} pixels")
        else:
            # A small box still holds a pixel of the model's input.
            top, left = math.floor(box.y * down), math.floor(box.x * along)
            bottom, right = math.ceil((box.y + box.height) * down), math.ceil((box.x + box.width) * along)
            mask[top:bottom, left:right] = True
    return label, mask, problems


def _inside(box: Box, original: tuple[int, int]) -> bool:
    height, width = original
    inside = box.x >= 0 and box.y >= 0 and box.x + box.width <= width + 1 and box.y + box.height <= height + 1
    return box.width > 0 and box.height > 0 and inside


def _of_csv(text: str) -> Iterator[Box]:
    rows = csv.DictReader(io.StringIO(text))
    header = {(name or "").strip().lower(): name for name in rows.fieldnames or []}
    place: dict[str, str] = {}
    for wanted, names in _COLUMNS.items():
        found = next((header[name] for name in names if name in header), None)
        if found is not None:
            place[wanted] = found
        elif wanted != "label":
            raise KeyError(f"a column {wanted}")
    for row in rows:
        label = (row[place["label"]] or "").strip() if "label" in place else ""
        yield _box(row[place["file"]], label or None, [row[place[side]] for side in ("x", "y", "width", "height")])


def _of_coco(content: Mapping[str, Any]) -> Iterator[Box]:
    files = {image["id"]: image["file_name"] for image in content["images"]}
    labels = {category["id"]: category["name"] for category in content.get("categories", [])}
    for annotation in content["annotations"]:
        file = files.get(annotation["image_id"], f"image {annotation['image_id']}")
        yield _box(file, labels.get(annotation.get("category_id")), annotation["bbox"])


def _box(file: str, label: str | None, sides: Sequence[Any]) -> Box:
    x, y, width, height = (float(side) for side in sides)
    if not all(math.isfinite(side) for side in (x, y, width, height)):
        raise ValueError(f"a box of {file} has a side that is no number")
    return Box(file.replace("\\", "/"), label, x, y, width, height)
