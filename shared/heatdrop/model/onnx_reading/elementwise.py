"""Operators that compute each value by itself, or from those that stand at the same place in other tensors."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from keras import layers, ops

from heatdrop.model.onnx_reading.files import Array
from heatdrop.model.onnx_reading.nodes import Node
from heatdrop.model.onnx_reading.values import Value
from heatdrop.model.onnx_reading.windows import affine

Read = Callable[[Node], Value]


def unary(function: Callable[[Any], Any], *, nonnegative: bool = False, keeps_sign: bool = False) -> Read:
    """An operator of one input.

    Args:
        function: of a Keras tensor.
        nonnegative: whether no result is below 0.
        keeps_sign: whether no result is below 0 where no input is.
    """

    def read(node: Node) -> Value:
        value = node.value()
        return replace(
            value, tensor=function(value.tensor), nonnegative=nonnegative or (keeps_sign and value.nonnegative)
        )

    return read


def activation(name: str, *, nonnegative: bool = False, keeps_sign: bool = False) -> Read:
    """An activation function of Keras, by its name."""
    return unary(lambda x: layers.Activation(name)(x), nonnegative=nonnegative, keeps_sign=keeps_sign)


def with_alpha(layer: Callable[[float], Any], default: float, *, keeps_sign: bool = True) -> Read:
    """An operator of one input and a parameter ``alpha``."""

    def read(node: Node) -> Value:
        alpha = float(node.get("alpha", default))
        return unary(lambda x: layer(alpha)(x), keeps_sign=keeps_sign)(node)

    return read


def gelu(node: Node) -> Value:
    """Gelu, exact or by tanh."""
    approximate = node.get("approximate", "none") == "tanh"
    return unary(lambda x: ops.gelu(x, approximate=approximate))(node)


def hard_sigmoid(node: Node) -> Value:
    """HardSigmoid: ``alpha * x + beta``, kept within 0..1."""
    alpha, beta = float(node.get("alpha", 0.2)), float(node.get("beta", 0.5))
    if abs(alpha - 1 / 6) < 1e-6 and beta == 0.5:
        return activation("hard_sigmoid", nonnegative=True)(node)
    return unary(lambda x: ops.clip(x * alpha + beta, 0, 1), nonnegative=True)(node)


def clip(node: Node) -> Value:
    """Clip; from 0 on it is a ReLU."""
    least, most = (node.optional_constant(position) for position in (1, 2))
    low = None if least is None else float(least.reshape(-1)[0])
    high = None if most is None else float(most.reshape(-1)[0])
    high = None if high is not None and high >= np.finfo(np.float32).max else high
    if low == 0 and (high is None or high > 0):
        return unary(lambda x: layers.ReLU(high)(x), nonnegative=True)(node)
    bottom, top = (-np.inf if low is None else low), (np.inf if high is None else high)
    if np.isinf(bottom):
        return unary(lambda x: ops.minimum(x, top))(node)
    return unary(lambda x: ops.clip(x, bottom, top), nonnegative=bottom >= 0)(node)


def parametric_relu(node: Node) -> Value:
    """PRelu with a constant slope."""
    value, slope = node.value(), node.constant(1)
    positive = replace(value, tensor=layers.ReLU()(value.tensor), nonnegative=True)
    negative = replace(value, tensor=ops.minimum(value.tensor, 0.0), nonnegative=False)
    return combine(node, "Add", positive, with_constant(node, "Mul", negative, slope))


def softmax(node: Node) -> Value:
    """Softmax along one axis; before opset 13 along all from one on, which had to be the last."""
    return _along_axis(node, lambda axis: layers.Softmax(axis), nonnegative=True)


def log_softmax(node: Node) -> Value:
    """LogSoftmax along one axis."""
    return _along_axis(node, lambda axis: lambda x: ops.log_softmax(x, axis=axis), nonnegative=False)


def _along_axis(node: Node, function: Callable[[int], Callable[[Any], Any]], *, nonnegative: bool) -> Value:
    value = node.value()
    axis = node.axis(-1 if node.opset >= 13 else 1, value.rank)
    if node.opset < 13:
        longer = [after for after in range(axis, value.rank) if value.shape[after] != 1]
        if len(longer) > 1:
            node.refuse("takes its softmax over several axes")
        axis = longer[0] if longer else axis
    stored = value if axis in value.axes else value.with_last(axis)
    position = stored.axes.index(axis)
    last = position == len(stored.axes) - 1
    computed = function(-1 if last else position + 1)(stored.tensor)
    return replace(stored, tensor=computed, nonnegative=nonnegative)


@dataclass(frozen=True)
class _Binary:
    compute: Callable[[Any, Any], Any]
    layer: Callable[[], Any] | None = None
    """A layer that does the same; the fast gradients know it."""
    keeps_sign: bool = False
    affine: Callable[[Array], tuple[Array, Array]] | None = None
    """Scale and shift that a constant on the right stands for."""


_BINARY: dict[str, _Binary] = {
    "Add": _Binary(ops.add, layers.Add, True, lambda c: (np.ones_like(c), c)),
    "Sub": _Binary(ops.subtract, layers.Subtract, False, lambda c: (np.ones_like(c), -c)),
    "Mul": _Binary(ops.multiply, layers.Multiply, True, lambda c: (c, np.zeros_like(c))),
    "Div": _Binary(ops.divide, None, True, lambda c: (1 / c, np.zeros_like(c))),
    "Pow": _Binary(ops.power),
    "Max": _Binary(ops.maximum, layers.Maximum, True),
    "Min": _Binary(ops.minimum, layers.Minimum, True),
}
_COMMUTE = {"Add", "Mul", "Max", "Min"}


def binary(node: Node) -> Value:
    """An operator of two inputs, one of which may be constant."""
    return _combined(node, node.input(0), node.input(1))


def variadic(kind: str) -> Read:
    """An operator of any number of inputs, that is one of two inputs again and again."""

    def read(node: Node) -> Value:
        result, *others = node.inputs
        for other in others:
            result = _combined(replace(node, kind=kind), result, other)
        if not isinstance(result, Value):
            node.refuse("takes no input that is computed from the image")
        return result

    return read


def mean(node: Node) -> Value:
    """Mean of several tensors."""
    return with_constant(node, "Mul", variadic("Add")(node), np.array(1 / len(node.inputs), np.float32))


def _combined(node: Node, left: Any, right: Any) -> Value:
    if isinstance(left, Value) and isinstance(right, Value):
        return combine(node, node.kind, left, right)
    if isinstance(left, Value):
        return with_constant(node, node.kind, left, np.asarray(right))
    if isinstance(right, Value):
        return with_constant(node, node.kind, right, np.asarray(left), constant_first=True)
    return node.refuse("takes no input that is computed from the image")


def combine(node: Node, kind: str, left: Value, right: Value) -> Value:
    """Two tensors, broadcast as ONNX does it, by the operator ``kind`` of two inputs."""
    how = _BINARY[kind]
    rank = max(left.rank, right.rank)
    left, right = left.of_rank(rank), right.of_rank(rank)
    _check_broadcast(node, left.shape, right.shape)
    larger, smaller = (left, right) if len(left.axes) >= len(right.axes) else (right, left)
    axes = (*larger.axes, *(axis for axis in smaller.axes if axis not in larger.axes))
    tensors = [left.arranged(axes), right.arranged(axes)]
    computed = how.layer()(tensors) if how.layer else how.compute(*tensors)
    nonnegative = (how.keeps_sign and left.nonnegative and right.nonnegative) or (
        kind == "Max" and (left.nonnegative or right.nonnegative)
    )
    return Value(computed, axes, rank, nonnegative)


def with_constant(node: Node, kind: str, value: Value, constant: Array, *, constant_first: bool = False) -> Value:
    """A tensor and a constant, by the operator ``kind`` of two inputs.

    What only differs from channel to channel becomes a normalisation, which the fast gradients fold into weights.
    """
    how, number = _BINARY[kind], np.asarray(constant, np.float32)
    rank = max(value.rank, number.ndim)
    value, number = value.of_rank(rank), number.reshape((1,) * (rank - number.ndim) + number.shape)
    _check_broadcast(node, value.shape, number.shape)
    axes = (*value.axes, *(axis for axis in range(rank) if number.shape[axis] != 1 and axis not in value.axes))
    tensor = value.arranged(axes)
    spare = [axis for axis in range(rank) if axis not in axes]
    placed = number.transpose([*axes, *spare]).reshape([number.shape[axis] for axis in axes])
    nonnegative = how.keeps_sign and value.nonnegative and bool((number >= 0).all())
    if how.affine and (not constant_first or kind in _COMMUTE) and len(axes) > 0:
        sizes = placed.shape[:-1]
        if number.size > 1 and set(sizes) <= {1} and placed.shape[-1] == tensor.shape[-1]:
            computed = affine(tensor, *how.affine(placed.reshape(-1)))
            return Value(computed, axes, rank, nonnegative)
    other: Any = float(number.reshape(-1)[0]) if number.size == 1 else placed[None]
    computed = how.compute(other, tensor) if constant_first else how.compute(tensor, other)
    return Value(computed, axes, rank, nonnegative)


_COMPARISONS: dict[str, Callable[[Any, Any], Any]] = {
    "Equal": ops.equal,
    "Greater": ops.greater,
    "GreaterOrEqual": ops.greater_equal,
    "Less": ops.less,
    "LessOrEqual": ops.less_equal,
}


def compare(node: Node) -> Value:
    """A comparison: 1 where it holds, else 0."""
    left, right = node.input(0), node.input(1)
    if isinstance(left, Value) and isinstance(right, Value):
        difference = combine(node, "Sub", left, right)
    else:
        difference = _combined(replace(node, kind="Sub"), left, right)
    holds = ops.cast(_COMPARISONS[node.kind](difference.tensor, 0.0), "float32")
    return replace(difference, tensor=holds, nonnegative=True, condition=True)


def logical_and(node: Node) -> Value:
    """And of conditions, each 1 or 0."""
    inputs = tuple(given if isinstance(given, Value) else np.asarray(given, np.float32) for given in node.inputs)
    return replace(binary(replace(node, kind="Mul", inputs=inputs)), nonnegative=True, condition=True)


def logical_not(node: Node) -> Value:
    """Not of a condition, 1 or 0."""
    negated = with_constant(node, "Sub", node.value(), np.array(1, np.float32), constant_first=True)
    return replace(negated, nonnegative=True, condition=True)


def choose(node: Node) -> Value:
    """Where, by a constant condition or one that depends on the image."""
    if isinstance(node.input(0), Value):
        return _choose_by_value(node)
    condition = node.constant(0).astype(bool)
    result = node.input(1) if condition.all() else node.input(2)
    if condition.all() or not condition.any():
        if not isinstance(result, Value) or result.shape != np.broadcast_shapes(result.shape, condition.shape):
            node.refuse("chooses a constant")
        return result
    # As a sum of both, each where it is wanted.
    parts = [
        with_constant(node, "Mul", part, wanted) if isinstance(part, Value) else np.where(wanted, np.asarray(part), 0)
        for part, wanted in ((node.input(1), condition), (node.input(2), ~condition))
    ]
    if any(isinstance(part, np.ndarray) and not np.isfinite(part).all() for part in parts):
        node.refuse("masks with infinity")
    return _combined(replace(node, kind="Add"), *parts)


def _choose_by_value(node: Node) -> Value:
    condition = node.value()
    operands = [given if isinstance(given, Value) else np.asarray(given, np.float32) for given in node.inputs[1:3]]
    rank = max(condition.rank, *(each.rank if isinstance(each, Value) else each.ndim for each in operands))
    shapes = [condition.of_rank(rank).shape, *(tuple(each.shape) for each in operands)]
    shape = np.broadcast_shapes(*shapes)
    axes = tuple(axis for axis in range(rank) if shape[axis] != 1)
    tensors = []
    for each in (condition, *operands):
        if isinstance(each, Value):
            tensors.append(each.of_rank(rank).arranged(axes))
        else:
            whole = each.reshape((1,) * (rank - each.ndim) + each.shape)
            tensors.append(whole.reshape([1, *(whole.shape[axis] for axis in axes)]))
    return Value(ops.where(ops.greater(tensors[0], 0.5), *tensors[1:]), axes, rank)


def _check_broadcast(node: Node, left: tuple[int, ...], right: tuple[int, ...]) -> None:
    try:
        np.broadcast_shapes(left, right)
    except ValueError:
        node.refuse(f"takes tensors of {left} and {right}, which do not fit")
