"""A folder of labelled images, decoded as the pipeline decodes them, and its split into training and validation.

All images of a patient are on the same side of the split.
"""

import hashlib
import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from heatdrop import images
from heatdrop.errors import InvalidDataset, RejectedImage
from heatdrop.vocabulary import LabelRule

MIN_IMAGES_PER_CLASS = 8
MAX_UNREADABLE_SHARE = 0.01

_SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp", ".dcm"}
_PATIENT = re.compile(r"(person\d+|IM-\d+)", re.IGNORECASE)


@dataclass(frozen=True)
class Example:
    """One labelled file. Examples of the same ``group`` (of one patient, or of equal bytes) stay on the same side."""

    path: Path
    label: str
    group: str


@dataclass(frozen=True)
class Dataset:
    """Decoded examples: ``pixels`` (N, S, S, 3) uint8 RGB, ``targets`` (N,) class indices into ``labels``."""

    labels: tuple[str, ...]
    pixels: NDArray[np.uint8]
    targets: NDArray[np.int64]
    groups: tuple[str, ...]
    unreadable: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.targets)

    def subset(self, indices: NDArray[np.int64]) -> "Dataset":
        """The examples at ``indices``."""
        return Dataset(self.labels, self.pixels[indices], self.targets[indices], tuple(self.groups[i] for i in indices))


def find_examples(root: Path, rule: LabelRule = "folder") -> list[Example]:
    """List the images of a folder-per-class set; ``root/train`` is used where it exists (the Kaggle layout).

    Raises:
        InvalidDataset: there is no such folder, or it does not hold at least two folders with images.
    """
    folder = root / "train" if (root / "train").is_dir() else root
    if not folder.is_dir():
        raise InvalidDataset(f"{root} is not a folder; name one that holds a folder of images for each class")
    examples = []
    for class_folder in sorted(p for p in folder.iterdir() if p.is_dir() and not p.name.startswith(".")):
        files = sorted(p for p in class_folder.rglob("*") if _is_image(p, class_folder))
        if not files:
            raise InvalidDataset(f"the class folder {class_folder} holds no image; fill it or remove it")
        examples += [Example(path, _label(path, class_folder.name, rule), _patient(path, folder)) for path in files]
    counts = Counter(example.label for example in examples)
    if len(counts) < 2:
        raise InvalidDataset(f"{folder} holds {len(counts)} class folders; a classifier needs at least two")
    for label, count in counts.items():
        if count < MIN_IMAGES_PER_CLASS:
            raise InvalidDataset(f"class {label} has {count} images; at least {MIN_IMAGES_PER_CLASS} are needed")
    return examples


def _label(path: Path, folder: str, rule: LabelRule) -> str:
    if rule == "kermany" and folder == "PNEUMONIA":
        for infix, label in (("_bacteria_", "BACTERIAL"), ("_virus_", "VIRAL")):
            if infix in path.name:
                return label
        raise InvalidDataset(f"{path.name} says neither bacteria nor virus; use --labels folder")
    return folder


def _is_image(path: Path, class_folder: Path) -> bool:
    """Judged by the suffix. Hidden files, such as ``._scan.jpg`` that macOS leaves, do not count."""
    visible = not any(part.startswith(".") for part in path.relative_to(class_folder).parts)
    return visible and path.suffix.lower() in _SUFFIXES and not path.is_dir()


def _patient(path: Path, folder: Path) -> str:
    """The patient that a file's name tells; else its path in the set, so that it counts as a patient of its own."""
    found = _PATIENT.search(path.stem)
    return found.group(1).lower() if found else path.relative_to(folder).as_posix()


def load(
    examples: Sequence[Example],
    size: int,
    track: Callable[[Iterable[Example]], Iterable[Example]] = iter,
    *,
    fit: Callable[[NDArray[np.uint8], tuple[int, int]], NDArray[np.uint8]] = images.resize,
) -> Dataset:
    """Decode every example to ``size`` x ``size``; ``track`` may wrap the iteration with a progress bar.

    ``fit`` makes pixels of that size (height, width) of an image's pixels.

    Files that cannot be read are listed in ``Dataset.unreadable``; examples with equal bytes share a group.

    Raises:
        InvalidDataset: more than 1 % of the files cannot be read.
    """
    labels = tuple(sorted({example.label for example in examples}))
    pixels = np.empty((len(examples), size, size, 3), np.uint8)
    kept: list[Example] = []
    digests: list[str] = []
    unreadable = []
    for example in track(examples):
        try:
            data = example.path.read_bytes()
            pixels[len(kept)] = fit(images.decode(data, at_least=(size, size)).pixels, (size, size))
        except (RejectedImage, OSError) as error:
            unreadable.append(f"{example.path}: {error.strerror if isinstance(error, OSError) else error}")
            continue
        kept.append(example)
        digests.append(hashlib.sha256(data).hexdigest())
    if len(unreadable) > MAX_UNREADABLE_SHARE * len(examples):
        raise InvalidDataset(f"{len(unreadable)} of {len(examples)} files cannot be read; the first is {unreadable[0]}")
    targets = np.array([labels.index(example.label) for example in kept], np.int64)
    return Dataset(labels, pixels[: len(kept)], targets, _join_groups(kept, digests), tuple(unreadable))


def _join_groups(examples: Sequence[Example], digests: Sequence[str]) -> tuple[str, ...]:
    """Patients that share a byte-identical file become one group (union-find over group names)."""
    parent: dict[str, str] = {}

    def root(name: str) -> str:
        while parent.setdefault(name, name) != name:
            name = parent[name]
        return name

    for example, digest in zip(examples, digests, strict=True):
        first, second = sorted((root(example.group), root(digest)))
        parent[second] = first
    return tuple(root(example.group) for example in examples)


def split(dataset: Dataset, validation_fraction: float, seed: int) -> tuple[Dataset, Dataset]:
    """Divide into training and validation parts, group by group, about ``validation_fraction`` of each class.

    Groups are taken in the order of a hash of (seed, name), so that another file hardly changes the rest of the split.

    Raises:
        InvalidDataset: a class would be missing on one side.
    """
    groups = np.array(dataset.groups)
    order = sorted(set(dataset.groups), key=lambda name: hashlib.sha256(f"{seed}:{name}".encode()).digest())
    target_counts = np.bincount(dataset.targets, minlength=len(dataset.labels)) * validation_fraction
    members: dict[str, list[int]] = {}
    for index, name in enumerate(dataset.groups):
        members.setdefault(name, []).append(index)
    taken = np.zeros(len(dataset.labels))
    chosen: set[str] = set()
    for name in order:
        counts = np.bincount(dataset.targets[members[name]], minlength=len(dataset.labels))
        if np.all((taken + counts <= np.ceil(target_counts)) | (counts == 0)):
            taken += counts
            chosen.add(name)
    held_out = np.isin(groups, list(chosen))
    parts = dataset.subset(np.flatnonzero(~held_out)), dataset.subset(np.flatnonzero(held_out))
    for part, role in zip(parts, ("training", "validation"), strict=True):
        missing = set(range(len(dataset.labels))) - set(part.targets.tolist())
        if missing:
            names = ", ".join(dataset.labels[i] for i in sorted(missing))
            raise InvalidDataset(f"no image of {names} is left for {role}; add images of more patients")
    return parts
