"""A node of an ONNX graph, as the functions that read operators see it."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NoReturn

import numpy as np
from onnx import AttributeProto, NodeProto, helper

from heatdrop.errors import InvalidBundle
from heatdrop.model.onnx_reading.files import Array, Weights
from heatdrop.model.onnx_reading.values import Value
from heatdrop.text import printable

Operand = Any
"""What a node takes: a ``Value`` computed from the image, a constant array, what ``masking`` keeps of values that were
picked, or None where an input is left out."""


@dataclass(frozen=True)
class Node:
    """One use of an operator.

    Attributes:
        kind: the operator.
        name: the node's own name, or that of its first output where it has none.
        inputs: what it takes.
        attributes: by name; tensors are arrays.
        outputs: the names of its results; empty for those that nothing takes.
        opset: the version of ONNX's operators.
    """

    kind: str
    name: str
    inputs: tuple[Operand, ...]
    attributes: dict[str, Any] = field(default_factory=dict)
    outputs: tuple[str, ...] = ("",)
    opset: int = 0

    def get(self, attribute: str, default: Any = None) -> Any:
        """The value of an attribute; text as ``str``."""
        value = self.attributes.get(attribute, default)
        return value.decode("utf-8", "replace") if isinstance(value, bytes) else value

    def input(self, position: int) -> Operand:
        """An input; None if it was left out."""
        return self.inputs[position] if position < len(self.inputs) else None

    def value(self, position: int = 0) -> Value:
        """An input that is computed from the image.

        Raises:
            InvalidBundle: it is a constant.
        """
        found = self.input(position)
        if not isinstance(found, Value):
            self.refuse(f"takes a constant as its input {position + 1}")
        return found

    def constant(self, position: int) -> Array:
        """An input that is a constant.

        Raises:
            InvalidBundle: it is computed from the image.
        """
        found = self.optional_constant(position)
        if found is None:
            self.refuse(f"lacks its input {position + 1}")
        return found

    def optional_constant(self, position: int) -> Array | None:
        """An input that is a constant or was left out.

        Raises:
            InvalidBundle: it is computed from the image.
        """
        found = self.input(position)
        if found is not None and not isinstance(found, np.ndarray):
            self.refuse(f"computes its input {position + 1} from the image")
        return found

    def integers(self, position: int, attribute: str) -> list[int] | None:
        """Whole numbers that are an input of newer operators and were an attribute of older ones; None if left out."""
        given = self.optional_constant(position)
        if given is None:
            given = self.get(attribute)
        return None if given is None else [int(number) for number in _flat(given)]

    def axes(self, given: Sequence[int], rank: int) -> list[int]:
        """Axes, of which negative ones count from the end, as axes from 0 on.

        Raises:
            InvalidBundle: there is no such axis.
        """
        if any(not -rank <= axis < rank for axis in given):
            self.refuse(f"names an axis of {rank} that is not there ({', '.join(map(str, given))})")
        return [axis % rank for axis in given]

    def axis(self, default: int, rank: int) -> int:
        """The attribute ``axis``, as an axis from 0 on."""
        return self.axes([int(self.get("axis", default))], rank)[0]

    def refuse(self, why: str) -> NoReturn:
        """Refuse the node.

        Raises:
            InvalidBundle: always; it names operator and node.
        """
        raise InvalidBundle(f"the operator {printable(self.kind)} (node {printable(self.name)!r}) {why}; not read")


def _flat(given: Any) -> list[Any]:
    return given.reshape(-1).tolist() if hasattr(given, "reshape") else list(given)


def attributes_of(proto: NodeProto, weights: Weights) -> dict[str, Any]:
    """The attributes of a node by name; tensors as arrays.

    Raises:
        InvalidBundle: it has a graph inside, as a branch or a loop has.
    """
    found: dict[str, Any] = {}
    for attribute in proto.attribute:
        if attribute.type in (AttributeProto.GRAPH, AttributeProto.GRAPHS):
            raise InvalidBundle(
                f"the operator {printable(proto.op_type)} (node {printable(name_of(proto))!r}) chooses or repeats "
                "parts of the graph as it runs; export the model without control flow (torch.jit.trace, or dynamo=True)"
            )
        if attribute.type == AttributeProto.TENSOR:
            found[attribute.name] = weights.array(attribute.t)
        elif attribute.type in (AttributeProto.SPARSE_TENSOR, AttributeProto.SPARSE_TENSORS, AttributeProto.TENSORS):
            raise InvalidBundle(f"the node {printable(name_of(proto))!r} has sparse weights, which are not read")
        else:
            found[attribute.name] = helper.get_attribute_value(attribute)
    return found


def name_of(proto: NodeProto) -> str:
    """A node's name; that of its first result if it has none."""
    return str(proto.name or next((name for name in proto.output if name), proto.op_type))
