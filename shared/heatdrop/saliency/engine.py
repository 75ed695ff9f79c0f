"""The compiled gradients of one model: noisy copies of an image in, sums of powers of their gradients out."""

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
from heatdrop.saliency.parallelism import parallel_batches
from heatdrop.saliency.scores import Score, find_head
from heatdrop.saliency.statistics import Power

logger = logging.getLogger(__name__)

CPU_BATCH = 5
GPU_BATCH = 30
"""Noisy copies in a batch."""

Float = NDArray[np.float32]
Classes = NDArray[np.int64]

_Work = TypeVar("_Work")
_Answer = TypeVar("_Answer")

_EXPONENTS: dict[Power, int] = {"g": 1, "abs": 1, "g2": 2, "g3": 3, "g4": 4}


@dataclass(frozen=True)
class GraphSpec:
    """What one compiled graph computes.

    Attributes:
        powers: which powers of the gradient are summed.
        score: what is differentiated.
        group: how many consecutive samples are summed together; a batch holds one or more groups.
    """

    powers: tuple[Power, ...]
    score: Score
    group: int


class GradientEngine:
    """The compiled gradients of a Keras classifier, with the weights that it had when this was made.

    A graph is compiled for each shape of image, number of classes and batch size, and kept. Not safe for use by several
    threads at once.

    Attributes:
        head: the scores of the model that can be differentiated.
        input_shape: (H, W, C) of the model; None where it takes any size.
        batch_size: noisy copies in a batch; halved when the device runs out of memory.
        parallel_batches: how many batches are computed at the same time.
    """

    def __init__(self, model: keras.Model, accelerations: tuple[Acceleration, ...] | None = None) -> None:
        """Read the model.

        Args:
            model: a functional or sequential Keras model from (B, H, W, C) to (B, classes).
            accelerations: which ones to try; all on a GPU and none on a CPU by default. Each is used only if its maps
                stay within ``acceleration.TOLERANCE`` of those in float32.

        Raises:
            InvalidRequest: it is no classifier that can be read and differentiated; the message names the layer.
        """
        gpu = bool(tf.config.list_physical_devices("GPU"))
        self.head = find_head(model)
        self.input_shape = tuple(model.input_shape[1:])
        self.batch_size = GPU_BATCH if gpu else CPU_BATCH
        self.parallel_batches = 1 if gpu else parallel_batches()
        self._threads = ThreadPoolExecutor(self.parallel_batches, "smoothgrad") if self.parallel_batches > 1 else None
        self._candidates = accelerations if accelerations is not None else tuple(Acceleration) if gpu else ()
        self._used: frozenset[Acceleration] | None = None if self._candidates else frozenset()
        self._scores: dict[tuple[Score, Any], Function] = {}
        self._graphs: dict[tuple[GraphSpec, frozenset[Acceleration]], Function] = {}
        self._making_graph = Lock()
        self._predict = tf.function(self._score_function(self.head.predicted, tf.float32), autograph=False)

    def predict(self, images: Float) -> Float:
        """(B, H, W, C) to (B, classes): probabilities, or logits if the model ends in them.

        One image at a time, so that one graph serves any B.
        """
        return np.concatenate(self.map_parallel(lambda image: self._predict(tf.constant(image[None])).numpy(), images))

    def map_parallel(self, compute: Callable[[_Work], _Answer], work: Iterable[_Work]) -> list[_Answer]:
        """``compute`` of each piece of ``work``, ``parallel_batches`` at the same time; the answers keep the order."""
        return list((self._threads.map if self._threads else map)(compute, work))

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
            tf.errors.ResourceExhaustedError: the device has not memory enough for b copies.
        """
        computed = classes[:1] if self.head.mirrored(spec.score) else classes
        if self._used is None:
            self._used = self._choose_accelerations(noise.shape, len(computed), spec)
        sums = self._run(self._used, image, noise, count, computed, spec)
        return sums if len(computed) == len(classes) else [_mirror(group, classes, spec.powers) for group in sums]

    def graph_of(self, spec: GraphSpec) -> Any:
        """The TensorFlow graph that was compiled last for ``spec``, for counting its operations."""
        compiled: Any = self._graph(spec, self._used or frozenset())
        return compiled._list_all_concrete_functions()[-1].graph

    def _run(
        self,
        used: frozenset[Acceleration],
        image: Float,
        noise: Float,
        count: int,
        classes: Classes,
        spec: GraphSpec,
    ) -> list[tuple[Float, ...]]:
        if self._candidates:
            tf.config.experimental.enable_tensor_float_32_execution(Acceleration.TENSOR_FLOAT_32 in used)
        counts = (np.arange(len(noise)) < count).astype(np.float32)
        arguments = (tf.constant(value) for value in (image, noise, counts, classes))
        totals = [total.numpy() for total in self._graph(spec, used)(*arguments)]
        groups = -(-count // spec.group)
        return [tuple(total[group] for total in totals) for group in range(groups)]

    def _graph(self, spec: GraphSpec, used: frozenset[Acceleration]) -> Function:
        key = spec, used
        with self._making_graph:
            if key not in self._graphs:
                dtype = tf.float16 if Acceleration.MIXED_PRECISION in used else tf.float32
                scores = self._score_function(spec.score, dtype)

                def compute(image: Any, noise: Any, counts: Any, classes: Any) -> list[Any]:
                    return _sums_of_powers(scores, image[None] + noise, counts, classes, spec)

                self._graphs[key] = tf.function(compute, autograph=False, jit_compile=Acceleration.XLA in used or None)
            return self._graphs[key]

    def _score_function(self, score: Score, dtype: Any) -> Function:
        if (score, dtype) not in self._scores:
            self._scores[score, dtype] = self.head.build(score, dtype)
        return self._scores[score, dtype]

    def _choose_accelerations(self, shape: tuple[int, ...], classes: int, spec: GraphSpec) -> frozenset[Acceleration]:
        """Decide on an image of noise, so that it depends on the model and not on which image comes first."""
        image, *_ = standard_normals(shape[1:], seed=0, key=0, first=0, count=1, sampling="independent")
        noise = standard_normals(shape[1:], seed=0, key=0, first=1, count=shape[0], sampling="independent")
        first_classes = np.arange(classes, dtype=np.int64)

        def compute(used: frozenset[Acceleration]) -> Float:
            return self._run(used, image, noise, len(noise), first_classes, spec)[0][0]

        return accepted(self._candidates, compute)


def engine_of(model: "keras.Model | GradientEngine") -> GradientEngine:
    """The engine of a model. The one made last is kept and used again until another model, or other weights, come."""
    if isinstance(model, GradientEngine):
        return model
    fingerprint = 0
    for weights in model.get_weights():
        fingerprint = zlib.crc32(np.ascontiguousarray(weights).data, fingerprint)
    return _engine(model, fingerprint)


@lru_cache(maxsize=1)
def _engine(model: keras.Model, fingerprint: int) -> GradientEngine:
    return GradientEngine(model)


def _sums_of_powers(scores: Function, noisy: Any, counts: Any, classes: Any, spec: GraphSpec) -> list[Any]:
    """One forward pass, one backward pass a class; (b / group, K, H, W, C) for each power.

    ``counts`` (b,) is 1 for the copies that count and 0 for those that fill the batch.
    """
    chosen = tf.gather(scores(noisy), classes, axis=1)
    sums: list[list[Any]] = [[] for _ in spec.powers]
    for index in range(classes.shape[0]):
        gradient = tf.gradients(chosen[:, index], noisy)[0]
        if gradient is None:
            raise InvalidRequest("model is not differentiable: no gradient reaches its input")
        grouped = tf.reshape(gradient * counts[:, None, None, None], (-1, spec.group, *noisy.shape[1:]))
        for total, power in zip(sums, spec.powers, strict=True):
            base = tf.abs(grouped) if power == "abs" else grouped
            total.append(tf.reduce_sum(base ** _EXPONENTS[power] if _EXPONENTS[power] > 1 else base, axis=1))
    return [tf.stack(total, axis=1) for total in sums]


def _mirror(sums: tuple[Float, ...], classes: Classes, powers: tuple[Power, ...]) -> tuple[Float, ...]:
    """The sums for all ``classes`` of a two-class model from those for the first: the gradients are g and -g."""
    sign = np.where(classes == classes[0], np.float32(1), np.float32(-1))[:, None, None, None]
    odd = {"g", "g3"}
    return tuple(total * (sign if power in odd else np.abs(sign)) for total, power in zip(sums, powers, strict=True))
