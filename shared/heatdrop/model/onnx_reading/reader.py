"""Reads the graph of an ONNX classifier into a Keras functional model, channels last."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
from onnx import GraphProto, NodeProto, TensorProto, ValueInfoProto

from heatdrop.errors import InvalidBundle
from heatdrop.model.onnx_reading import masking
from heatdrop.model.onnx_reading.files import Array, Weights, as_float32, is_default, open_onnx, opset_of
from heatdrop.model.onnx_reading.folding import Folding
from heatdrop.model.onnx_reading.gelu import with_gelus
from heatdrop.model.onnx_reading.nodes import Node, Operand, attributes_of, name_of
from heatdrop.model.onnx_reading.table import OPERATORS
from heatdrop.model.onnx_reading.values import Value
from heatdrop.text import first_line, printable

MOST_VALUES = 2**28
"""Values of any result for one image: 1 GB."""

_FLOATS = {TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16, TensorProto.DOUBLE, TensorProto.UINT8}
_CHANNELS = (1, 3)
_CONSTANTS = {
    "value": None,
    "value_float": np.float32,
    "value_floats": np.float32,
    "value_int": np.int64,
    "value_ints": np.int64,
}
"""The attributes that a ``Constant`` may hold its numbers in, and their types."""


def read_onnx(path: Path, size: tuple[int, int] | None = None) -> keras.Model:
    """Read an ONNX classifier, with its weights, without running anything of it.

    The model takes (batch, height, width, channels) and gives (batch, classes), in float32, whatever precision and
    order of axes the file has. Each image is computed as the graph would compute it in a batch of its own.

    Args:
        path: the file; weights that it keeps in other files must lie in its folder.
        size: (height, width) of images, for a model that takes any.

    Raises:
        InvalidBundle: it is no such model, or has an operator that is not read; the message names operator and node.
    """
    model = open_onnx(path)
    weights = Weights(model, path)
    source = _the_input(model.graph, weights, path)
    if len(model.graph.output) != 1:
        raise InvalidBundle(
            f"{path} gives {len(model.graph.output)} results; export a classifier that gives one score for each class"
        )
    shape = _input_shape(source, size, path)
    reader = _Reader(weights, opset_of(model))
    try:
        result = reader.run(model.graph, source.name, shape)
    except RecursionError as error:
        raise InvalidBundle(f"{path} is nested too deeply to be read") from error
    try:
        return keras.Model(reader.images, _scores(result, path), name="onnx")
    except RecursionError as error:
        raise InvalidBundle(f"{path} has too many nodes in a row to be read") from error


def _the_input(graph: GraphProto, weights: Weights, path: Path) -> ValueInfoProto:
    inputs = [given for given in graph.input if given.name not in weights]
    if len(inputs) != 1:
        raise InvalidBundle(f"{path} takes {len(inputs)} inputs; a classifier takes one, the image")
    return inputs[0]


def _input_shape(source: ValueInfoProto, size: tuple[int, int] | None, path: Path) -> tuple[int, int, int, int]:
    """The shape of a batch of one image.

    Raises:
        InvalidBundle: it takes no images, or images of any size and ``size`` says none.
    """
    kind = source.type.tensor_type
    given = [dimension.dim_value or None for dimension in kind.shape.dim]
    if kind.elem_type not in _FLOATS or len(given) != 4:
        named = " x ".join("?" if side is None else str(side) for side in given) or "a single value"
        raise InvalidBundle(
            f"{path} takes {named} of {TensorProto.DataType.Name(kind.elem_type).lower()}; "
            "an image classifier takes (batch, channels, height, width) of floats"
        )
    if given[0] not in (None, 1):
        raise InvalidBundle(f"{path} takes {given[0]} images at once; export it with a batch of 1, or of any size")
    channel_axis = next((axis for axis in (1, 3) if given[axis] in _CHANNELS), None)
    if channel_axis is None:
        raise InvalidBundle(f"{path} takes images of {given[1] or 'any number of'} channels; one or three are needed")
    sides = [axis for axis in (1, 2, 3) if axis != channel_axis]
    if size is not None:
        if any(given[axis] not in (None, side) for axis, side in zip(sides, size, strict=True)):
            raise InvalidBundle(f"{path} takes {given[sides[0]]} x {given[sides[1]]} pixels only; leave out --size")
        for axis, side in zip(sides, size, strict=True):
            given[axis] = side
    if None in [given[axis] for axis in sides]:
        raise InvalidBundle(f"{path} takes images of any size; say which with --size HEIGHTxWIDTH")
    return 1, *(side or 0 for side in given[1:])  # type: ignore[return-value]


def _scores(result: Operand, path: Path) -> Any:
    """The tensor (batch, classes) of a result.

    Raises:
        InvalidBundle: it is not one score for each class.
    """
    if not isinstance(result, Value):
        raise InvalidBundle(f"what {path} gives does not depend on the image")
    classes = [axis for axis, size in enumerate(result.shape) if size != 1]
    if len(classes) > 1 or result.rank < 1 or result.shape[0] != 1:
        raise InvalidBundle(
            f"{path} gives {result.shape} for an image, as for segmentation or detection; "
            "a classifier gives one score for each class"
        )
    return result.arranged(classes or [result.rank - 1])


class _Reader:
    """Goes through the nodes in their order: computes what takes only constants, and makes all else of Keras layers."""

    def __init__(self, weights: Weights, opset: int) -> None:
        self.images: Any = None
        self._weights, self._opset = weights, opset
        self._known: dict[str, Operand] = {}
        self._folding = Folding(weights.count)

    def run(self, graph: GraphProto, source: str, shape: Sequence[int]) -> Operand:
        axes = (2, 3, 1) if shape[1] in _CHANNELS else (1, 2, 3)
        self.images = keras.Input([shape[axis] for axis in axes], name="image")
        self._known[source] = Value(self.images, axes, 4)
        result = graph.output[0].name
        nodes = _needed(graph.node, result)
        nodes = _needed(with_gelus(nodes, self._scalars(nodes)), result)
        taken = {name for node in nodes for name in node.input} | {result}
        for proto in nodes:
            self._read(proto, taken)
        return self._operand(result, "the graph's result")

    def _scalars(self, nodes: Sequence[NodeProto]) -> dict[str, Array]:
        """Constants of one value, by name: for finding a Gelu."""
        found = {}
        for proto in nodes:
            if proto.op_type == "Constant":
                array = _constant(attributes_of(proto, self._weights))
                if array is not None and array.size == 1:
                    found[proto.output[0]] = array.reshape(())
        for tensor in self._weights.single_values():
            found[tensor] = self._weights[tensor].reshape(())
        return found

    def _read(self, proto: NodeProto, taken: set[str]) -> None:
        name = name_of(proto)
        inputs = tuple(self._operand(each, name) if each else None for each in proto.input)
        outputs = tuple(each if each in taken else "" for each in proto.output)
        node = Node(proto.op_type, name, inputs, attributes_of(proto, self._weights), outputs, self._opset)
        if not is_default(proto.domain):
            node.refuse(f"is of the domain {printable(proto.domain)!r}")
        if any(output in self._known or output in self._weights for output in proto.output if output):
            node.refuse("gives a result that is there already")
        results = self._results(node)
        for output, result in zip(proto.output, results, strict=False):
            if isinstance(result, Value) and math.prod(result.shape) > MOST_VALUES:
                node.refuse(f"gives {result.shape} for one image, which takes more than {MOST_VALUES * 4 >> 30} GB")
            self._known[output] = result

    def _results(self, node: Node) -> Sequence[Any]:
        if node.kind == "Constant":
            array = _constant(node.attributes)
            if array is None:
                node.refuse("holds no numbers")
            return [array]
        if node.kind in ("Shape", "Size") and isinstance(node.input(0), Value):
            shape = np.array(node.value().shape, np.int64)
            return [shape[node.get("start", 0) : node.get("end")] if node.kind == "Shape" else np.asarray(shape.prod())]
        if masking.is_masked(node):
            return [masking.read(node)]
        if not any(isinstance(given, Value) for given in node.inputs):
            return self._folding.fold(node)
        read = OPERATORS.get(node.kind)
        if read is None:
            node.refuse("is none of those that are read")
        try:
            found = read(node)
        except (ValueError, TypeError, IndexError, AttributeError, OverflowError) as error:
            # Keras and NumPy say so of shapes and attributes that do not fit.
            reason = first_line(error)
            node.refuse(f"has inputs or attributes that do not fit ({printable(reason)})")
        return found if isinstance(found, list) else [found]

    def _operand(self, name: str, taker: str) -> Operand:
        if name not in self._known:
            if name not in self._weights:
                raise InvalidBundle(
                    f"{printable(taker)!r} takes {printable(name)!r}, which nothing before it gives: "
                    "the graph goes in a circle or lacks a part"
                )
            self._known[name] = self._weights[name]
        return self._known[name]


def _needed(nodes: Sequence[NodeProto], result: str) -> list[NodeProto]:
    """The nodes that a result depends on, in their order."""
    wanted, found = {result}, []
    for node in reversed(nodes):
        if wanted.intersection(node.output):
            wanted.update(node.input)
            found.append(node)
    return found[::-1]


def _constant(attributes: dict[str, Any]) -> Array | None:
    """The array of a ``Constant``."""
    for name, kind in _CONSTANTS.items():
        if name in attributes:
            return as_float32(np.asarray(attributes[name], kind))
    return None
