"""SmoothGrad (Smilkov, Thorat, Kim, Viegas, Wattenberg, "SmoothGrad: removing noise by adding noise", 2017).

The gradient of a class score is averaged over noisy copies of the image.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from heatdrop.head import Score
from heatdrop.saliency import batches, checks
from heatdrop.saliency.gradient_engine import GradientEngine, GraphSpec, OutOfMemory
from heatdrop.saliency.jitter import Shift, reach, shift_of, shifted, shifted_back, shown
from heatdrop.saliency.maps import Float, SaliencyMaps, empty_invalid, relative_error, score_warnings
from heatdrop.saliency.noise import BLOCK, Sampling, image_key, standard_normals
from heatdrop.saliency.statistics import RunningSums, powers_needed
from heatdrop.vocabulary import Estimator

if TYPE_CHECKING:
    import keras

logger = logging.getLogger(__name__)


def smoothgrad(
    model: "keras.Model | GradientEngine",
    images: ArrayLike,
    classes: ArrayLike | None = None,
    *,
    top: int = 3,
    samples: int = 20,
    noise_level: float = 0.20,
    estimators: Sequence[Estimator] = ("mean_abs",),
    score: Score = "logit",
    seed: int = 0,
    noise: ArrayLike | None = None,
    sampling: Sampling = "stratified",
    batch_size: int | Literal["auto"] = "auto",
    tolerance: float | None = None,
    jitter: int = 0,
) -> SaliencyMaps:
    """Explain why a Keras classifier scores each image as it does.

    Args:
        model: a functional or sequential Keras classifier. The compiled graphs of the model used last are kept; make
            a ``GradientEngine`` of each to keep those of several.
        images: (B, H, W, C) float32, already preprocessed.
        classes: (B, K) class indices to explain; the ``top`` best of each image by default.
        top: how many classes to explain when ``classes`` is not given (at most the model has).
        samples: n, noisy copies of each image; 0 gives the plain gradient. With ``tolerance``, the most.
        noise_level: the noise's standard deviation as a share of the image's max - min.
        estimators: any of ``mean_abs`` (mean of |g|), ``signed`` (|mean of g|), ``squared`` (mean of g squared) and
            ``variance``; all come from one pass.
        score: differentiate the class's ``logit`` (default) or its ``probability``. Where there is no logit, as in an
            ensemble that averages probabilities, the probability is taken and a warning says so.
        seed: 0 or more. Sample i of an image depends on (seed, image content, i) alone.
        noise: (samples, B, H, W, C) standard normals to use instead.
        sampling: ``stratified`` spreads the noise of each pixel evenly over its distribution, which gives the error
            of more samples at the cost of these; ``independent`` draws every sample by itself, as the paper does.
            A single sample is standard normal in both.
        batch_size: the most noisy copies in one pass; halved when the device runs out of memory.
        tolerance: stop an image as soon as the relative standard error of each of its maps is under this (looked at
            every ``batches.CHECK_EVERY`` samples); an image that does not get there is not ``converged``, and warned
            of.
        jitter: the period in pixels of the grid that strided layers leave in gradients, which is averaged out: each
            noisy copy is shifted by up to half of it. 0 shifts nothing, as in the paper.

    Raises:
        InvalidRequest: an argument has the wrong shape or is out of its range; the message names it.
    """
    engine = model if isinstance(model, GradientEngine) else _engine_of(model)
    batch = checks.images(images, engine.input_shape)
    given = None if noise is None else checks.noise(noise, samples, batch)
    settings = checks.Settings(tuple(estimators), score, samples, noise_level, sampling, batch_size, tolerance, jitter)
    settings.check(engine.head)
    settings = replace(settings, score=engine.head.explained(score))
    checks.seed(seed)
    scores = engine.predict(batch)
    chosen = checks.classes(classes, scores, top)
    scores = np.take_along_axis(scores, chosen, axis=1)
    results = []
    for index, image in enumerate(batch):
        source = _own_noise(image, seed, sampling) if given is None else _given_noise(given[:, index])
        results.append(_explain(engine, image, chosen[index], source, settings))
    several = samples > 1
    return SaliencyMaps(
        maps={name: np.stack([result.maps[name] for result in results]) for name in estimators},
        standard_errors={name: np.stack([r.errors[name] for r in results]) for name in estimators if several},
        relative_errors={name: np.stack([r.relative[name] for r in results]) for name in estimators if several},
        classes=chosen,
        scores=scores,
        samples=np.array([result.samples for result in results], np.int64),
        converged=np.array([result.converged for result in results]),
        score=settings.score,
        sampling=_sampling(settings, given=given is not None),
        seed=seed,
        warnings=tuple(
            (*result.warnings, *score_warnings(scores[index], chosen[index], score, engine.head))
            for index, result in enumerate(results)
        ),
    )


def _engine_of(model: "keras.Model") -> GradientEngine:
    # Imported here, so that explaining by another engine needs no TensorFlow.
    from heatdrop.saliency.tensorflow_engine import engine_of

    return engine_of(model)


def _sampling(settings: checks.Settings, *, given: bool) -> Sampling | Literal["given"] | None:
    if not settings.samples:
        return None
    return "given" if given else settings.sampling


_Group = tuple[tuple[NDArray[Any], ...], Float | None]
"""The sums of some samples, one for each power, and how many of them reached each pixel; None for all."""


@dataclass(frozen=True)
class _NoiseSource:
    """Where the noise of one image comes from.

    Attributes:
        draw: (first sample, number of samples) to (samples, H, W, C) standard normals.
        block: how many consecutive samples depend on each other.
    """

    draw: Callable[[int, int], Float]
    block: int


@dataclass(frozen=True)
class _Explained:
    """One image's part of the result."""

    maps: dict[str, Float]
    errors: dict[str, Float]
    relative: dict[str, Float]
    samples: int
    converged: bool
    warnings: tuple[str, ...]


