"""Settings that make a GPU faster and a map less exact. Each is used only if a map stays close to that in float32."""

import logging
from collections.abc import Callable, Sequence
from enum import StrEnum

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

logger = logging.getLogger(__name__)

TOLERANCE = 0.01
"""The greatest difference from float32 that is accepted: relative L2 of a map.

With 20 samples, the sampling error alone is about 0.15 (``docs/methods.md``).
"""

Float = NDArray[np.float32]


class Acceleration(StrEnum):
    """The settings, in the order in which they are tried: each together with those accepted before."""

    TENSOR_FLOAT_32 = "TensorFloat-32"
    XLA = "XLA"
    MIXED_PRECISION = "mixed precision"


def accepted(
    candidates: Sequence[Acceleration], compute: Callable[[frozenset[Acceleration]], Float]
) -> frozenset[Acceleration]:
    """Those of ``candidates`` that change the maps by no more than ``TOLERANCE``; why one is left out is logged.

    Args:
        candidates: what to try, in this order.
        compute: computes the same maps (K, H, W, C) with the accelerations it is given; in plain float32 with none.
    """
    exact = compute(frozenset())
    used: frozenset[Acceleration] = frozenset()
    for candidate in candidates:
        reason = _objection(lambda used=used | {candidate}: compute(used), exact)  # type: ignore[misc]
        if reason is None:
            used |= {candidate}
        else:
            logger.warning("%s is not used: %s", candidate, reason)
    return used


def _objection(compute: Callable[[], Float], exact: Float) -> str | None:
    try:
        maps = compute()
    except (tf.errors.OpError, ValueError, TypeError, NotImplementedError) as error:
        return f"it failed ({type(error).__name__})"
    difference = float(np.linalg.norm(maps - exact) / np.linalg.norm(exact))
    return None if difference <= TOLERANCE else f"it changes a map by {difference:.2g}, more than {TOLERANCE:g}"
