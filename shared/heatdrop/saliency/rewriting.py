"""Rewrites a network so that it computes the same function with less work.

- A batch normalisation behind a convolution becomes part of its kernel and bias.
- One before a ReLU, as in a DenseNet, becomes an addition: relu(a x + b) = |a| relu(sign(a) x + b / |a|), and |a| goes
  into the kernel of the next convolution.
- A 1x1 convolution and the average pooling behind it change places: pooling first leaves it a quarter of the pixels.

Constants are combined in float64 and rounded to float32 once.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from heatdrop.saliency.grouped_convolution import GroupedConvolution
from heatdrop.saliency.network import Network, Node, Value, live_nodes
from heatdrop.saliency.operations import Affine, Array, AveragePool, Convolution, Dense, GlobalAverage, Operation, Relu


def simplify(network: Network, keep: str | None = None) -> Network:
    """A network of the same values and gradients that costs less to compute and to differentiate.

    Args:
        network: as it was read from a model.
        keep: the path of a layer whose result stays a node of the network, which keeps that path.
    """
    kept = max((index for index, node in enumerate(network.nodes) if keep and node.layer == keep), default=None)
    rewriter = _Rewriter()
    renamed: list[Value] = []
    uses = _count_uses(network)
    for index, node in enumerate(network.nodes):
        inputs = tuple(renamed[value.index] for value in node.inputs)
        result = rewriter.input() if node.operation is None else rewriter.emit(node.operation, inputs, node.layer)
        if uses[index] > 1 or index == kept:
            rewriter.shared.add(result)
        if index == kept:
            rewriter.name(result, node.layer)
        renamed.append(result)
    return Network(live_nodes(rewriter.nodes, renamed[-1]))


@dataclass(frozen=True)
class _Producer:
    """The node that an operation takes its only input from."""

    operation: Operation | None
    inputs: tuple[Value, ...]
    shared: bool


class _Rewriter:
    """Takes the operations in their order and combines each with the one before it, where a rewrite applies.

    An operation that was replaced stays among ``nodes``; it is dropped at the end if nothing needs it any more. An
    operation must not become part of the one before it when something else needs the result of that one.
    """

    def __init__(self) -> None:
        self.nodes: list[Node] = []
        self.shared: set[Value] = set()

    def input(self) -> Value:
        return self._append(Node(None))

    def emit(self, operation: Operation, inputs: tuple[Value, ...], layer: str = "") -> Value:
        if len(inputs) == 1:
            before = self.nodes[inputs[0].index]
            producer = _Producer(before.operation, before.inputs, inputs[0] in self.shared)
            for rewritten in (_into_convolution, _out_of_relu, _past_pooling, _into_weights, _pool_first):
                operations = rewritten(operation, producer)
                if operations is not None:
                    value = producer.inputs
                    for step in operations:
                        value = (self.emit(step, value),)
                    return value[0]
        return self._append(Node(operation, inputs, layer))

    def name(self, value: Value, layer: str) -> None:
        self.nodes[value.index] = replace(self.nodes[value.index], layer=layer)

    def _append(self, node: Node) -> Value:
        self.nodes.append(node)
        return Value(len(self.nodes) - 1)


def _into_convolution(operation: Operation, producer: _Producer) -> list[Operation] | None:
    """An affine or a ReLU behind a convolution becomes part of it."""
    convolution = producer.operation
    if not isinstance(convolution, Convolution | GroupedConvolution) or convolution.relu or producer.shared:
        return None
    if isinstance(operation, Relu):
        return [replace(convolution, relu=True)]
    if isinstance(operation, Affine):
        scale = _scale(operation)
        bias = operation.shift if convolution.bias is None else convolution.bias * scale + operation.shift
        return [replace(convolution, kernel=convolution.kernel * scale, bias=bias)]
    return None


def _out_of_relu(operation: Operation, producer: _Producer) -> list[Operation] | None:
    """The scale of an affine before a ReLU moves behind it: relu(a x + b) = |a| relu(sign(a) x + b / |a|)."""
    affine = producer.operation
    if not isinstance(operation, Relu) or not isinstance(affine, Affine) or affine.scale is None:
        return None
    size = np.abs(affine.scale)
    if np.isin(size, (0, 1)).all():
        return None
    flat = size < np.finfo(np.float32).tiny
    size = np.where(flat, 1.0, size)
    sign = np.where(flat, 0.0, np.sign(affine.scale))
    inner = Affine(None if (sign == 1).all() else sign, affine.shift / size)
    return [inner, operation, Affine(size, np.zeros_like(size))]


def _past_pooling(operation: Operation, producer: _Producer) -> list[Operation] | None:
    """An affine and the average behind it change places, so that the affine has fewer pixels."""
    if isinstance(operation, AveragePool | GlobalAverage) and isinstance(producer.operation, Affine):
        return [operation, producer.operation]
    return None


def _into_weights(operation: Operation, producer: _Producer) -> list[Operation] | None:
    """An affine before a convolution or a dense layer becomes part of its weights.

    Not if it shifts what a convolution pads with zeros: the zeros are not shifted.
    """
    affine = producer.operation
    if not isinstance(affine, Affine) or not isinstance(operation, Convolution | Dense):
        return None
    if isinstance(operation, Convolution) and operation.pads and affine.shift.any():
        return None
    kernel: Any = operation.kernel
    bias = np.tensordot(affine.shift, kernel, (0, -2)).reshape(-1, kernel.shape[-1]).sum(axis=0)
    bias = bias if operation.bias is None else operation.bias + bias
    return [replace(operation, kernel=kernel * _scale(affine)[:, None], bias=bias if bias.any() else None)]


def _pool_first(operation: Operation, producer: _Producer) -> list[Operation] | None:
    """A 1x1 convolution and the average pooling behind it change places."""
    convolution = producer.operation
    if not isinstance(operation, AveragePool) or not isinstance(convolution, Convolution):
        return None
    pointwise = convolution.kernel.shape[:2] == (1, 1) and convolution.stride == 1
    if producer.shared or convolution.relu or not pointwise:
        return None
    return [operation, convolution]


def _scale(affine: Affine) -> Array:
    return np.ones_like(affine.shift) if affine.scale is None else affine.scale


def _count_uses(network: Network) -> list[int]:
    uses = [0] * len(network.nodes)
    for node in network.nodes:
        for value in node.inputs:
            uses[value.index] += 1
    uses[-1] += 1
    return uses
