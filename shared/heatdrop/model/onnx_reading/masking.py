"""Boolean indexing: ``y[x < t] = f(x[x < t])``, as torchxrayvision normalises its outputs.

How many values a mask picks differs from image to image, and a graph of fixed shapes cannot hold them. But to compute
something value by value and put it back where it came from is the same as to compute it everywhere and choose by the
mask. So what a mask has picked is kept as the whole tensor that it was picked from, until it is put back.
"""

from dataclasses import dataclass, replace

import numpy as np
from keras import ops

from heatdrop.model.onnx_reading import elementwise
from heatdrop.model.onnx_reading.files import Array
from heatdrop.model.onnx_reading.nodes import Node
from heatdrop.model.onnx_reading.values import Value


@dataclass(frozen=True)
class Places:
    """Where a mask is true: what NonZero gives."""

    mask: Value


@dataclass(frozen=True)
class Count:
    """How many places there are."""


@dataclass(frozen=True)
class Picked:
    """The values of ``whole`` at the places of a mask."""

    whole: Value | Array
    mask: Value


Masked = Places | Count | Picked
_KINDS = (Places, Count, Picked)


def is_masked(node: Node) -> bool:
    """Whether a node makes, or takes, something that was picked by a mask that depends on the image."""
    by_mask = node.kind == "NonZero" and isinstance(node.input(0), Value)
    return by_mask or any(isinstance(given, _KINDS) for given in node.inputs)


def read(node: Node) -> Value | Array | Masked:
    """The result of such a node.

    Raises:
        InvalidBundle: it does anything else with what was picked than to compute value by value and to put it back.
    """
    first = node.input(0)
    if node.kind == "NonZero" and isinstance(first, Value):
        return Places(first)
    if isinstance(first, Places) and node.kind == "Transpose":
        return first
    if isinstance(first, Places | Count) and node.kind in ("Shape", "Gather", "Unsqueeze"):
        return Count()
    if isinstance(first, Picked) and node.kind in ("Reshape", "Slice", "Expand", "Identity"):
        # All of them, in a row, as they are.
        return first
    places = node.input(1)
    if node.kind == "GatherND" and isinstance(places, Places) and isinstance(first, Value | np.ndarray):
        # A constant that is no number, which no mask picks, would still reach the gradients of the others.
        return Picked(first if isinstance(first, Value) else np.nan_to_num(first, nan=0.5), places.mask)
    picked = node.input(2)
    if node.kind == "ScatterND" and isinstance(places, Places) and isinstance(picked, Picked):
        return _put_back(node, places, picked)
    masks = [given.mask for given in node.inputs if isinstance(given, Picked)]
    if node.kind in ("Add", "Sub", "Mul", "Div") and masks and all(mask.tensor is masks[0].tensor for mask in masks):
        return Picked(_computed(node), masks[0])
    return node.refuse("takes values that a mask has picked, of which there are now more and now fewer")


def _computed(node: Node) -> Value | Array:
    """Arithmetic between what was picked, and numbers."""
    operands = [given.whole if isinstance(given, Picked) else given for given in node.inputs]
    plain = replace(node, inputs=tuple(operands))
    if any(isinstance(operand, Value) for operand in operands):
        return elementwise.binary(plain)
    left, right = (np.asarray(operand) for operand in operands)
    with np.errstate(all="ignore"):
        function = {"Add": np.add, "Sub": np.subtract, "Mul": np.multiply, "Div": np.divide}[node.kind]
        return np.asarray(function(left, right), np.float32)


def _put_back(node: Node, places: Places, picked: Picked) -> Value:
    """What was picked where the mask is true, and what was there before elsewhere."""
    mask, whole, before = places.mask, picked.whole, node.input(0)
    if picked.mask.tensor is not mask.tensor or not isinstance(whole, Value) or whole.shape != mask.shape:
        node.refuse("puts values back at other places than they were picked from")
    axes = mask.axes
    if isinstance(before, Value):
        others = before.arranged(axes)
    else:
        others = np.broadcast_to(np.asarray(before, np.float32), mask.shape)
        spare = [axis for axis in range(mask.rank) if axis not in axes]
        others = others.transpose([*axes, *spare]).reshape([1, *(mask.shape[axis] for axis in axes)])
    tensor = ops.where(ops.greater(mask.tensor, 0.5), whole.arranged(axes), others)
    return Value(tensor, axes, mask.rank)
