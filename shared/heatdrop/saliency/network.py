"""A Keras image classifier as a list of operations, nested models laid flat."""

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from heatdrop.errors import InvalidRequest
from heatdrop.saliency.operations import (
    Activation,
    Affine,
    AveragePool,
    Concatenate,
    Convolution,
    Dense,
    Function,
    GlobalAverage,
    MaxPool,
    Opaque,
    Operation,
    Reference,
    Relu,
    Squash,
)

_IDENTITIES = (
    keras.layers.ActivityRegularization,
    keras.layers.Dropout,
    keras.layers.GaussianDropout,
    keras.layers.GaussianNoise,
    keras.layers.Identity,
)


@dataclass(frozen=True)
class Value:
    """The result of a node, by the node's position in its network."""

    index: int


@dataclass(frozen=True)
class Node:
    """An operation and the values it takes; the first node of a network, its input, has no operation."""

    operation: Operation | None
    inputs: tuple[Value, ...] = ()


@dataclass(frozen=True)
class Network:
    """Nodes in an order in which they can be computed; the last one is the result."""

    nodes: tuple[Node, ...]

    def build(self, dtype: Any = tf.float32) -> Function:
        """The network as a differentiable function, (B, H, W, C) float32 to (B, classes) float32."""
        functions = [None if node.operation is None else node.operation.build(dtype) for node in self.nodes]
        sources = [[value.index for value in node.inputs] for node in self.nodes]

        def compute(x: Any) -> Any:
            values = [tf.cast(x, dtype)]
            for function, inputs in zip(functions[1:], sources[1:], strict=True):
                values.append(function(*(values[index] for index in inputs)))  # type: ignore[misc]
            return tf.cast(values[-1], tf.float32)

        return compute


def read_network(model: keras.Model) -> Network:
    """Read a functional or sequential Keras model, with the weights that it has now.

    Raises:
        InvalidRequest: it is a subclassed model, or has more than one input or output.
    """
    if not (_is_graph(model) and len(model.inputs) == 1 and len(model.outputs) == 1):
        raise InvalidRequest("model must be a functional or sequential Keras model with one input and one output")
    reader = _Reader()
    return Network(live_nodes(reader.nodes, reader.run(model, reader.emit(None))))


def live_nodes(nodes: Sequence[Node], result: Value) -> tuple[Node, ...]:
    """The input and the nodes that ``result`` depends on, numbered anew; ``result`` comes last."""
    live = {0, result.index}
    for index in range(result.index, 0, -1):
        if index in live:
            live.update(value.index for value in nodes[index].inputs)
    number = {index: Value(position) for position, index in enumerate(sorted(live))}
    return tuple(replace(nodes[i], inputs=tuple(number[v.index] for v in nodes[i].inputs)) for i in sorted(live))


class _Reader:
    def __init__(self) -> None:
        self.nodes: list[Node] = []

    def emit(self, operation: Operation | None, *inputs: Value) -> Value:
        self.nodes.append(Node(operation, inputs))
        return Value(len(self.nodes) - 1)

    def run(self, model: keras.Model, value: Value) -> Value:
        """Go through a model's layers with a value in place of a tensor, as Keras itself does it with tensors."""
        graph = model._functional if isinstance(model, keras.Sequential) else model
        result = graph._run_through_graph([value], operation_fn=self._reading)
        found: Value = keras.tree.flatten(result)[0]
        return found

    def _reading(self, layer: Any) -> Callable[..., Any]:
        def read(*args: Any, **kwargs: Any) -> Any:
            inputs = [leaf for leaf in keras.tree.flatten((args, kwargs)) if isinstance(leaf, Value)]
            if _is_graph(layer) and len(inputs) == len(layer.inputs) == len(layer.outputs) == 1:
                return self.run(layer, inputs[0])
            known = _OPERATIONS.get(type(layer))
            operations = known(layer) if known and getattr(layer, "compute_dtype", None) == "float32" else None
            if isinstance(layer, _IDENTITIES):
                operations = []
            if operations is None:
                return self._opaque(layer, inputs, (args, kwargs))
            value = self.emit(operations[0], *inputs) if operations else inputs[0]
            for operation in operations[1:]:
                value = self.emit(operation, value)
            return value

        return read

    def _opaque(self, layer: Any, inputs: list[Value], arguments: Any) -> Any:
        places = {value: Reference(position) for position, value in enumerate(inputs)}
        args, kwargs = keras.tree.map_structure(
            lambda leaf: places[leaf] if isinstance(leaf, Value) else leaf, arguments
        )
        if isinstance(layer, keras.Layer) and "training" in inspect.signature(layer.call).parameters:
            kwargs = {**kwargs, "training": False}
        return self.emit(Opaque(layer, (args, kwargs)), *inputs)