def _own_noise(image: Float, seed: int, sampling: Sampling) -> _NoiseSource:
    key = image_key(image)

    def draw(first: int, count: int) -> Float:
        return standard_normals(image.shape, seed=seed, key=key, first=first, count=count, sampling=sampling)

    return _NoiseSource(draw, BLOCK[sampling])


def _given_noise(noise: Float) -> _NoiseSource:
    return _NoiseSource(lambda first, count: noise[first : first + count], 1)


def _explain(
    engine: GradientEngine, image: Float, classes: NDArray[np.int64], source: _NoiseSource, settings: checks.Settings
) -> _Explained:
    """Explain one image (H, W, C)."""
    sigma = float(settings.noise_level * (image.max() - image.min())) if settings.samples else 0.0
    frame = reach(settings.jitter) if sigma else 0
    sums = RunningSums(powers_needed(settings.estimators), source.block, frame)
    warnings = []
    if sigma:
        converged = _add_samples(sums, engine, image, classes, source, sigma, settings)
    else:
        spec = GraphSpec(sums.powers, settings.score, 1)
        sums.add(1, engine.gradient_sums(image, np.zeros((1, *image.shape), np.float32), 1, classes, spec)[0])
        converged = True
        if settings.samples:
            warnings.append("the image is constant, so there is no noise to add: this is the plain gradient")
    maps: dict[str, Float] = {}
    errors: dict[str, Float] = {}
    for name in settings.estimators:
        maps[name], errors[name] = sums.estimate(name)
    relative = {name: relative_error(maps[name], errors[name]) for name in maps}
    if not converged:
        worst = max(float(values.max()) for values in relative.values())
        warnings.append(f"not converged: after {sums.count} samples the relative standard error is {worst:.3f}")
    warnings += empty_invalid(maps, errors, image, classes)
    return _Explained(maps, errors, relative, sums.count if sigma else 0, converged, tuple(warnings))


def _add_samples(
    sums: RunningSums,
    engine: GradientEngine,
    image: Float,
    classes: NDArray[np.int64],
    source: _NoiseSource,
    sigma: float,
    settings: checks.Settings,
) -> bool:
    """Add noisy gradients to ``sums`` until there are enough; False if the tolerance was not reached with them all."""
    limit = engine.batch_size if settings.batch_size == "auto" else settings.batch_size
    tolerance = settings.tolerance
    while sums.count < settings.samples:
        division = batches.plan(limit, settings.samples, source.block, stops=tolerance is not None)
        # Shifted back one by one, gradients can only be summed up here.
        spec = GraphSpec(sums.powers, settings.score, 1 if settings.jitter else division.group)

        def sums_of(
            batch: tuple[int, int], division: batches.Batches = division, spec: GraphSpec = spec
        ) -> list[_Group]:
            first, count = batch
            noise = np.zeros((division.size, *image.shape), np.float32)
            noise[:count] = source.draw(first, count) * np.float32(sigma)
            if not settings.jitter:
                return [(sums, None) for sums in engine.gradient_sums(image, noise, count, classes, spec)]
            shifts = [shift_of(index, settings.jitter) for index in range(first, first + count)]
            for position, shift in enumerate(shifts):
                noise[position] += shifted(image, shift) - image
            return _summed_up(engine.gradient_sums(image, noise, count, classes, spec), shifts, division.group)

        upcoming = division.next_batches(sums.count, engine.parallel_batches)
        try:
            found = engine.map_parallel(sums_of, upcoming)
        except OutOfMemory:
            if division.size == 1:
                raise
            limit = division.size // 2
            engine.batch_size = min(engine.batch_size, limit)
            logger.warning("out of memory with %d noisy copies at once; going on with %d", division.size, limit)
            continue
        for (_, count), groups in zip(upcoming, found, strict=True):
            for position, (group, reached) in enumerate(groups):
                sums.add(min(division.group, count - position * division.group), group, reached)
            # Later batches that were computed at the same time are left out: the map must not depend on their number.
            if tolerance is not None and sums.count % batches.CHECK_EVERY == 0 and _within(sums, settings, tolerance):
                return True
    return tolerance is None or _within(sums, settings, tolerance)


def _summed_up(single: list[tuple[Float, ...]], shifts: Sequence[Shift], size: int) -> list[_Group]:
    """The sums of single shifted samples, shifted back and summed up in groups of ``size``."""
    groups: list[_Group] = []
    for first in range(0, len(single), size):
        members = list(zip(single[first : first + size], shifts[first : first + size], strict=True))
        powers = zip(*(map(partial(shifted_back, shift=shift), sums) for sums, shift in members), strict=True)
        height, width = single[0][0].shape[1:3]
        reached = np.stack([shown((height, width), shift) for _, shift in members]).sum(axis=0)
        groups.append((tuple(np.stack(each).sum(axis=0, dtype=np.float64) for each in powers), reached))
    return groups


def _within(sums: RunningSums, settings: checks.Settings, tolerance: float) -> bool:
    return all(relative_error(*sums.estimate(name)).max() < tolerance for name in settings.estimators)
