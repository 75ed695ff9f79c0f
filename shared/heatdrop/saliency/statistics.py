"""From the gradients g of an image's noisy copies to a map and its standard error.

Memory does not grow with the number of samples: only sums of powers are kept.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from heatdrop.errors import InvalidRequest
from heatdrop.vocabulary import ESTIMATORS, Estimator

Power = Literal["g", "abs", "g2", "g3", "g4"]
POWERS: tuple[Power, ...] = get_args(Power)

Array = NDArray[np.float64]
Float = NDArray[np.float32]
Moments = dict[Power, Array]


@dataclass(frozen=True)
class _Estimate:
    """How an estimator is computed from the means of powers of g.

    Attributes:
        needs: which powers.
        averaged: the power of which the estimator is the mean; None if it is no mean.
        value: the estimator.
        sample_variance: the variance of what one sample contributes, from which its standard error follows.
    """

    needs: tuple[Power, ...]
    averaged: Power | None
    value: Callable[[Moments], Array]
    sample_variance: Callable[[Moments], Array]


def _variance(m: Moments) -> Array:
    return np.maximum(m["g2"] - m["g"] ** 2, 0)


def _fourth_central(m: Moments) -> Array:
    g = m["g"]
    return m["g4"] - 4 * g * m["g3"] + 6 * g**2 * m["g2"] - 3 * g**4


_ESTIMATES: dict[Estimator, _Estimate] = {
    "mean_abs": _Estimate(("abs", "g2"), "abs", lambda m: m["abs"], lambda m: m["g2"] - m["abs"] ** 2),
    "signed": _Estimate(("g", "g2"), "g", lambda m: np.abs(m["g"]), _variance),
    "squared": _Estimate(("g2", "g4"), "g2", lambda m: m["g2"], lambda m: m["g4"] - m["g2"] ** 2),
    "variance": _Estimate(
        ("g", "g2", "g3", "g4"), None, _variance, lambda m: np.maximum(_fourth_central(m), 0) - _variance(m) ** 2
    ),
}


def powers_needed(estimators: Iterable[Estimator]) -> tuple[Power, ...]:
    """The powers of g that have to be summed for these estimators.

    Raises:
        InvalidRequest: an unknown estimator, or none.
    """
    wanted: set[Power] = set()
    for name in estimators:
        if name not in _ESTIMATES:
            raise InvalidRequest(f"estimators holds {name!r}; choose among {', '.join(ESTIMATORS)}")
        wanted.update(_ESTIMATES[name].needs)
    if not wanted:
        raise InvalidRequest(f"estimators is empty; choose among {', '.join(ESTIMATORS)}")
    return tuple(power for power in POWERS if power in wanted)


class RunningSums:
    """Sums of powers of the gradients of one image, (K, H, W, C) each, in float64.

    Samples come in blocks of ``block``: those of a block depend on each other (stratified noise), those of different
    blocks do not. The standard error is that of as many independent samples, times a factor for each class. The factor
    compares the variance between the sums of the blocks with that of independent samples. It is computed from the whole
    map, since a few blocks tell too little about one pixel. It is 1, which is too much rather than too little, while
    there are fewer than two whole blocks, and for ``variance``, which is no mean.

    Shifted samples do not reach every pixel near the border: there, a mean is that of the samples that did. The factor
    is computed without this frame.

    Attributes:
        powers: which powers are summed.
        count: how many samples were added.
    """

    def __init__(self, powers: tuple[Power, ...], block: int = 1, frame: int = 0) -> None:
        """Start at 0; ``frame`` is how many pixels from the border there may be samples that did not reach it."""
        self.powers = powers
        self.count = 0
        self._inside = (slice(None), slice(frame, -frame or None), slice(frame, -frame or None))
        self._reached: Float | None = None
        self._block = block
        self._sums: Moments = {}
        self._open: Moments = {}
        self._open_count = 0
        self._blocks = 0
        self._squares: Moments = {}

    def add(self, count: int, sums: Iterable[Float], reached: Float | None = None) -> None:
        """Add the next ``count`` samples.

        Args:
            count: how many; at most those that are missing to a whole block.
            sums: their sums (K, H, W, C), in the order of ``powers``.
            reached: (H, W) how many of them reached each pixel; all of them where it is None.

        Raises:
            ValueError: the samples belong to more than one block.
        """
        if self._open_count + count > self._block > 1:
            raise ValueError(f"{count} samples overlap a block of {self._block}")
        self.count += count
        if reached is not None:
            self._reached = reached if self._reached is None else self._reached + reached
        for power, values in zip(self.powers, sums, strict=True):
            target = self._sums if self._block == 1 else self._open
            if power in target:
                target[power] += values
            else:
                target[power] = values.astype(np.float64)
        self._open_count += count
        if self._open_count == self._block > 1:
            self._close_block()

    def _close_block(self) -> None:
        for power, values in self._open.items():
            square = np.square(values[self._inside]).sum(axis=(1, 2, 3))
            self._squares[power] = self._squares.get(power, 0) + square
            if power in self._sums:
                self._sums[power] += values
            else:
                self._sums[power] = values
        self._open, self._open_count = {}, 0
        self._blocks += 1

    def estimate(self, name: Estimator) -> tuple[Float, Float]:
        """The map of an estimator and its standard error, both (K, H, W).

        Both are taken at each pixel from the channel where the map is greatest.
        """
        rule = _ESTIMATES[name]
        count = np.array(self.count) if self._reached is None else np.maximum(self._reached, 1)[..., None]
        means = {power: self._total(power) / count for power in rule.needs}
        value = rule.value(means)
        variance = np.maximum(rule.sample_variance(means), 0) / np.maximum(count - 1, 1)
        error = np.sqrt(variance * self._variance_ratio(rule.averaged, variance)[:, None, None, None])
        channel = value.argmax(axis=-1)[..., None]
        return (
            np.take_along_axis(value, channel, -1)[..., 0].astype(np.float32),
            np.take_along_axis(error, channel, -1)[..., 0].astype(np.float32),
        )

    def _total(self, power: Power) -> Array:
        parts = [sums[power] for sums in (self._sums, self._open) if power in sums]
        total: Array = np.sum(parts, axis=0)
        return total

    def _variance_ratio(self, power: Power | None, variance: Array) -> Array:
        """(K,): the variance of the mean, estimated from the blocks, over ``variance``, that of independent samples."""
        independent = variance[self._inside].sum(axis=(1, 2, 3))
        if power is None or self._blocks < 2:
            return np.ones_like(independent)
        scatter = self._squares[power] - np.square(self._sums[power][self._inside]).sum(axis=(1, 2, 3)) / self._blocks
        of_mean = np.maximum(scatter, 0) / (self._blocks - 1) / (self._block * self.count)
        ratio: Array = np.divide(of_mean, independent, out=np.ones_like(independent), where=independent > 0)
        return ratio
