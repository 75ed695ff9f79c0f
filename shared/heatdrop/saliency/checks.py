"""Checks of the arguments of ``smoothgrad``; every message names the argument."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from heatdrop.errors import InvalidRequest
from heatdrop.head import SCORES, Head, Score
from heatdrop.saliency.maps import Float
from heatdrop.saliency.noise import SAMPLINGS, Sampling
from heatdrop.saliency.statistics import powers_needed
from heatdrop.vocabulary import Estimator

MAX_JITTER = 64
"""The longest period that is averaged out, in pixels."""


@dataclass(frozen=True)
class Settings:
    """How every image of a request is explained; ``smoothgrad`` says what each means."""

    estimators: tuple[Estimator, ...]
    score: Score
    samples: int
    noise_level: float
    sampling: Sampling
    batch_size: int | Literal["auto"]
    tolerance: float | None
    jitter: int = 0

    def check(self, head: Head) -> None:
        """Check the settings for a model with this head.

        Raises:
            InvalidRequest: an argument is out of its range.
        """
        powers_needed(self.estimators)
        if self.score not in SCORES:
            raise InvalidRequest(f"score is {self.score!r}; choose one of {', '.join(SCORES)}")
        if self.score == "probability" and self.score not in head.scores:
            raise InvalidRequest("score is 'probability', but the model ends in its logits; use 'logit'")
        if self.sampling not in SAMPLINGS:
            raise InvalidRequest(f"sampling is {self.sampling!r}; choose one of {', '.join(SAMPLINGS)}")
        if self.samples < 0:
            raise InvalidRequest(f"samples is {self.samples}; use 0 (the plain gradient) or more")
        if not (self.noise_level > 0 and np.isfinite(self.noise_level)):
            raise InvalidRequest(f"noise_level is {self.noise_level}; it must be above 0 (samples=0 adds no noise)")
        if self.batch_size != "auto" and self.batch_size < 1:
            raise InvalidRequest(f"batch_size is {self.batch_size}; use 1 or more, or 'auto'")
        if self.jitter not in {0, *range(2, MAX_JITTER + 1)}:
            raise InvalidRequest(f"jitter is {self.jitter}; use 0 (no shifts), or a period of 2 to {MAX_JITTER} pixels")
        if self.tolerance is not None and not (self.tolerance > 0 and self.samples > 1):
            raise InvalidRequest(f"tolerance is {self.tolerance}; it must be above 0, and samples above 1")


def images(given: ArrayLike, input_shape: tuple[int | None, ...]) -> Float:
    """The images as (B, H, W, C) float32, checked for a model with this input shape (H, W, C).

    Raises:
        InvalidRequest: the shape does not fit, or there are NaN or infinite values.
    """
    batch = np.asarray(given, np.float32)
    if batch.ndim != 4 or not batch.size:
        raise InvalidRequest(f"images has shape {batch.shape}; (B, H, W, C) with at least one image is needed")
    if any(want is not None and have != want for have, want in zip(batch.shape[1:], input_shape, strict=True)):
        raise InvalidRequest(f"images are {batch.shape[1:]} each; the model takes {input_shape}")
    if not np.isfinite(batch).all():
        raise InvalidRequest("images holds NaN or infinite values")
    return batch


def noise(given: ArrayLike, samples: int, batch: Float) -> Float:
    """Noise that was given, as (samples, B, H, W, C) float32, checked for these samples and images.

    Raises:
        InvalidRequest: it has another shape, or there are NaN or infinite values.
    """
    normals = np.asarray(given, np.float32)
    if normals.shape != (samples, *batch.shape):
        raise InvalidRequest(f"noise has shape {normals.shape}; {(samples, *batch.shape)} is needed")
    if not np.isfinite(normals).all():
        raise InvalidRequest("noise holds NaN or infinite values")
    return normals


def seed(given: int) -> None:
    """Check a seed.

    Raises:
        InvalidRequest: it does not fit 64 bits.
    """
    if not 0 <= given < 2**64:
        raise InvalidRequest(f"seed is {given}; use a number from 0 to 2**64 - 1")


def classes(given: ArrayLike | None, scores: Float, top: int) -> NDArray[np.int64]:
    """(B, K) class indices: those given, else the ``top`` best by ``scores`` (B, classes).

    Raises:
        InvalidRequest: they have another shape, are no integers or out of range.
    """
    count, known = scores.shape
    if given is None:
        if top < 1:
            raise InvalidRequest(f"top is {top}; use 1 or more")
        # Stable, so that equal scores are ordered by class.
        return np.argsort(-scores, axis=1, kind="stable")[:, : min(top, known)].astype(np.int64)
    chosen = np.asarray(given)
    if chosen.ndim != 2 or len(chosen) != count or not np.issubdtype(chosen.dtype, np.integer):
        raise InvalidRequest(f"classes must be integers of shape ({count}, K); it is {chosen.dtype} {chosen.shape}")
    if chosen.size == 0 or chosen.min() < 0 or chosen.max() >= known:
        raise InvalidRequest(f"classes must lie between 0 and {known - 1}, at least one an image")
    return chosen.astype(np.int64)
