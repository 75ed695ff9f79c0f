"""Computes nodes that take only constants, with onnx's own reference evaluator."""

import math
from collections.abc import Callable, Sequence

import numpy as np
from onnx import helper, numpy_helper, reference

from heatdrop.model.onnx_reading.files import Array, as_float32
from heatdrop.model.onnx_reading.nodes import Node

MOST_FOLDED = 2**22
MOST_TIMES = 16
"""Values that the computed constants of a model may hold, all together: 16 MB, and 16 times those of its weights."""

Constants = Sequence[Array | None]


def _broadcast(constants: Constants, node: Node) -> int:
    return math.prod(np.broadcast_shapes(*(array.shape for array in constants if array is not None)))


def _all(constants: Constants, node: Node) -> int:
    # NonZero gives one index for each axis.
    return sum(array.size * max(array.ndim, 1) for array in constants if array is not None)


def _announced(constants: Constants, node: Node) -> int:
    return math.prod(int(size) for size in node.constant(0).reshape(-1))


def _expanded(constants: Constants, node: Node) -> int:
    return math.prod(np.broadcast_shapes(node.constant(0).shape, tuple(int(size) for size in node.constant(1))))


def _tiled(constants: Constants, node: Node) -> int:
    return node.constant(0).size * math.prod(int(times) for times in node.constant(1).reshape(-1))


def _counted(constants: Constants, node: Node) -> int:
    start, limit, delta = (float(node.constant(position)) for position in range(3))
    return math.ceil(abs(limit - start) / abs(delta))


def _padded(constants: Constants, node: Node) -> int:
    added = int(np.abs(node.constant(1)).sum())
    return math.prod(size + added for size in node.constant(0).shape)


def _gathered(constants: Constants, node: Node) -> int:
    data, indices = node.constant(0), node.constant(1)
    return int(data.size // max(data.shape[node.axis(0, data.ndim)], 1) * indices.size)


def _multiplied(constants: Constants, node: Node) -> int:
    left, right = node.constant(0), node.constant(1)
    return int(left.size * (right.shape[-1] if right.ndim > 1 else 1) * math.prod(right.shape[:-2]))


_SAME_SIZE = (
    "Abs Cast CastLike Ceil Concat Cos CumSum Erf Exp Flatten Floor GatherElements Identity IsNaN Log Neg NonZero Not "
    "Reciprocal ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum Reshape Round ScatterElements ScatterND Shape "
    "Sigmoid Sign Sin Size Slice Softmax Split Sqrt Squeeze Tanh Transpose Trilu Unsqueeze"
)
_BROADCAST = "Add And Clip Div Equal Greater GreaterOrEqual Less LessOrEqual Max Min Mod Mul Or Pow Sub Where Xor"

_SIZES: dict[str, Callable[[Constants, Node], int]] = {
    **dict.fromkeys(_SAME_SIZE.split(), _all),
    **dict.fromkeys(_BROADCAST.split(), _broadcast),
    "ConstantOfShape": _announced,
    "Expand": _expanded,
    "Gather": _gathered,
    "MatMul": _multiplied,
    "Pad": _padded,
    "Range": _counted,
    "Tile": _tiled,
}
"""The operators that are computed beforehand where all that they take is constant, and at most how many values each
gives: known before anything is computed, so that a small file cannot ask for much memory."""


class Folding:
    """Computes constants, so many as a model with that many weights can need."""

    def __init__(self, weights: int) -> None:
        self._most = self._left = MOST_FOLDED + MOST_TIMES * weights

    def fold(self, node: Node) -> list[Array]:
        """The results of a node that takes only constants.

        Raises:
            InvalidBundle: it cannot be computed, or gives too much.
        """
        size = _SIZES.get(node.kind)
        if size is None:
            node.refuse("takes only constants and cannot be computed beforehand")
        constants = [node.optional_constant(position) for position in range(len(node.inputs))]
        try:
            # As Python's whole numbers, which do not overflow.
            self._left -= size(constants, node)
        except (ValueError, TypeError, ZeroDivisionError, OverflowError, IndexError):
            node.refuse("takes constants of shapes or values that do not fit")
        if self._left < 0:
            node.refuse(f"brings the computed constants above {self._most:,} values")
        return [as_float32(np.asarray(result)) for result in _evaluate(node, constants)]


def _evaluate(node: Node, constants: Constants) -> list[Array]:
    given = {f"input{position}": array for position, array in enumerate(constants) if array is not None}
    names = [f"input{position}" if array is not None else "" for position, array in enumerate(constants)]
    outputs = [f"output{position}" for position in range(len(node.outputs))]
    proto = helper.make_node(node.kind, names, outputs)
    for name, value in node.attributes.items():
        attribute = numpy_helper.from_array(value) if isinstance(value, np.ndarray) else value
        proto.attribute.append(helper.make_attribute(name, attribute))
    graph = helper.make_graph(
        [proto],
        "constant",
        [
            helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(array.dtype), array.shape)
            for name, array in given.items()
        ],
        [helper.make_empty_tensor_value_info(name) for name in outputs],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", node.opset)])
    try:
        results = reference.ReferenceEvaluator(model).run(None, given)
    except Exception as error:
        # The evaluator raises errors of many kinds for a node that does not fit the standard.
        node.refuse(f"cannot be computed ({str(error).strip().partition(chr(10))[0][:100] or type(error).__name__})")
    return [np.asarray(result) for result in results]
