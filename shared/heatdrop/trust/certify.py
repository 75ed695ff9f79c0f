"""Runs all checks on a bundle with a folder of labelled images, and makes its certificate."""

import datetime
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import keras
import numpy as np
from numpy.typing import NDArray

from heatdrop.errors import InvalidDataset
from heatdrop.model import metrics
from heatdrop.model.bundle import Bundle
from heatdrop.model.certificate import Certificate, Check
from heatdrop.model.dataset import Dataset, Example, find_examples, load
from heatdrop.model.fitting import fitted
from heatdrop.model.loading import load_keras_model
from heatdrop.model.preprocessing import preprocess
from heatdrop.saliency import smoothgrad
from heatdrop.saliency.tensorflow_engine import TensorFlowEngine
from heatdrop.trust.measures import Map
from heatdrop.trust.perturbation import Score, check_perturbation
from heatdrop.trust.randomisation import check_randomisation
from heatdrop.trust.repeatability import check_repeatability
from heatdrop.trust.shortcut import shortcut_alarms
from heatdrop.vocabulary import ExplanationSettings, LabelRule

MIN_IMAGES = 20
RANDOMISED_IMAGES = 12
"""Images in the randomisation check: fewer, since it makes a map of each with each of its randomised models."""

Progress = Callable[[str, int, int], None]
"""Called with a stage, how much of it is done, and how much there is."""


@dataclass(frozen=True)
class _Subject:
    """The images that are explained.

    Attributes:
        data: their pixels and labels.
        inputs: (N, H, W, 3), preprocessed.
        classes: (N,) the class of each that its map explains: the one that the model predicts.
    """

    data: Dataset
    inputs: NDArray[np.float32]
    classes: NDArray[np.int64]


def certify(
    bundle: Bundle,
    folder: Path,
    *,
    settings: ExplanationSettings,
    count: int = 100,
    rule: LabelRule = "folder",
    progress: Progress = lambda stage, done, total: None,
) -> Certificate:
    """Measure whether this model's maps can be trusted, on ``count`` images drawn evenly from ``folder``.

    The images should not be those that the model was trained on.

    Raises:
        InvalidBundle: the bundle cannot be used.
        InvalidDataset: the folder's classes are not the bundle's, or it holds too few images.
    """
    data = _draw(bundle, folder, count, rule)
    model = load_keras_model(bundle)
    engine = TensorFlowEngine(model)
    inputs = preprocess(data.pixels, bundle.preprocessing, bundle.channels)
    scores = engine.predict(inputs)
    subject = _Subject(data, inputs, scores.argmax(1))
    seed = settings.seed

    def maps(explained: "keras.Model | TensorFlowEngine", stage: str, images: int, seed: int = seed) -> list[Map]:
        made = []
        for index in range(images):
            made.append(_map(explained, subject, index, settings, seed))
            progress(stage, index + 1, images)
        return made

    intact = maps(engine, "maps", len(data))
    few = min(RANDOMISED_IMAGES, len(data))
    checks = (
        _check_skill(scores, data.targets),
        check_randomisation(model, intact[:few], lambda m: maps(TensorFlowEngine(m), "randomised maps", few), seed),
        check_perturbation(list(data.pixels), intact, _scorers(engine, bundle, subject, progress), seed),
        check_repeatability(intact, maps(engine, "maps of another seed", len(data), seed + 1), seed),
    )
    return Certificate(
        measured_on=datetime.datetime.now(datetime.UTC).date().isoformat(),
        images=len(data),
        settings=settings,
        checks=checks,
        alarms=shortcut_alarms(intact),
    )


def _draw(bundle: Bundle, folder: Path, count: int, rule: LabelRule) -> Dataset:
    """``count`` images, equally many of each class as far as there are, always the same ones."""
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


def _map(
    model: "keras.Model | TensorFlowEngine", subject: _Subject, index: int, settings: ExplanationSettings, seed: int
) -> Map:
    made = smoothgrad(
        model,
        subject.inputs[index : index + 1],
        subject.classes[index : index + 1, None],
        samples=settings.samples,
        noise_level=settings.noise_level,
        estimators=(settings.estimator,),
        seed=seed,
    )
    found: Map = made.maps[settings.estimator][0, 0]
    return found


def _scorers(engine: TensorFlowEngine, bundle: Bundle, subject: _Subject, progress: Progress) -> list[Score]:
    """For each image, a function that gives the probability of its class for changed versions of it."""

    def scorer(index: int) -> Score:
        def score(pixels: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
            progress("insertion and deletion", index + 1, len(subject.data))
            probabilities = engine.predict(preprocess(np.stack(pixels), bundle.preprocessing, bundle.channels))
            return np.asarray(probabilities[:, subject.classes[index]])

        return score

    return [scorer(index) for index in range(len(subject.data))]


def _check_skill(scores: NDArray[np.float32], targets: NDArray[np.int64]) -> Check:
    """A model that guesses has nothing that a map could explain: its AUC must be above 0.5."""
    random = np.random.default_rng(0)
    draws = [random.integers(0, len(targets), len(targets)) for _ in range(500)]
    values = [metrics.macro_auc(scores[rows], targets[rows]) for rows in draws if len(set(targets[rows])) > 1]
    low, high = (float(value) for value in np.nanpercentile(values, [2.5, 97.5]))
    auc = metrics.macro_auc(scores, targets)
    statement = f"The model tells the classes apart with an AUC of {auc:.3f} (mean over classes)."
    return Check(name="skill", passed=low > 0.5, statement=statement, figures={"auc_macro": (auc, low, high)})
