"""Runs all checks on a bundle with a folder of labelled images: one certificate for each kind of map."""

import datetime
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import keras
import numpy as np
from numpy.typing import NDArray

from heatdrop.errors import InvalidRequest
from heatdrop.model import grading, metrics
from heatdrop.model.bundle import Bundle
from heatdrop.model.certificate import Certificate, Check, MapKind
from heatdrop.model.grading import Figures
from heatdrop.model.loading import load_keras_model
from heatdrop.model.preprocessing import preprocess
from heatdrop.saliency import GradientEngine
from heatdrop.saliency.tensorflow_engine import TensorFlowEngine
from heatdrop.trust.baselines import Pixels
from heatdrop.trust.boxes import BoxedImages, boxed_images, read_boxes
from heatdrop.trust.images import Subject, draw_subject
from heatdrop.trust.kinds import MapPass, passes_of
from heatdrop.trust.localisation import localisation_figures
from heatdrop.trust.measures import Map, with_interval
from heatdrop.trust.perturbation import Areas, faithfulness, measure_areas, perturbation_figures, rival_maps
from heatdrop.trust.randomisation import STEPS, cascading_shuffle, randomisation_figures
from heatdrop.trust.repeatability import repeatability_figures
from heatdrop.trust.shortcut import shortcut_alarms
from heatdrop.vocabulary import ExplanationSettings, LabelRule

RANDOMISED_IMAGES = 8
"""Images in the randomisation check: fewer, since it makes a map of each with each of its randomised models."""

Progress = Callable[[str, int, int], None]
"""Called with a stage, how much of it is done, and how much there is."""

KindMaps = dict[MapKind, list[Map]]


@dataclass(frozen=True)
class Measured:
    """What was measured: a certificate for each kind of map, the most faithful kind first.

    ``left_out`` holds the kinds that cannot explain this model, by their names, and the reason of each; ``problems`` a
    sentence about each box that was not used.
    """

    certificates: tuple[Certificate, ...]
    left_out: dict[str, str] = field(default_factory=dict)
    problems: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Maps:
    """Maps of several images by kind, and the seconds that one map of each kind took."""

    maps: KindMaps
    seconds: dict[MapKind, float]


@dataclass(frozen=True)
class _Found:
    """All that was found of all kinds of map.

    Attributes:
        subject: the images.
        skill: the figures of the model itself.
        intact: maps of the model as it is.
        cascade: how many layers were shuffled, counted from the output, to maps of the first few images.
        again: maps of another seed, for kinds that have one.
        areas: those of insertion and deletion, of every kind and of the maps that know nothing.
        boxes: how well each kind finds what is in the boxes; empty without boxes.
    """

    subject: Subject
    skill: Figures
    intact: _Maps
    cascade: dict[int, KindMaps]
    again: KindMaps
    areas: dict[MapKind | str, list[Areas]]
    boxes: dict[MapKind, Figures]

    def faithfulness(self, kind: MapKind) -> NDArray[np.float64]:
        """(N,): insertion less deletion for each image."""
        return faithfulness(self.areas[kind])


def certify(
    bundle: Bundle,
    folder: Path,
    *,
    settings: Sequence[ExplanationSettings],
    count: int = 100,
    rule: LabelRule = "folder",
    boxes: Path | None = None,
    progress: Progress = lambda stage, done, total: None,
) -> Measured:
    """Measure how far maps of this model can be trusted, on ``count`` images drawn evenly from ``folder``.

    All kinds of map that ``settings`` ask for are measured on the same images, so that they compare. The images should
    not be those that the model was trained on. ``boxes`` is a file as ``boxes.read_boxes`` reads it, of images in
    ``folder``.

    Raises:
        InvalidBundle: the bundle cannot be used.
        InvalidDataset: the folder's classes are not the bundle's, it holds too few images, or the boxes cannot be used.
        InvalidRequest: none of the kinds can explain this model.
    """
    model = load_keras_model(bundle)
    engine = TensorFlowEngine(model)
    subject = draw_subject(bundle, folder, count, rule, engine)
    boxed = boxed_images(bundle, folder, read_boxes(boxes), count, rule, engine) if boxes else None
    seed = settings[0].seed
    passes, left_out = _usable(passes_of(settings), model, engine)
    noisy = [each for each in passes if each.is_random]
    few, many = min(RANDOMISED_IMAGES, len(subject)), len(subject)
    intact = _explain(passes, model, engine, subject, many, seed, partial(progress, "maps"))
    found = _Found(
        subject,
        _skill_figures(subject.scores, subject.data.targets),
        intact,
        cascade=_randomised(passes, model, subject, few, seed, partial(progress, "maps of shuffled models")),
        again=_explain(noisy, model, engine, subject, many, seed + 1, partial(progress, "maps of another seed")).maps,
        areas=_areas(intact.maps, subject, engine, bundle, seed, partial(progress, "insertion and deletion")),
        boxes=localise(boxed, passes, model, engine, seed, partial(progress, "boxes")) if boxed else {},
    )
    certificates = [_certificate(kind, found, seed) for kind in intact.maps]
    certificates.sort(key=lambda certificate: -float(found.faithfulness(certificate.kind).mean()))
    return Measured(tuple(certificates), left_out, boxed.problems if boxed else ())


