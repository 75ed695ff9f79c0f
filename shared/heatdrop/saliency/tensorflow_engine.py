"""Gradients by TensorFlow, compiled for the network of a model as it was rewritten to cost less."""

import logging
import zlib
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from threading import Lock
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from typing_extensions import override

from heatdrop.errors import InvalidRequest
from heatdrop.head import Score
from heatdrop.saliency.acceleration import Acceleration, accepted
from heatdrop.saliency.gradient_engine import (
    EXPONENTS,
    Answer,
    Classes,
    Float,
    GradientEngine,
    GraphSpec,
    OutOfMemory,
    Work,
    for_both_classes,
)
from heatdrop.saliency.noise import standard_normals
from heatdrop.saliency.operations import Function
from heatdrop.saliency.parallelism import parallel_batches
from heatdrop.saliency.scores import find_scores

logger = logging.getLogger(__name__)

CPU_BATCH = 5
GPU_BATCH = 30
"""Noisy copies in a batch."""


class TensorFlowEngine(GradientEngine):
    """Gradients by TensorFlow of a Keras classifier, with the weights that it had when this was made.

    A graph is compiled for each shape of image, number of classes and batch size, and kept. Not safe for use by several
    threads at once.
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
        self.scores = find_scores(model)
        self.head = self.scores.head
        self.input_shape = tuple(model.input_shape[1:])
        self.batch_size = GPU_BATCH if gpu else CPU_BATCH
        self.parallel_batches = 1 if gpu else parallel_batches()
        self._threads = ThreadPoolExecutor(self.parallel_batches, "smoothgrad") if self.parallel_batches > 1 else None
        self._candidates = accelerations if accelerations is not None else tuple(Acceleration) if gpu else ()
        self._used: frozenset[Acceleration] | None = None if self._candidates else frozenset()
        self._functions: dict[tuple[Score, Any], Function] = {}
        self._graphs: dict[tuple[GraphSpec, frozenset[Acceleration]], Function] = {}
        self._making_graph = Lock()
        self._predict = tf.function(self._score_function(self.head.predicted, tf.float32), autograph=False)

    @override
    def predict(self, images: Float) -> Float:
        # One image at a time, so that one graph serves any number of them.
        return np.concatenate(self.map_parallel(lambda image: self._predict(tf.constant(image[None])).numpy(), images))

    @override
    def map_parallel(self, compute: Callable[[Work], Answer], work: Iterable[Work]) -> list[Answer]:
        return list((self._threads.map if self._threads else map)(compute, work))

    @override
    def gradient_sums(
        self, image: Float, noise: Float, count: int, classes: Classes, spec: GraphSpec
    ) -> list[tuple[Float, ...]]:
        computed = classes[:1] if self.head.mirrored(spec.score) else classes
        if self._used is None:
            self._used = self._choose_accelerations(noise.shape, len(computed), spec)
        sums = self._run(self._used, image, noise, count, computed, spec)
        return sums if len(computed) == len(classes) else for_both_classes(sums, classes, spec.powers)

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
        try:
            totals = self._compute(used, spec, image, noise, counts, classes)
        except tf.errors.ResourceExhaustedError as error:
            raise OutOfMemory(str(error)) from error
        groups = -(-count // spec.group)
        return [tuple(total[group] for total in totals) for group in range(groups)]

    def _compute(self, used: frozenset[Acceleration], spec: GraphSpec, *arguments: Any) -> list[Float]:
        return [total.numpy() for total in self._graph(spec, used)(*map(tf.constant, arguments))]

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
        if (score, dtype) not in self._functions:
            self._functions[score, dtype] = self.scores.build(score, dtype)
        return self._functions[score, dtype]

    def _choose_accelerations(self, shape: tuple[int, ...], classes: int, spec: GraphSpec) -> frozenset[Acceleration]:
        """Decide on an image of noise, so that it depends on the model and not on which image comes first."""
        image, *_ = standard_normals(shape[1:], seed=0, key=0, first=0, count=1, sampling="independent")
        noise = standard_normals(shape[1:], seed=0, key=0, first=1, count=shape[0], sampling="independent")
        first_classes = np.arange(classes, dtype=np.int64)

        def compute(used: frozenset[Acceleration]) -> Float:
            return self._run(used, image, noise, len(noise), first_classes, spec)[0][0]

        return accepted(self._candidates, compute)


def engine_of(model: "keras.Model | TensorFlowEngine") -> TensorFlowEngine:
    """The engine of a model. The one made last is kept and used again until another model, or other weights, come."""
    if isinstance(model, TensorFlowEngine):
        return model
    fingerprint = 0
    for weights in model.get_weights():
        fingerprint = zlib.crc32(np.ascontiguousarray(weights).data, fingerprint)
    return _engine(model, fingerprint)


@lru_cache(maxsize=1)
def _engine(model: keras.Model, fingerprint: int) -> TensorFlowEngine:
    return TensorFlowEngine(model)


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
            total.append(tf.reduce_sum(base ** EXPONENTS[power] if EXPONENTS[power] > 1 else base, axis=1))
    return [tf.stack(total, axis=1) for total in sums]
