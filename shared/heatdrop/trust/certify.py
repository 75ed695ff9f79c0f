"""Runs all checks on a bundle with a folder of labelled images: one certificate for each kind of map."""

import datetime
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import keras
import numpy as np
from numpy.typing import NDArray

from heatdrop.errors import InvalidRequest
from heatdrop.model import grading, metrics
from heatdrop.model.bundle import Bundle
from heatdrop.model.certificate import Certificate, Check, MapKind
from heatdrop.model.loading import load_keras_model
from heatdrop.model.preprocessing import preprocess
from heatdrop.saliency import GradientEngine
from heatdrop.trust.baselines import Pixels
from heatdrop.trust.images import Subject, draw_subject
from heatdrop.trust.kinds import MapPass, passes_of
from heatdrop.trust.measures import Map, with_interval
from heatdrop.trust.perturbation import Areas, faithfulness, measure_areas, perturbation_figures, rival_maps
from heatdrop.trust.randomisation import STEPS, cascading_shuffle, randomisation_figures
from heatdrop.trust.repeatability import repeatability_figures
from heatdrop.trust.shortcut import shortcut_alarms
from heatdrop.vocabulary import ExplanationSettings, LabelRule

RANDOMISED_IMAGES = 12
"""Images in the randomisation check: fewer, since it makes a map of each with each of its randomised models."""

Progress = Callable[[str, int, int], None]
"""Called with a stage, how much of it is done, and how much there is."""

KindMaps = dict[MapKind, list[Map]]


@dataclass(frozen=True)
class Measured:
    """What was measured: a certificate for each kind of map, the most faithful kind first.

    ``left_out`` holds the kinds that cannot explain this model, by their names, and the reason of each.
    """

    certificates: tuple[Certificate, ...]
    left_out: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class _Maps:
    """Maps of several images by kind, and the seconds that one map of each kind took."""

    maps: KindMaps
    seconds: dict[MapKind, float]


def certify(
    bundle: Bundle,
    folder: Path,
    *,
    settings: Sequence[ExplanationSettings],
    count: int = 100,
    rule: LabelRule = "folder",
    progress: Progress = lambda stage, done, total: None,
) -> Measured:
    """Measure how far maps of this model can be trusted, on ``count`` images drawn evenly from ``folder``.

    All kinds of map that ``settings`` ask for are measured on the same images, so that they compare. The images should
    not be those that the model was trained on.

    Raises:
        InvalidBundle: the bundle cannot be used.
        InvalidDataset: the folder's classes are not the bundle's, or it holds too few images.
        InvalidRequest: none of the kinds can explain this model.
    """
    model = load_keras_model(bundle)
    engine = GradientEngine(model)
    subject = draw_subject(bundle, folder, count, rule, engine)
    seed = settings[0].seed
    passes, left_out = _usable(passes_of(settings), model, engine)
    intact = _explain(passes, model, engine, subject, len(subject), seed, lambda *at: progress("maps", *at))
    few = min(RANDOMISED_IMAGES, len(subject))
    cascade = _randomised(passes, model, subject, few, seed, lambda *at: progress("maps of shuffled models", *at))
    noisy = [each for each in passes if each.is_random]
    again = _explain(
        noisy, model, engine, subject, len(subject), seed + 1, lambda *at: progress("maps of another seed", *at)
    )
    areas = _areas(intact.maps, subject, engine, bundle, seed, lambda *at: progress("insertion and deletion", *at))
    skill = Check.of(grading.SKILL, _skill_figures(subject.scores, subject.data.targets))
    rivals = {name: areas[name] for name in grading.RIVALS}
    faithful = {kind: faithfulness(areas[kind]) for kind in intact.maps}
    best = max(faithful, key=lambda kind: float(faithful[kind].mean()))
    certificates = []
    for kind, maps in intact.maps.items():
        shuffled = {layers: found[kind] for layers, found in cascade.items()}
        checks = (
            skill,
            Check.of(grading.RANDOMISATION, randomisation_figures(maps, shuffled, seed)),
            Check.of(grading.PERTURBATION, perturbation_figures(areas[kind], rivals)),
            Check.of(grading.REPEATABILITY, repeatability_figures(maps, again.maps.get(kind, maps), seed)),
        )
        certificate = Certificate.of(
            kind,
            checks,
            measured_on=datetime.datetime.now(datetime.UTC).date().isoformat(),
            images=len(subject),
            alarms=shortcut_alarms(maps),
            seconds=round(intact.seconds[kind], 3),
            faithfulness=with_interval(faithful[kind]),
            behind_best=with_interval(faithful[best] - faithful[kind]) if len(faithful) > 1 else None,
        )
        certificates.append(certificate)
    certificates.sort(key=lambda one: -float(faithful[one.kind].mean()))
    return Measured(tuple(certificates), left_out)


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
            each.prepare(model, engine)
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
    makers = [each.prepare(model, engine) for each in passes]
    maps: KindMaps = {}
    seconds: dict[MapKind, list[float]] = {}
    for index in range(count):
        for make in makers:
            started = time.perf_counter()
            found = make(subject.inputs[index], int(subject.classes[index]), seed)
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
            GradientEngine(shuffled),
            subject,
            count,
            seed,
            lambda made, _, done=done: progress(done + made, STEPS * count),  # type: ignore[misc]
        ).maps
    return found


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
            probabilities = engine.predict(preprocess(np.stack(pixels), bundle.description.preprocess))
            return np.asarray(probabilities[:, number])

        # Rankings are named by text; the kinds of map by their place.
        kinds = {str(place): (kind, of_kind[index]) for place, (kind, of_kind) in enumerate(maps.items())}
        rankings = {name: raw for name, (_, raw) in kinds.items()} | rival_maps(image, random)
        for name, areas in measure_areas(image, rankings, score).items():
            found.setdefault(kinds[name][0] if name in kinds else name, []).append(areas)
        progress(index + 1, len(subject))
    return found


def _skill_figures(
    scores: NDArray[np.float32], targets: NDArray[np.int64]
) -> dict[str, float | tuple[float, float, float]]:
    """The model's AUC with its interval: a model that guesses has nothing that a map could explain."""
    random = np.random.default_rng(0)
    draws = [random.integers(0, len(targets), len(targets)) for _ in range(500)]
    values = [metrics.macro_auc(scores[rows], targets[rows]) for rows in draws if len(set(targets[rows])) > 1]
    low, high = (round(float(value), 4) for value in np.nanpercentile(values, [2.5, 97.5]))
    return {"auc_macro": (round(metrics.macro_auc(scores, targets), 4), low, high)}