def _is_graph(layer: Any) -> bool:
    if isinstance(layer, keras.Sequential):
        return layer.built and layer._functional is not None
    return isinstance(layer, keras.Model) and hasattr(layer, "_run_through_graph")


def _batch_normalisation(layer: Any) -> list[Operation] | None:
    if layer.axis not in (-1, layer.input_spec.ndim - 1):
        return None
    scale = 1 / np.sqrt(_float64(layer.moving_variance) + layer.epsilon)
    if layer.scale:
        scale = scale * _float64(layer.gamma)
    shift = -_float64(layer.moving_mean) * scale
    return [Affine(scale, shift + _float64(layer.beta) if layer.center else shift)]


def _convolution(layer: Any) -> list[Operation] | None:
    plain = layer.data_format == "channels_last" and layer.groups == 1 and set(layer.dilation_rate) == {1}
    if not plain or len(set(layer.strides)) > 1:
        return None
    bias = _float64(layer.bias) if layer.use_bias else None
    convolution = Convolution(np.asarray(layer.kernel), bias, layer.strides[0], layer.padding.upper())
    return [convolution, *_activation(layer.activation)]


def _dense(layer: Any) -> list[Operation]:
    bias = _float64(layer.bias) if layer.use_bias else None
    return [Dense(np.asarray(layer.kernel), bias), *_activation(layer.activation)]


def _relu(layer: Any) -> list[Operation] | None:
    plain = layer.max_value is None and not layer.negative_slope and not layer.threshold
    return [Relu()] if plain else None


def _activation(function: Any) -> list[Operation]:
    known: dict[Any, list[Operation]] = {
        None: [],
        keras.activations.linear: [],
        keras.activations.relu: [Relu()],
        keras.activations.softmax: [Squash("softmax")],
        keras.activations.sigmoid: [Squash("sigmoid")],
    }
    return known[function] if function in known else [Activation(function, ((Reference(0),), {}))]


def _softmax(layer: Any) -> list[Operation] | None:
    return [Squash("softmax")] if layer.axis == -1 else None


def _pool(kind: type[AveragePool] | type[MaxPool]) -> Callable[[Any], list[Operation] | None]:
    def read(layer: Any) -> list[Operation] | None:
        if layer.data_format != "channels_last":
            return None
        return [kind(tuple(layer.pool_size), tuple(layer.strides), layer.padding.upper())]

    return read


def _global_average(layer: Any) -> list[Operation] | None:
    return [GlobalAverage()] if layer.data_format == "channels_last" and not layer.keepdims else None


def _concatenate(layer: Any) -> list[Operation] | None:
    return [Concatenate()] if layer.axis in (-1, 3) else None


def _float64(variable: Any) -> Any:
    return np.asarray(variable, np.float64)


_OPERATIONS: dict[type, Callable[[Any], list[Operation] | None]] = {
    keras.layers.Activation: lambda layer: _activation(layer.activation),
    keras.layers.AveragePooling2D: _pool(AveragePool),
    keras.layers.BatchNormalization: _batch_normalisation,
    keras.layers.Concatenate: _concatenate,
    keras.layers.Conv2D: _convolution,
    keras.layers.Dense: _dense,
    keras.layers.GlobalAveragePooling2D: _global_average,
    keras.layers.MaxPooling2D: _pool(MaxPool),
    keras.layers.ReLU: _relu,
    keras.layers.Softmax: _softmax,
}
