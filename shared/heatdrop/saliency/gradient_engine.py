"""What computes the gradients of a classifier: noisy copies of an image in, sums of powers of their gradients out."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from heatdrop.head import Head, Score
from heatdrop.saliency.statistics import Power

Float = NDArray[np.float32]
Classes = NDArray[np.int64]

Work = TypeVar("Work")
Answer = TypeVar("Answer")

EXPONENTS: dict[Power, int] = {"g": 1, "abs": 1, "g2": 2, "g3": 3, "g4": 4}
_ODD: set[Power] = {"g", "g3"}


class OutOfMemory(Exception):
    """The device has not memory enough for a batch of this size; a smaller one may do."""


@dataclass(frozen=True)
class GraphSpec:
    """What is computed of a batch of noisy copies.

    Attributes:
        powers: which powers of the gradient are summed.
        score: what is differentiated.
        group: how many consecutive samples are summed together; a batch holds one or more groups.
    """

    powers: tuple[Power, ...]
    score: Score
    group: int


class GradientEngine(ABC):
    """The gradients of one classifier. Not safe for use by several threads at once.

    Attributes:
        head: the scores that can be differentiated.
        input_shape: (H, W, C) of the model; None where it takes any size.
        batch_size: noisy copies in a batch; made smaller when the device runs out of memory.
        parallel_batches: how many batches are computed at the same time.
    """

    head: Head
    input_shape: tuple[int | None, ...]
    batch_size: int
    parallel_batches: int

    @abstractmethod
    def predict(self, images: Float) -> Float:
        """(B, H, W, C) to (B, classes): probabilities, or logits if the model ends in them."""

    @abstractmethod
    def map_parallel(self, compute: Callable[[Work], Answer], work: Iterable[Work]) -> list[Answer]:
        """``compute`` of each piece of ``work``, ``parallel_batches`` at the same time; the answers keep the order."""

    @abstractmethod
    def gradient_sums(
        self, image: Float, noise: Float, count: int, classes: Classes, spec: GraphSpec
    ) -> list[tuple[Float, ...]]:
        """Sums of powers of the gradients of the class scores over each group of noisy copies.

        Args:
            image: (H, W, C), preprocessed.
            noise: (b, H, W, C) to be added to it; b is a multiple of ``spec.group``.
            count: how many of the b copies count; the rest only fill the batch.
            classes: (K,) indices.
            spec: what to compute.

        Returns:
            For each group that has copies that count, one (K, H, W, C) a power, in the order of ``spec.powers``.

        Raises:
            InvalidRequest: no gradient reaches the input.
            OutOfMemory: the device has not memory enough for b copies.
        """


def for_both_classes(
    sums: list[tuple[Float, ...]], classes: Classes, powers: tuple[Power, ...]
) -> list[tuple[Float, ...]]:
    """The sums for all ``classes`` (K,) of a two-class model from those for the first: its gradients are g and -g."""
    sign = np.where(classes == classes[0], np.float32(1), np.float32(-1))[:, None, None, None]
    return [
        tuple(total * (sign if power in _ODD else np.abs(sign)) for total, power in zip(group, powers, strict=True))
        for group in sums
    ]