def _certificate(kind: MapKind, found: _Found, seed: int) -> Certificate:
    """What was found of one kind of map."""
    maps = found.intact.maps[kind]
    shuffled = {layers: of_kind[kind] for layers, of_kind in found.cascade.items()}
    rivals = {name: found.areas[name] for name in grading.RIVALS}
    figures = {
        grading.SKILL: found.skill,
        grading.RANDOMISATION: randomisation_figures(maps, shuffled, seed),
        grading.PERTURBATION: perturbation_figures(found.areas[kind], rivals),
        grading.REPEATABILITY: repeatability_figures(maps, found.again.get(kind, maps), seed),
    }
    if kind in found.boxes:
        figures[grading.LOCALISATION] = found.boxes[kind]
    own = found.faithfulness(kind)
    best = max((found.faithfulness(other) for other in found.intact.maps), key=lambda values: float(values.mean()))
    return Certificate.of(
        kind,
        [Check.of(name, measured) for name, measured in figures.items()],
        measured_on=datetime.datetime.now(datetime.UTC).date().isoformat(),
        images=len(found.subject),
        alarms=shortcut_alarms(maps),
        seconds=round(found.intact.seconds[kind], 3),
        faithfulness=with_interval(own),
        behind_best=with_interval(best - own) if len(found.intact.maps) > 1 else None,
    )


def _usable(
    passes: Iterable[MapPass], model: keras.Model, engine: GradientEngine
) -> tuple[list[MapPass], dict[str, str]]:
    """Those that can explain the model; of the others, the reason of each kind.

    Raises:
        InvalidRequest: none can.
    """
    usable: list[MapPass] = []
    left_out: dict[str, str] = {}
    for each in passes:
        try:
            each.prepare(model, engine, seed=0)
            usable.append(each)
        except InvalidRequest as error:
            left_out |= {MapKind.of(settings).title: str(error) for settings in each.settings}
    if not usable:
        raise InvalidRequest("no kind of map can explain this model: " + "; ".join(left_out.values()))
    return usable, left_out


def _explain(
    passes: Iterable[MapPass],
    model: keras.Model,
    engine: GradientEngine,
    subject: Subject,
    count: int,
    seed: int,
    progress: Callable[[int, int], None],
) -> _Maps:
    """Maps of every kind of the first ``count`` images."""
    makers = [each.prepare(model, engine, seed) for each in passes]
    maps: KindMaps = {}
    seconds: dict[MapKind, list[float]] = {}
    for index in range(count):
        for make in makers:
            started = time.perf_counter()
            found = make(subject.inputs[index], int(subject.classes[index]))
            taken = time.perf_counter() - started
            for kind, raw in found.items():
                maps.setdefault(kind, []).append(raw)
                seconds.setdefault(kind, []).append(taken)
        progress(index + 1, count)
    # The median leaves out the first image, for which graphs are compiled.
    return _Maps(maps, {kind: float(np.median(times)) for kind, times in seconds.items()})


def _randomised(
    passes: Sequence[MapPass],
    model: keras.Model,
    subject: Subject,
    count: int,
    seed: int,
    progress: Callable[[int, int], None],
) -> dict[int, KindMaps]:
    """How many layers were shuffled, counted from the output, to the maps of every kind of that model."""
    found = {}
    for step, (layers, shuffled) in enumerate(cascading_shuffle(model, STEPS, seed)):
        done = step * count
        found[layers] = _explain(
            passes,
            shuffled,
            TensorFlowEngine(shuffled),
            subject,
            count,
            seed,
            lambda made, _, done=done: progress(done + made, STEPS * count),  # type: ignore[misc]
        ).maps
    return found


def localise(
    boxed: BoxedImages,
    passes: Iterable[MapPass],
    model: keras.Model,
    engine: GradientEngine,
    seed: int,
    progress: Callable[[int, int], None],
) -> dict[MapKind, Figures]:
    """How well maps of every kind find what is in the boxes."""
    maps = _explain(passes, model, engine, boxed.subject, len(boxed.subject), seed, progress).maps
    random = np.random.default_rng(seed)
    each = [rival_maps(image, random) for image in boxed.subject.data.pixels]
    rivals = {name: [found[name] for found in each] for name in grading.RIVALS}
    return {kind: localisation_figures(of_kind, rivals, boxed.masks) for kind, of_kind in maps.items()}


def _areas(
    maps: KindMaps,
    subject: Subject,
    engine: GradientEngine,
    bundle: Bundle,
    seed: int,
    progress: Callable[[int, int], None],
) -> dict[MapKind | str, list[Areas]]:
    """The areas of every kind of map, and of the maps that know nothing, image by image."""
    random = np.random.default_rng(seed)
    found: dict[MapKind | str, list[Areas]] = {}
    for index, image in enumerate(subject.data.pixels):

        def score(pixels: Sequence[Pixels], number: int = int(subject.classes[index])) -> NDArray[np.float32]:
            probabilities = engine.predict(preprocess(np.stack(pixels), bundle.preprocessing, bundle.channels))
            return np.asarray(probabilities[:, number])

        # Rankings are named by text; the kinds of map by their place.
        kinds = {str(place): (kind, of_kind[index]) for place, (kind, of_kind) in enumerate(maps.items())}
        rankings = {name: raw for name, (_, raw) in kinds.items()} | rival_maps(image, random)
        for name, areas in measure_areas(image, rankings, score).items():
            found.setdefault(kinds[name][0] if name in kinds else name, []).append(areas)
        progress(index + 1, len(subject))
    return found


def _skill_figures(scores: NDArray[np.float32], targets: NDArray[np.int64]) -> Figures:
    """The model's AUC with its interval: a model that guesses has nothing that a map could explain."""
    random = np.random.default_rng(0)
    draws = [random.integers(0, len(targets), len(targets)) for _ in range(500)]
    values = [metrics.macro_auc(scores[rows], targets[rows]) for rows in draws if len(set(targets[rows])) > 1]
    low, high = (round(float(value), 4) for value in np.nanpercentile(values, [2.5, 97.5]))
    return {"auc_macro": (round(metrics.macro_auc(scores, targets), 4), low, high)}
