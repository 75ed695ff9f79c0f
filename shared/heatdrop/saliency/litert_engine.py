"""Gradients by LiteRT, from a graph that ``gradient_graph`` has written: loaded in a moment, without TensorFlow."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from queue import SimpleQueue
from typing import Any

import numpy as np
from ai_edge_litert.interpreter import Interpreter
from typing_extensions import override

from heatdrop.errors import InvalidRequest
from heatdrop.head import GradientGraph, Score
from heatdrop.saliency import parallelism
from heatdrop.saliency.gradient_engine import (
    EXPONENTS,
    Answer,
    Classes,
    Float,
    GradientEngine,
    GraphSpec,
    Work,
    for_both_classes,
)
from heatdrop.saliency.statistics import Power

SMALL = 192 * 192
"""Pixels up to which a batch on each core is faster than all cores on one batch: of more, the cores wait for memory."""

GRADIENTS = "gradients_of_"
"""A signature of the graph is called so, and by the number of classes that it takes."""

ACTIVATIONS = "activations"
"""The signature for what class activation maps are made of."""


class LiteRtEngine(GradientEngine):
    """The gradients of a classifier on a CPU.

    The bits of a map depend neither on ``parallel_batches`` nor on the size of the batches that are asked for: the
    graph has a batch of one size, each image of which is computed by itself.
    """

    def __init__(
        self, graph: bytes, description: GradientGraph, predict: Callable[[Float], Float], cores: int | None = None
    ) -> None:
        """Load a graph.

        Args:
            graph: the bytes of a LiteRT file.
            description: what it computes.
            predict: (B, H, W, C) to (B, classes), what the model itself gives.
            cores: how many to use; all by default.

        Raises:
            ValueError: the graph cannot be read, or is not the one that is described.
        """
        self.head, self.batch_size = description.head, description.batch
        self._description, self._predict = description, predict
        cores = cores or parallelism.cores()
        first = Interpreter(model_content=graph, num_threads=1)
        shape = _image_shape(first, description)
        self.input_shape = shape
        self.parallel_batches = min(cores, parallelism.MAX_PARALLEL) if shape[0] * shape[1] <= SMALL else 1
        self._interpreters: SimpleQueue[Interpreter] = SimpleQueue()
        if self.parallel_batches == 1 and cores > 1:
            first = Interpreter(model_content=graph, num_threads=cores)
        self._interpreters.put(first)
        for _ in range(self.parallel_batches - 1):
            self._interpreters.put(Interpreter(model_content=graph, num_threads=1))
        self._threads = ThreadPoolExecutor(self.parallel_batches, "gradients")

    @override
    def predict(self, images: Float) -> Float:
        return self._predict(images)

    @override
    def map_parallel(self, compute: Callable[[Work], Answer], work: Iterable[Work]) -> list[Answer]:
        return list(self._threads.map(compute, work))

    @override
    def gradient_sums(
        self, image: Float, noise: Float, count: int, classes: Classes, spec: GraphSpec
    ) -> list[tuple[Float, ...]]:
        if spec.score not in self._description.differentiated:
            raise InvalidRequest(
                f"the gradients that were packed with the model are not of the {spec.score}; explain another score"
            )
        computed = classes[:1] if self.head.mirrored(spec.score) else classes
        gradients = np.concatenate(
            [
                self._gradients(image + noise[first : min(first + self.batch_size, count)], computed, spec.score)
                for first in range(0, count, self.batch_size)
            ],
            axis=1,
        )
        groups = (gradients[:, first : min(first + spec.group, count)] for first in range(0, count, spec.group))
        sums = [tuple(_sum_of_power(group, power) for power in spec.powers) for group in groups]
        return sums if len(computed) == len(classes) else for_both_classes(sums, classes, spec.powers)

    def activations(self, image: Float, classes: Classes) -> tuple[Float, Float, Float]:
        """The results of the model's last convolution, and the gradients of logits with respect to them.

        Args:
            image: (H, W, C), preprocessed.
            classes: (K,) indices.

        Returns:
            The results (h, w, c); the gradients (K, h, w, c); the logits (K,). Where the model has no logits, those of
            the probabilities.

        Raises:
            InvalidRequest: the model has no convolution.
        """
        if not self._description.layer:
            raise InvalidRequest("model has no convolution, whose results this method draws")
        upstream = self._upstream(classes)
        with self._an_interpreter() as interpreter:
            runner = interpreter.get_signature_runner(ACTIVATIONS)
            passes = _passes(upstream, (max(self._description.slots),))
            found = [runner(images=image[None], upstream=rows) for rows in passes]
        gradients = np.concatenate([each["gradients"] for each in found])[: len(classes)]
        return found[0]["activations"][0], gradients, upstream @ found[0]["outputs"][0]

    def _gradients(self, images: Float, classes: Classes, score: Score) -> Float:
        """(b, H, W, C) and (K,) to (K, b, H, W, C); b is the batch of the graph or less."""
        batch = np.zeros((self.batch_size, *images.shape[1:]), np.float32)
        batch[: len(images)] = images
        upstream = self._upstream(classes)
        inputs: dict[str, Any] = {"images": batch}
        if len(self._description.differentiated) > 1:
            inputs["of_probability"] = np.float32(score == "probability")
        found = []
        with self._an_interpreter() as interpreter:
            for rows in _passes(upstream, self._description.slots):
                runner = interpreter.get_signature_runner(f"{GRADIENTS}{len(rows)}")
                found.append(runner(upstream=rows, **inputs)["gradients"][:, : len(images)])
        return np.concatenate(found)[: len(classes)]

    @contextmanager
    def _an_interpreter(self) -> Iterator[Interpreter]:
        """One that is free."""
        interpreter = self._interpreters.get()
        try:
            yield interpreter
        finally:
            self._interpreters.put(interpreter)

    def _upstream(self, classes: Classes) -> Float:
        """(K, outputs): the weights with which the outputs of the model are summed up to the score of each class."""
        if self.head.two_sided:
            return np.where(classes == 0, np.float32(-1), np.float32(1))[:, None]
        return np.eye(self.head.classes, dtype=np.float32)[classes]


def _passes(upstream: Float, slots: Sequence[int]) -> Iterator[Float]:
    """Parts of ``upstream`` (K, outputs) with as many rows as a signature takes; zeros fill up the last one."""
    most = max(slots)
    for first in range(0, len(upstream), most):
        rows = upstream[first : first + most]
        taken = min(count for count in slots if count >= len(rows))
        yield np.pad(rows, ((0, taken - len(rows)), (0, 0)))


def _sum_of_power(gradients: Float, power: Power) -> Float:
    """(K, b, H, W, C) to (K, H, W, C)."""
    base = np.abs(gradients) if power == "abs" else gradients
    total: Float = (base ** EXPONENTS[power] if EXPONENTS[power] > 1 else base).sum(axis=1)
    return total


def _image_shape(interpreter: Interpreter, description: GradientGraph) -> tuple[int, int, int]:
    """(H, W, C) of the images that a graph takes."""
    signatures = interpreter.get_signature_list()
    wanted = {f"{GRADIENTS}{count}" for count in description.slots}
    if not wanted or not wanted <= set(signatures):
        raise ValueError(f"it has no signature {', '.join(sorted(wanted - set(signatures)))}")
    runner = interpreter.get_signature_runner(min(wanted))
    batch, height, width, channels = (int(size) for size in runner.get_input_details()["images"]["shape"])
    if batch != description.batch:
        raise ValueError(f"it takes {batch} images at once instead of {description.batch}")
    return height, width, channels
