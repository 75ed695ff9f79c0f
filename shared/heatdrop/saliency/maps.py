"""The result of every method: raw maps of a batch of images, and what must be known to read them."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from heatdrop.head import Head, Score
from heatdrop.saliency.noise import Sampling

Float = NDArray[np.float32]

NO_SIGNAL = 1e-10
"""A map is emptied if moving its strongest pixel across the whole range of the image would change the score by less."""

SATURATED = 1e-4
"""The gradient of a probability this close to 1 has fewer than four digits in float32."""

_SQUARES = {"squared", "variance"}
"""Estimators whose maps have the unit of a squared gradient."""


@dataclass(frozen=True)
class SaliencyMaps:
    """Raw maps of a batch of images; nothing is normalised.

    Attributes:
        maps: name to (B, K, H, W) float32, where the name is an estimator of SmoothGrad or another method. For
            SmoothGrad in units of score per unit of preprocessed input (its square for ``squared`` and ``variance``),
            the maximum over channels.
        standard_errors: estimator to (B, K, H, W) float32, in the same units; empty when fewer than two samples.
        relative_errors: estimator to (B, K) float32: the L2 norm of the standard error over that of the map.
        classes: (B, K) class indices that the maps explain.
        scores: (B, K) what the model says of those classes for the image without noise: probabilities, or the logits
            of a model that ends in logits.
        samples: (B,) noisy copies used for each image; 0 means the plain gradient.
        converged: (B,) whether the relative errors came under the tolerance asked for; all True if none was.
        score: what was differentiated; the probability where a model has no logit to be found.
        sampling: how the noise was drawn, "given" if it came from outside; None without noise.
        seed: what the noise was drawn from.
        warnings: for each image, sentences about maps that should not be read as an explanation.
    """

    maps: dict[str, Float]
    standard_errors: dict[str, Float]
    relative_errors: dict[str, Float]
    classes: NDArray[np.int64]
    scores: Float
    samples: NDArray[np.int64]
    converged: NDArray[np.bool_]
    score: Score = "logit"
    sampling: Sampling | Literal["given"] | None = None
    seed: int = 0
    warnings: tuple[tuple[str, ...], ...] = field(default=())


def of_one_method(
    name: str,
    maps: Float,
    classes: NDArray[np.int64],
    scores: Float,
    score: Score,
    warnings: Sequence[tuple[str, ...]],
    *,
    samples: int = 0,
    sampling: Sampling | None = None,
    seed: int = 0,
) -> SaliencyMaps:
    """The result of a method that makes one map a class and tells no standard errors; see ``SaliencyMaps``.

    Args:
        name: of the method.
        maps: (B, K, H, W).
        classes: (B, K) class indices.
        scores: (B, K), what the model says of them.
        score: what the maps are of.
        warnings: for each image.
        samples: for each image, where the method takes some.
        sampling: how their noise was drawn.
        seed: what it was drawn from.
    """
    return SaliencyMaps(
        maps={name: maps},
        standard_errors={},
        relative_errors={},
        classes=classes,
        scores=scores,
        samples=np.full(len(maps), samples, np.int64),
        converged=np.ones(len(maps), np.bool_),
        score=score,
        sampling=sampling,
        seed=seed,
        warnings=tuple(warnings),
    )


def empty_invalid_of(name: str, maps: Float, image: Float, classes: NDArray[np.int64]) -> list[str]:
    """As ``empty_invalid``, for the maps (K, H, W) of a method that tells no standard errors."""
    return empty_invalid({name: maps}, {name: np.zeros_like(maps)}, image, classes)


def relative_error(values: Float, errors: Float) -> Float:
    """The L2 norms of standard errors (K, H, W) over those of the maps, (K,); 0 for an empty map."""
    of_values, of_errors = (np.sqrt(np.square(x, dtype=np.float64).sum(axis=(1, 2))) for x in (values, errors))
    ratio = np.divide(of_errors, of_values, out=np.zeros_like(of_values), where=of_values > 0)
    rounded: Float = ratio.astype(np.float32)
    return rounded


def empty_invalid(
    maps: dict[str, Float], errors: dict[str, Float], image: Float, classes: NDArray[np.int64]
) -> list[str]:
    """Set to zero, in place, the maps of one image that are not finite or next to nothing.

    A map is drawn on a scale of its own: without this, rounding errors would be drawn as if they meant something.

    Args:
        maps: name to (K, H, W).
        errors: their standard errors, which are set to zero with them.
        image: (H, W, C), preprocessed; its range tells what is next to nothing.
        classes: (K,) indices, for the sentences.

    Returns:
        A sentence about each map that was emptied.
    """
    warnings = []
    span = float(image.max() - image.min()) or 1.0
    for name, values in maps.items():
        for index, value, error in zip(classes, values, errors[name], strict=True):
            strongest = float(np.abs(value).max())
            effect = (strongest**0.5 if name in _SQUARES else strongest) * span
            if not (np.isfinite(value).all() and np.isfinite(error).all()):
                warnings.append(f"{name} of class {index} was not finite and is left empty")
            elif not effect > NO_SIGNAL:
                warnings.append(f"{name} of class {index} has no signal and is left empty")
            else:
                continue
            value[...] = 0
            error[...] = 0
    return warnings


def score_warnings(scores: Float, classes: NDArray[np.int64], score: Score, head: Head) -> list[str]:
    """What the scores (K,) of one image mean for its maps, when ``score`` was asked for."""
    warnings = head.missing(score)
    explained = head.explained(score)
    if explained == "probability":
        advice = ", use logit" if "logit" in head.scores else ""
        warnings += [
            f"the probability of class {index} is {value:.6f}: so close to 1 its gradient is mostly rounding{advice}"
            for index, value in zip(classes, scores, strict=True)
            if value > 1 - SATURATED
        ]
    if head.mirrored(explained) and len(set(classes.tolist())) == 2:
        warnings.append("what speaks for one of two classes speaks against the other: their maps are the same")
    return warnings
