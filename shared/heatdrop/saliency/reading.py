"""Reads a Keras image classifier as a network of operations, nested models laid flat."""

import inspect
from collections.abc import Iterator
from typing import Any

import keras

from heatdrop.errors import InvalidRequest
from heatdrop.saliency import layers
from heatdrop.saliency.network import Network, Node, Value, live_nodes
from heatdrop.saliency.operations import Item, Operation, Reference


def read_network(model: keras.Model) -> Network:
    """Read a functional or sequential Keras model, with the weights that it has now.

    Raises:
        InvalidRequest: it is a subclassed model, has more than one input or output, or takes a softmax over its
            batch.
    """
    if not (is_graph(model) and len(model.inputs) == 1 and len(model.outputs) == 1):
        raise InvalidRequest("model must be a functional or sequential Keras model with one input and one output")
    reader = _Reader()
    (result,) = reader.run(model, [reader.emit(None)])
    return Network(live_nodes(reader.nodes, result))


class _Reader:
    def __init__(self) -> None:
        self.nodes: list[Node] = []
        self._path: list[str] = []

    def emit(self, operation: Operation | None, *inputs: Value, layer: str = "") -> Value:
        self.nodes.append(Node(operation, inputs, layer))
        return Value(len(self.nodes) - 1)

    def run(self, model: keras.Model, inputs: list[Value]) -> list[Value]:
        """Go through a model's calls of layers in Keras's order, with values in place of its tensors."""
        graph = graph_of(model)
        values = {id(tensor): value for tensor, value in zip(graph.inputs, inputs, strict=True)}
        for call in calls_of(graph):
            args, kwargs = call.arguments.fill_in(values)
            taken = [leaf for leaf in keras.tree.flatten((args, kwargs)) if isinstance(leaf, Value)]
            self._path.append(call.operation.name)
            results = self._read_call(call, taken, (args, kwargs))
            self._path.pop()
            values.update({id(tensor): value for tensor, value in zip(call.outputs, results, strict=True)})
        return [values[id(tensor)] for tensor in graph.outputs]

    def _read_call(self, call: Any, inputs: list[Value], arguments: Any) -> list[Value]:
        layer, name = call.operation, "/".join(self._path)
        if is_graph(layer) and _fits(layer, call):
            return self.run(layer, inputs)
        # The same tensor twice, or one in a nest of arguments, is left to the layer itself.
        takes_these = len(inputs) == len(call.input_tensors) == len(set(inputs))
        operations = layers.operations_of(layer, call) if takes_these else None
        if operations is None:
            kind = layers.kind_of(layer, call)
            layer, activation = layers.split_activation(layer, call)
            several = len(call.outputs) > 1
            first = self.emit(kind(*_opaque_call(layer, inputs, arguments), several), *inputs, layer=name)
            if several:
                return [self.emit(Item(position), first, layer=name) for position in range(len(call.outputs))]
            inputs, operations = [first], activation
        for operation in operations:
            inputs = [self.emit(operation, *inputs, layer=name)]
        return inputs


def is_graph(layer: Any) -> bool:
    """Whether this is a model whose layers and their connections are known: functional, or sequential and built."""
    if isinstance(layer, keras.Sequential):
        return layer.built and layer._functional is not None
    return isinstance(layer, keras.Model) and hasattr(layer, "_run_through_graph")


def graph_of(model: keras.Model) -> Any:
    """The functional model that a sequential one is made of; any other one itself."""
    return model._functional if isinstance(model, keras.Sequential) else model


def calls_of(graph: Any) -> Iterator[Any]:
    """The calls of layers (Keras's nodes) of a functional model, in an order in which they can be computed."""
    for depth in sorted(graph._nodes_by_depth, reverse=True):
        for call in graph._nodes_by_depth[depth]:
            if not call.is_input:
                yield call


def _fits(model: keras.Model, call: Any) -> bool:
    """Whether a nested model is given what it was built for, so that its layers can be read in place of it."""
    ranks = [len(tensor.shape) for tensor in call.input_tensors]
    return ranks == [len(tensor.shape) for tensor in model.inputs] and len(call.outputs) == len(model.outputs)


def _opaque_call(layer: Any, inputs: list[Value], arguments: Any) -> tuple[Any, Any]:
    places = {value: Reference(position) for position, value in enumerate(inputs)}
    args, kwargs = keras.tree.map_structure(lambda leaf: places[leaf] if isinstance(leaf, Value) else leaf, arguments)
    if isinstance(layer, keras.Layer) and "training" in inspect.signature(layer.call).parameters:
        kwargs = {**kwargs, "training": False}
    return layer, (args, kwargs)
