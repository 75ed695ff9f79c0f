"""How near the engine comes to the machine's limit: floating-point operations of an image, and per second."""

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from heatdrop.head import Score
from heatdrop.saliency.gradient_engine import GraphSpec
from heatdrop.saliency.tensorflow_engine import TensorFlowEngine

_MATRIX_SIDE = 2048
_REPEATS = 15


def machine_rates() -> dict[str, float]:
    """The best measured GFLOP/s of a large matrix product and of a large convolution, on all cores."""
    side = _MATRIX_SIDE
    matrix = tf.random.normal((side, side))
    images, kernel = tf.random.normal((8, 56, 56, 128)), tf.random.normal((3, 3, 128, 128))
    work = {
        "matrix_product": (2 * side**3, lambda: tf.matmul(matrix, matrix)),
        "convolution": (2 * 8 * 56 * 56 * 9 * 128 * 128, lambda: tf.nn.conv2d(images, kernel, 1, "SAME")),
    }
    return {name: operations / _fastest(run) / 1e9 for name, (operations, run) in work.items()}


def _fastest(run: Callable[[], Any]) -> float:
    seconds = []
    for _ in range(_REPEATS):
        started = time.perf_counter()
        run().numpy()
        seconds.append(time.perf_counter() - started)
    return min(seconds)


def counted_gflop(engine: TensorFlowEngine, shape: tuple[int, ...], samples: int, classes: int) -> float:
    """GFLOP of one image: those of the convolutions and matrix products in the engine's graph."""
    score: Score = "logit"
    spec, size = GraphSpec(("abs", "g2"), score, engine.batch_size), engine.batch_size
    noise = np.zeros((size, *shape), np.float32)
    engine.gradient_sums(noise[0], noise, size, np.arange(classes, dtype=np.int64), spec)
    graph = engine.graph_of(spec)
    return sum(map(_operations, graph.get_operations())) * samples / size / 1e9


def _operations(operation: Any) -> int:
    """Number of multiplications and additions in a convolution or matrix product; 0 for other operations."""
    if operation.type in {"Conv2D", "Conv2DBackpropInput"}:
        output = operation.inputs[-1].shape if operation.type == "Conv2DBackpropInput" else operation.outputs[0].shape
        height, width, channels, _ = operation.inputs[1].shape
        return 2 * int(np.prod(output) * height * width * channels)
    if operation.type == "MatMul":
        left = operation.inputs[0].shape
        return 2 * int(np.prod(left)) * int(operation.outputs[0].shape[1])
    return 0
