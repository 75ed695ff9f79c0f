"""SmoothGrad (Smilkov, Thorat, Kim, Viegas, Wattenberg, "SmoothGrad: removing noise by adding noise", 2017).

The gradient of a class score is averaged over noisy copies of the image. One forward pass of a batch of copies is
shared by the backward passes of all classes; the graph is compiled once for each shape.
"""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import ArrayLike, NDArray

from heatdrop.errors import InvalidRequest
from heatdrop.saliency import noise as noise_source
from heatdrop.saliency.scores import SCORES, Score, find_head
from heatdrop.saliency.statistics import Power, RunningSums, powers_needed
from heatdrop.vocabulary import Estimator

logger = logging.getLogger(__name__)

CPU_BATCH = 5
GPU_BATCH = 32

Float = NDArray[np.float32]


@dataclass(frozen=True)
class SaliencyMaps:
    """Raw maps of a batch of images; nothing is normalised.

    Attributes:
        maps: estimator to (B, K, H, W) float32; units of score per unit of preprocessed input (its square for
            ``squared`` and ``variance``), the maximum over channels.
        standard_errors: estimator to (B, K, H, W) float32, in the same units; empty when fewer than two samples.
        classes: (B, K) class indices that the maps explain.
        scores: (B, K) probabilities of those classes for the image without noise.
        samples: noisy copies used for each image; 0 means the plain gradient.
        seed: what the noise was drawn from.
        warnings: for each image, sentences about maps that should not be read as an explanation.
    """

    maps: dict[Estimator, Float]
    standard_errors: dict[Estimator, Float]
    classes: NDArray[np.int64]
    scores: Float
    samples: int
    seed: int
    warnings: tuple[tuple[str, ...], ...] = field(default=())


def smoothgrad(
    model: "keras.Model | SmoothGrad",
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
    batch_size: int | Literal["auto"] = "auto",
) -> SaliencyMaps:
    """Explain why a Keras classifier scores each image as it does.

    Args:
        model: a Keras classifier, or a ``SmoothGrad`` of it, which keeps the compiled graph between calls.
        images: (B, H, W, C) float32, already preprocessed.
        classes: (B, K) class indices to explain; the ``top`` best of each image by default.
        top: how many classes to explain when ``classes`` is not given (at most the model has).
        samples: n, noisy copies of each image; 0 gives the plain gradient.
        noise_level: the noise's standard deviation as a share of the image's max - min.
        estimators: any of ``mean_abs`` (mean of |g|), ``signed`` (|mean of g|), ``squared`` (mean of g squared) and
            ``variance``; all come from one pass.
        score: differentiate the class's ``logit`` (default) or its ``probability``.
        seed: 0 or more. Sample i of an image depends on (seed, image content, i) alone.
        noise: (samples, B, H, W, C) standard normals to use instead.
        batch_size: noisy copies in one pass; halved when the device runs out of memory.

    Raises:
        InvalidRequest: an argument has the wrong shape or is out of its range; the message names it.
    """
    engine = model if isinstance(model, SmoothGrad) else SmoothGrad(model)
    batch = _checked_images(images, engine)
    given = None if noise is None else _checked_noise(noise, samples, batch)
    _check_settings(top, samples, noise_level, score, seed)
    powers = powers_needed(estimators)
    probabilities = engine.probabilities(batch)
    chosen = _chosen_classes(classes, probabilities, top)
    size = engine.batch_size if batch_size == "auto" else int(batch_size)
    if size < 1:
        raise InvalidRequest(f"batch_size is {size}; use 1 or more, or 'auto'")

    values: dict[Estimator, list[Float]] = {name: [] for name in estimators}
    errors: dict[Estimator, list[Float]] = {name: [] for name in estimators}
    warnings = []
    for index, image in enumerate(batch):
        sigma = float(noise_level * (image.max() - image.min())) if samples else 0.0
        sums = RunningSums(powers)
        for block in _noise_blocks(image, samples, size, seed, None if given is None else given[:, index]):
            sums.add(len(block), engine.sums(image, block * np.float32(sigma), chosen[index], powers, score))
        for name in estimators:
            value, error = sums.estimate(name)
            values[name].append(value)
            errors[name].append(error)
        warnings.append(_settle(values, chosen[index], constant=samples > 0 and sigma == 0.0))
    return SaliencyMaps(
        maps={name: np.stack(maps) for name, maps in values.items()},
        standard_errors={name: np.stack(maps) for name, maps in errors.items()} if samples > 1 else {},
        classes=chosen,
        scores=np.take_along_axis(probabilities, chosen, axis=1),
        samples=samples,
        seed=seed,
        warnings=tuple(warnings),
    )


