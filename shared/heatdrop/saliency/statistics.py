"""What is made of the noisy gradients of an image: running sums, the estimators of a map, and their standard errors.

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
Moments = dict[Power, Array]


@dataclass(frozen=True)
class _Estimate:
    """An estimator's value and the variance of one sample's contribution, from the means of the powers of g."""

    needs: tuple[Power, ...]
    value: Callable[[Moments], Array]
    sample_variance: Callable[[Moments], Array]


def _variance(m: Moments) -> Array:
    return np.maximum(m["g2"] - m["g"] ** 2, 0)


def _fourth_central(m: Moments) -> Array:
    g = m["g"]
    return m["g4"] - 4 * g * m["g3"] + 6 * g**2 * m["g2"] - 3 * g**4


_ESTIMATES: dict[Estimator, _Estimate] = {
    "mean_abs": _Estimate(("abs", "g2"), lambda m: m["abs"], lambda m: m["g2"] - m["abs"] ** 2),
    "signed": _Estimate(("g", "g2"), lambda m: np.abs(m["g"]), _variance),
    "squared": _Estimate(("g2", "g4"), lambda m: m["g2"], lambda m: m["g4"] - m["g2"] ** 2),
    "variance": _Estimate(
        ("g", "g2", "g3", "g4"), _variance, lambda m: np.maximum(_fourth_central(m), 0) - _variance(m) ** 2
    ),
}


def powers_needed(estimators: Iterable[Estimator]) -> tuple[Power, ...]:
    """Which sums a pass has to keep for these estimators.

    Raises:
        InvalidRequest: an unknown estimator, or none.
    """
    wanted: set[Power] = set()
    for name in estimators:
        if name not in _ESTIMATES:
            raise InvalidRequest(f"estimator is {name!r}; choose among {', '.join(ESTIMATORS)}")
        wanted.update(_ESTIMATES[name].needs)
    if not wanted:
        raise InvalidRequest(f"estimators is empty; choose among {', '.join(ESTIMATORS)}")
    return tuple(power for power in POWERS if power in wanted)


class RunningSums:
    """Sums of powers of the gradients of one image, (K, H, W, C) each, in float64."""

    def __init__(self, powers: tuple[Power, ...]) -> None:
        self.powers = powers
        self.count = 0
        self._sums: Moments = {}

    def add(self, count: int, sums: Iterable[NDArray[np.float32]]) -> None:
        """Add the sums over ``count`` samples, in the order of ``powers``."""
        for power, values in zip(self.powers, sums, strict=True):
            if self.count:
                self._sums[power] += values
            else:
                self._sums[power] = values.astype(np.float64)
        self.count += count

    def estimate(self, name: Estimator) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """The map (K, H, W) and its standard error, both at the channel where the map is greatest."""
        rule = _ESTIMATES[name]
        means = {power: self._sums[power] / self.count for power in rule.needs}
        value = rule.value(means)
        error = np.sqrt(np.maximum(rule.sample_variance(means), 0) / max(self.count - 1, 1))
        channel = value.argmax(axis=-1)[..., None]
        return (
            np.take_along_axis(value, channel, -1)[..., 0].astype(np.float32),
            np.take_along_axis(error, channel, -1)[..., 0].astype(np.float32),
        )
