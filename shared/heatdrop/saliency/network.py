"""A network as a list of operations, each of which takes the results of some before it."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import reduce
from typing import Any

import tensorflow as tf

from heatdrop.saliency.operations import Function, Item, Opaque, Operation


@dataclass(frozen=True)
class Value:
    """The result of a node, by the node's position in its network."""

    index: int


@dataclass(frozen=True)
class Node:
    """An operation and the values it takes; the first node of a network, its input, has no operation."""

    operation: Operation | None
    inputs: tuple[Value, ...] = ()
    layer: str = ""
    """The path of the Keras layer that it was read from, such as ``base/conv1``; empty once it was rewritten."""


@dataclass(frozen=True)
class Network:
    """Nodes in an order in which they can be computed; the last one is the result."""

    nodes: tuple[Node, ...]

    def build(self, dtype: Any = tf.float32) -> Function:
        """The network as a differentiable function, (B, H, W, C) float32 to (B, classes) float32."""
        compute = self.build_values(dtype)
        return lambda x: tf.cast(compute(tf.cast(x, dtype))[-1], tf.float32)

    def build_values(self, dtype: Any = tf.float32, *, plain: bool = False) -> Function:
        """The network as a function from its input to the values of all its nodes, in their order.

        Args:
            dtype: the TensorFlow type that is computed in.
            plain: leave the gradients to TensorFlow, see ``Operation.build_plain``.

        Returns:
            A function of the input; or of the values of the first nodes, as a list, which computes the others.
        """
        functions = [None if node.operation is None else _built(node.operation, dtype, plain) for node in self.nodes]
        sources = [[value.index for value in node.inputs] for node in self.nodes]
        uses = Counter(index for inputs in sources for index in inputs)

        def compute(given: Any) -> list[Any]:
            values = list(given) if isinstance(given, list) else [given]
            copies: dict[int, list[Any]] = {}

            def take(index: int) -> Any:
                if not plain or uses[index] == 1 or not tf.is_tensor(values[index]):
                    return values[index]
                if index not in copies:
                    copies[index] = list(_copies(values[index], uses[index]))
                return copies[index].pop()

            for function, inputs in zip(functions[len(values) :], sources[len(values) :], strict=True):
                values.append(function(*map(take, inputs)))  # type: ignore[misc]
            return values

        return compute


def _built(operation: Operation, dtype: Any, plain: bool) -> Function:
    """The operation as a function. Whole numbers become floats before all but Keras's own, as Keras does it."""
    function = operation.build_plain(dtype) if plain else operation.build(dtype)
    if isinstance(operation, Opaque | Item):
        return function
    return lambda *tensors: function(*(tf.cast(tensor, dtype) for tensor in tensors))


def _copies(value: Any, count: int) -> tuple[Any, ...]:
    """One for each use of a value: their gradients are then added two at a time, since LiteRT adds several slowly."""

    def copy(x: Any) -> Any:
        return tuple(tf.identity(x) for _ in range(count)), lambda *upstream: reduce(tf.add, upstream)

    copied: tuple[Any, ...] = tf.custom_gradient(copy)(value)
    return copied


def live_nodes(nodes: Sequence[Node], result: Value) -> tuple[Node, ...]:
    """The input and the nodes that ``result`` depends on, numbered anew; ``result`` comes last."""
    live = {0, result.index}
    for index in range(result.index, 0, -1):
        if index in live:
            live.update(value.index for value in nodes[index].inputs)
    number = {index: Value(position) for position, index in enumerate(sorted(live))}
    return tuple(replace(nodes[i], inputs=tuple(number[v.index] for v in nodes[i].inputs)) for i in sorted(live))
