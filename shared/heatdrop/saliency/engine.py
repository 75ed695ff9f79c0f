"""The compiled gradients of one model: noisy copies in, sums of powers of their gradients out."""

import logging
import zlib
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from threading import Lock
from typing import Any, TypeVar

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from heatdrop.errors import InvalidRequest
from heatdrop.saliency.acceleration import Acceleration, accepted
from heatdrop.saliency.noise import standard_normals
from heatdrop.saliency.operations import Function
from heatdrop.saliency.scores import Score, find_head
from heatdrop.saliency.statistics import Power
from heatdrop.saliency.streams import streams

logger = logging.getLogger(__name__)

CPU_BATCH = 5
GPU_BATCH = 30

Float = NDArray[np.float32]
Classes = NDArray[np.int64]

_Work = TypeVar("_Work")
_Answer = TypeVar("_Answer")

_EXPONENTS: dict[Power, int] = {"g": 1, "abs": 1, "g2": 2, "g3": 3, "g4": 4}


@dataclass(frozen=True)
class Pass:
    """What one compiled graph computes: which sums, of which score, over groups of how many samples."""

    powers: tuple[Power, ...]
    score: Score
    group: int


class GradientEngine:
    """The compiled gradients of a Keras classifier, with the weights that it had when this was made.

    One graph is compiled for each shape of image, number of classes and batch size, and kept. Not safe for use by
    several threads at once.
    """

    def __init__(self, model: keras.Model, accelerations: tuple[Acceleration, ...] | None = None) -> None:
        """Read the model.

        Args:
            model: a functional or sequential Keras model from (B, H, W, C) to (B, classes).
            accelerations: what may be tried, each only used if its maps stay within
                ``acceleration.TOLERANCE`` of float32; all on a GPU and none on a CPU by default.

        Raises:
            InvalidRequest: it is no classifier that can be read and differentiated.
        """
        gpu = bool(tf.config.list_physical_devices("GPU"))
        self.head = find_head(model)
        self.input_shape = tuple(model.input_shape[1:])
        self.batch_size = GPU_BATCH if gpu else CPU_BATCH
        self.streams = 1 if gpu else streams()
        self._threads = ThreadPoolExecutor(self.streams, "smoothgrad") if self.streams > 1 else None
        self._candidates = accelerations if accelerations is not None else tuple(Acceleration) if gpu else ()
        self._used: frozenset[Acceleration] | None = None if self._candidates else frozenset()
        self._scores: dict[tuple[Score, Any], Function] = {}
        self._graphs: dict[tuple[Pass, frozenset[Acceleration]], Function] = {}
        self._making_graph = Lock()
        self._predict = tf.function(self._score_function(self.head.predicted, tf.float32), autograph=False)

    def predict(self, images: Float) -> Float:
        """(B, H, W, C) to (B, classes): probabilities, or logits if the model ends in them.

        One image at a time, so that one graph serves any B.
        """
        return np.concatenate(self.side_by_side(lambda image: self._predict(tf.constant(image[None])).numpy(), images))

    def sums(self, image: Float, noise: Float, count: int, classes: Classes, wanted: Pass) -> list[tuple[Float, ...]]:
        """Sums of powers of the gradients over each group of samples, in the order of ``wanted.powers``.

        Args:
            image: (H, W, C).
            noise: (b, H, W, C) to be added to it; b is a multiple of ``wanted.group``.
            count: how many of the b count; the rest only fill the batch.
            classes: (K,)
            wanted: what to compute.

        Returns:
            For each group that has samples, one (K, H, W, C) a power.

        Raises:
            InvalidRequest: no gradient reaches the input.
            tf.errors.ResourceExhaustedError: the device has not memory enough for b copies.
        """
        if self.head.mirrored(wanted.score):
            return [
                _mirror(sums, classes, wanted.powers) for sums in self._sums(image, noise, count, classes[:1], wanted)
            ]
        return self._sums(image, noise, count, classes, wanted)

    def side_by_side(self, compute: Callable[[_Work], _Answer], work: Iterable[_Work]) -> list[_Answer]:
        """Do each piece of ``work``, as many at once as there are ``streams``; the answers are in its order."""
        return list((self._threads.map if self._threads else map)(compute, work))

    def _sums(self, image: Float, noise: Float, count: int, classes: Classes, wanted: Pass) -> list[tuple[Float, ...]]:
        if self._used is None:
            self._used = self._choose_accelerations(noise.shape, len(classes), wanted)
        return self._run(self._used, image, noise, count, classes, wanted)

    def _run(
        self,
        used: frozenset[Acceleration],
        image: Float,
        noise: Float,
        count: int,
        classes: Classes,
        wanted: Pass,
    ) -> list[tuple[Float, ...]]:
        if self._candidates:
            tf.config.experimental.enable_tensor_float_32_execution(Acceleration.TENSOR_FLOAT_32 in used)
        counted = np.arange(len(noise)) < count
        arguments = (tf.constant(value) for value in (image, noise, counted.astype(np.float32), classes))
        totals = [total.numpy() for total in self._graph(wanted, used)(*arguments)]
        groups = -(-count // wanted.group)
        return [tuple(total[group] for total in totals) for group in range(groups)]

    def _graph(self, wanted: Pass, used: frozenset[Acceleration]) -> Function:
        key = wanted, used
        with self._making_graph:
            if key not in self._graphs:
                dtype = tf.float16 if Acceleration.MIXED_PRECISION in used else tf.float32
                scores = self._score_function(wanted.score, dtype)

                def compute(image: Any, noise: Any, counted: Any, classes: Any) -> list[Any]:
                    return _sums_of_powers(scores, image[None] + noise, counted, classes, wanted)

                self._graphs[key] = tf.function(compute, autograph=False, jit_compile=Acceleration.XLA in used or None)
            return self._graphs[key]

    def graph_of(self, wanted: Pass) -> Any:
        """The TensorFlow graph that was compiled last for ``wanted``, to look at."""
        used = self._used or frozenset()
        compiled: Any = self._graph(wanted, used)
        return compiled._list_all_concrete_functions()[-1].graph

    def _score_function(self, score: Score, dtype: Any) -> Function:
        if (score, dtype) not in self._scores:
            self._scores[score, dtype] = self.head.build(score, dtype)
        return self._scores[score, dtype]

    def _choose_accelerations(self, shape: tuple[int, ...], classes: int, wanted: Pass) -> frozenset[Acceleration]:
        """Decide on an image of noise, so that it depends on the model and not on which image comes first."""
        image, *_ = standard_normals(shape[1:], seed=0, key=0, first=0, count=1, sampling="independent")
        noise = standard_normals(shape[1:], seed=0, key=0, first=1, count=shape[0], sampling="independent")
        first = np.arange(classes, dtype=np.int64)

        def compute(used: frozenset[Acceleration]) -> Float:
            return self._run(used, image, noise, len(noise), first, wanted)[0][0]

        return accepted(self._candidates, compute)


def engine_of(model: "keras.Model | GradientEngine") -> GradientEngine:
    """The compiled gradients of a model; those of the model used last are kept for as long as its weights stay."""
    if isinstance(model, GradientEngine):
        return model
    fingerprint = 0
    for weights in model.get_weights():
        fingerprint = zlib.crc32(np.ascontiguousarray(weights).data, fingerprint)
    return _engine(model, fingerprint)


@lru_cache(maxsize=1)
def _engine(model: keras.Model, fingerprint: int) -> GradientEngine:
    return GradientEngine(model)


def _sums_of_powers(scores: Function, noisy: Any, counted: Any, classes: Any, wanted: Pass) -> list[Any]:
    """One forward pass, one backward pass a class; (b / group, K, H, W, C) for each power."""
    chosen = tf.gather(scores(noisy), classes, axis=1)
    sums: list[list[Any]] = [[] for _ in wanted.powers]
    for index in range(classes.shape[0]):
        gradient = tf.gradients(chosen[:, index], noisy)[0]
        if gradient is None:
            raise InvalidRequest("model is not differentiable: no gradient reaches its input")
        grouped = tf.reshape(gradient * counted[:, None, None, None], (-1, wanted.group, *noisy.shape[1:]))
        for total, power in zip(sums, wanted.powers, strict=True):
            base = tf.abs(grouped) if power == "abs" else grouped
            total.append(tf.reduce_sum(base ** _EXPONENTS[power] if _EXPONENTS[power] > 1 else base, axis=1))
    return [tf.stack(total, axis=1) for total in sums]


def _mirror(sums: tuple[Float, ...], classes: Classes, powers: tuple[Power, ...]) -> tuple[Float, ...]:
    """The sums for all ``classes`` of a two-class model from those for the first: the gradients are g and -g."""
    sign = np.where(classes == classes[0], np.float32(1), np.float32(-1))[:, None, None, None]
    return tuple(
        total * (sign if power in {"g", "g3"} else np.ones_like(sign))
        for total, power in zip(sums, powers, strict=True)
    )