class SmoothGrad:
    """The compiled gradients of one model. Not safe for use by several threads at once."""

    def __init__(self, model: keras.Model) -> None:
        self.input_shape = tuple(model.input_shape[1:])
        self.head = find_head(model)
        self.batch_size = GPU_BATCH if tf.config.list_physical_devices("GPU") else CPU_BATCH
        self._compiled_sums = tf.function(self._sums)
        self._compiled_probabilities = tf.function(lambda x: self.head.scores(x, "probability"))

    def probabilities(self, images: Float) -> Float:
        """(B, H, W, C) to (B, classes), one image at a time so that one graph serves any B."""
        return np.concatenate([self._compiled_probabilities(tf.constant(image[None])).numpy() for image in images])

    def sums(
        self, image: Float, noise: Float, classes: NDArray[np.int64], powers: tuple[Power, ...], score: Score
    ) -> tuple[Float, ...]:
        """Sums over the samples of powers of the gradients, (K, H, W, C) each, for ``noise`` (b, H, W, C)."""
        try:
            sums = self._compiled_sums(tf.constant(image), tf.constant(noise), tf.constant(classes), powers, score)
        except tf.errors.ResourceExhaustedError:
            if len(noise) == 1:
                raise
            half = len(noise) // 2
            self.batch_size = max(1, min(self.batch_size, half))
            logger.warning("out of memory with %d noisy copies at once; going on with %d", len(noise), half)
            parts = (self.sums(image, part, classes, powers, score) for part in (noise[:half], noise[half:]))
            return tuple(first + second for first, second in zip(*parts, strict=True))
        return tuple(values.numpy() for values in sums)

    def _sums(self, image: Any, noise: Any, classes: Any, powers: tuple[Power, ...], score: Score) -> list[Any]:
        noisy = image[None] + noise
        scores = tf.gather(self.head.scores(noisy, score), classes, axis=1)
        gradients = []
        for index in range(classes.shape[0]):
            gradient = tf.gradients(scores[:, index], noisy)[0]
            if gradient is None:
                raise InvalidRequest("model is not differentiable: no gradient reaches its input")
            gradients.append(gradient)
        return [tf.stack([_sum_of_power(gradient, power) for gradient in gradients]) for power in powers]


def _sum_of_power(gradient: Any, power: Power) -> Any:
    exponent = {"g": 1, "abs": 1, "g2": 2, "g3": 3, "g4": 4}[power]
    values = tf.abs(gradient) if power == "abs" else gradient
    return tf.reduce_sum(values**exponent if exponent > 1 else values, axis=0)


def _noise_blocks(image: Float, samples: int, size: int, seed: int, given: Float | None) -> Iterator[Float]:
    """Blocks of standard normals (b, H, W, C), all of one size but perhaps the last."""
    if not samples:
        yield np.zeros((1, *image.shape), np.float32)
        return
    key = noise_source.image_key(image)
    for first in range(0, samples, size):
        count = min(size, samples - first)
        if given is not None:
            yield given[first : first + count]
        else:
            yield noise_source.standard_normals(image.shape, seed=seed, key=key, first=first, count=count)


def _settle(values: dict[Estimator, list[Float]], classes: NDArray[np.int64], *, constant: bool) -> tuple[str, ...]:
    """Say which of the last image's maps carry no signal; a map that is not finite is emptied, and said."""
    warnings = ["the image is constant, so no noise was added"] if constant else []
    for name, maps in values.items():
        for position, index in enumerate(classes):
            values_of_class = maps[-1][position]
            if not np.isfinite(values_of_class).all():
                values_of_class[...] = 0
                warnings.append(f"{name} of class {index} was not finite and is left empty")
            elif not values_of_class.any():
                warnings.append(f"{name} of class {index} has no signal")
    return tuple(warnings)


def _checked_images(images: ArrayLike, engine: SmoothGrad) -> Float:
    batch = np.asarray(images, np.float32)
    if batch.ndim != 4 or not len(batch):
        raise InvalidRequest(f"images has shape {batch.shape}; (B, H, W, C) with at least one image is needed")
    for have, want in zip(batch.shape[1:], engine.input_shape, strict=True):
        if want is not None and have != want:
            raise InvalidRequest(f"images are {batch.shape[1:]} each; the model takes {engine.input_shape}")
    if not np.isfinite(batch).all():
        raise InvalidRequest("images holds NaN or infinite values")
    return batch


def _checked_noise(noise: ArrayLike, samples: int, batch: Float) -> Float:
    given = np.asarray(noise, np.float32)
    if given.shape != (samples, *batch.shape):
        raise InvalidRequest(f"noise has shape {given.shape}; {(samples, *batch.shape)} is needed")
    return given


def _check_settings(top: int, samples: int, noise_level: float, score: str, seed: int) -> None:
    if samples < 0:
        raise InvalidRequest(f"samples is {samples}; use 0 (the plain gradient) or more")
    if not noise_level > 0:
        raise InvalidRequest(f"noise_level is {noise_level}; it must be above 0 (use samples=0 for no noise)")
    if top < 1:
        raise InvalidRequest(f"top is {top}; explain at least one class")
    if score not in SCORES:
        raise InvalidRequest(f"score is {score!r}; choose one of {', '.join(SCORES)}")
    if not 0 <= seed < 2**64:
        raise InvalidRequest(f"seed is {seed}; use a number from 0 to 2**64 - 1")


def _chosen_classes(classes: ArrayLike | None, probabilities: Float, top: int) -> NDArray[np.int64]:
    count, known = probabilities.shape
    if classes is None:
        # Stable, so that equal scores are ordered by class.
        return np.argsort(-probabilities, axis=1, kind="stable")[:, : min(top, known)].astype(np.int64)
    chosen = np.asarray(classes)
    if chosen.ndim != 2 or len(chosen) != count or not np.issubdtype(chosen.dtype, np.integer):
        raise InvalidRequest(f"classes must be integers of shape ({count}, K); it is {chosen.dtype} {chosen.shape}")
    if chosen.size == 0 or chosen.min() < 0 or chosen.max() >= known:
        raise InvalidRequest(f"classes must lie between 0 and {known - 1}, at least one an image")
    return chosen.astype(np.int64)
