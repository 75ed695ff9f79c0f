"""The images that maps are measured on: drawn from a folder of labelled images, always the same ones."""

import hashlib
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from heatdrop.errors import InvalidDataset
from heatdrop.model.bundle import Bundle
from heatdrop.model.dataset import Dataset, Example, find_examples, load
from heatdrop.model.fitting import fitted
from heatdrop.model.preprocessing import preprocess
from heatdrop.saliency import GradientEngine
from heatdrop.vocabulary import LabelRule

MIN_IMAGES = 20


@dataclass(frozen=True)
class Subject:
    """The images that are explained.

    Attributes:
        data: their pixels and labels.
        inputs: (N, H, W, 3), preprocessed.
        scores: (N, classes) what the model says of them.
        classes: (N,) the class of each that its map explains: the one that the model predicts.
    """

    data: Dataset
    inputs: NDArray[np.float32]
    scores: NDArray[np.float32]
    classes: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.data)


def draw_subject(bundle: Bundle, folder: Path, count: int, rule: LabelRule, engine: GradientEngine) -> Subject:
    """``count`` images, equally many of each class as far as there are, and what the model says of them.

    Raises:
        InvalidDataset: the folder's classes are not the bundle's, it holds too few images, or the input is not square.
    """
    data = _draw(bundle, folder, count, rule)
    inputs = preprocess(data.pixels, bundle.preprocessing, bundle.channels)
    scores = engine.predict(inputs)
    return Subject(data, inputs, scores, scores.argmax(1))


def _draw(bundle: Bundle, folder: Path, count: int, rule: LabelRule) -> Dataset:
    examples = find_examples(folder, rule)
    labels = {example.label for example in examples}
    if labels != set(bundle.labels):
        raise InvalidDataset(
            f"{folder} has the classes {', '.join(sorted(labels))}, the bundle {', '.join(sorted(bundle.labels))}"
        )
    queues = {
        label: sorted((e for e in examples if e.label == label), key=lambda e: _draw_order(e, folder))
        for label in sorted(labels)
    }
    drawn: list[Example] = []
    while len(drawn) < count and any(queues.values()):
        drawn += [queue.pop() for queue in queues.values() if queue]
    if len(drawn) < MIN_IMAGES:
        raise InvalidDataset(f"{folder} has {len(drawn)} images; a certificate needs at least {MIN_IMAGES}")
    if bundle.size[0] != bundle.size[1]:
        raise InvalidDataset(f"the bundle's input is {bundle.size}; only square inputs can be certified")
    found = load(drawn[:count], bundle.size[0], fit=partial(fitted, how=bundle.preprocessing))
    order = np.array([bundle.labels.index(label) for label in found.labels])
    return Dataset(bundle.labels, found.pixels, order[found.targets], found.groups)


def _draw_order(example: Example, folder: Path) -> bytes:
    return hashlib.sha256(str(example.path.relative_to(folder)).encode()).digest()
