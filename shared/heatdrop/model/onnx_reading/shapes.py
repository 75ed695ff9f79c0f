"""Operators that move values, pick some, or repeat them, and those that reduce axes."""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from keras import layers, ops
from onnx import helper, reference

from heatdrop.model.onnx_reading.files import Array
from heatdrop.model.onnx_reading.nodes import Node
from heatdrop.model.onnx_reading.values import HEIGHT_WIDTH_CHANNELS, Value
from heatdrop.model.onnx_reading.weights import dense

_MOST_RESIZED = 2**24
"""Values of the matrix by which a side is resized: 4096 x 4096 pixels."""


def identity(node: Node) -> Value:
    """Identity, and Dropout outside training."""
    return node.value()


def cast(node: Node) -> Value:
    """Cast from one floating-point type to another: everything is computed in float32."""
    kind = node.get("to")
    value = node.value()
    is_whole = kind is not None and np.dtype(helper.tensor_dtype_to_np_dtype(int(kind))).kind not in "fV"
    # Conditions are 1 and 0 already.
    if is_whole and not value.condition:
        node.refuse("makes whole numbers of values")
    return value


def reshape(node: Node) -> Value:
    """Reshape: 0 keeps a size, -1 is what is left."""
    value, target = node.value(), node.integers(1, "shape") or []
    if not node.get("allowzero", 0):
        target = [value.shape[axis] if size == 0 and axis < value.rank else size for axis, size in enumerate(target)]
    return _reshaped(node, value, target)


def _reshaped(node: Node, value: Value, target: Sequence[int]) -> Value:
    total, known = math.prod(value.shape), math.prod(size for size in target if size != -1)
    if -1 in target and known > 0:
        target = [total // known if size == -1 else size for size in target]
    if min(target, default=1) < 1 or math.prod(target) != total:
        node.refuse(f"makes {tuple(target)} of {value.shape}, which has not so many values for one image")
    return value.reshaped(target)


def flatten(node: Node) -> Value:
    """Flatten into two axes."""
    value = node.value()
    given = int(node.get("axis", 1))
    axis = value.rank if given == value.rank else node.axes([given], value.rank)[0]
    return value.reshaped([math.prod(value.shape[:axis]), math.prod(value.shape[axis:])])


def squeeze(node: Node) -> Value:
    """Squeeze: drops axes of length 1."""
    value, given = node.value(), node.integers(1, "axes")
    axes = [axis for axis, size in enumerate(value.shape) if size == 1] if given is None else given
    axes = node.axes(axes, value.rank)
    if any(value.shape[axis] != 1 for axis in axes):
        node.refuse(f"drops an axis of {value.shape} that is longer than 1")
    return value.without(axes)


def unsqueeze(node: Node) -> Value:
    """Unsqueeze: adds axes of length 1."""
    value, given = node.value(), node.integers(1, "axes") or []
    axes = node.axes(given, value.rank + len(given))
    sizes = iter(value.shape)
    return value.reshaped([1 if axis in axes else next(sizes) for axis in range(value.rank + len(given))])


def transpose(node: Node) -> Value:
    """Transpose: nothing is computed."""
    value = node.value()
    order = node.axes([int(axis) for axis in node.get("perm", range(value.rank)[::-1])], value.rank)
    if sorted(order) != list(range(value.rank)):
        node.refuse(f"orders the axes as {order}")
    return value.transposed(order)


def concatenate(node: Node) -> Value:
    """Concat; constants may stand before and behind what is computed, as the class token of a transformer does."""
    values = [given for given in node.inputs if isinstance(given, Value)]
    rank = values[0].rank
    axis = node.axis(0, rank)
    if any((given.rank if isinstance(given, Value) else np.asarray(given).ndim) != rank for given in node.inputs):
        node.refuse("joins tensors of different ranks")
    places = [place for place, given in enumerate(node.inputs) if isinstance(given, Value)]
    if places != list(range(places[0], places[-1] + 1)):
        node.refuse("joins constants between tensors")
    if any(
        other.shape[:axis] + other.shape[axis + 1 :] != values[0].shape[:axis] + values[0].shape[axis + 1 :]
        for other in values
    ):
        node.refuse("joins tensors of different shapes")
    axes = max((value.axes for value in values), key=len)
    axes = axes if axis in axes else (*axes, axis)
    joined = Value(
        _join([value.arranged(axes) for value in values], axes.index(axis) + 1),
        axes,
        rank,
        all(value.nonnegative for value in values),
    )
    before, after = (
        [np.asarray(c) for c in part] for part in (node.inputs[: places[0]], node.inputs[places[-1] + 1 :])
    )
    return _beside_constants(node, joined, before, after, axis) if before or after else joined


def _join(tensors: list[Any], axis: int) -> Any:
    if len(tensors) == 1:
        return tensors[0]
    # As its last axis, the channels, by that name: so the fast gradients know it.
    return layers.Concatenate(axis=-1 if axis == len(tensors[0].shape) - 1 else axis)(tensors)


def _beside_constants(node: Node, value: Value, before: list[Array], after: list[Array], axis: int) -> Value:
    """Constants before and behind a tensor: it is padded with zeros, and the constants are added."""
    shape = value.shape
    parts = [*before, np.zeros(shape, np.float32), *after]
    try:
        constant = np.concatenate(parts, axis)
    except ValueError:
        node.refuse("joins constants of another shape")
    pads = [(0, 0)] * (len(value.axes) + 1)
    pads[value.axes.index(axis) + 1] = (sum(c.shape[axis] for c in before), sum(c.shape[axis] for c in after))
    spare = [other for other in range(value.rank) if other not in value.axes]
    placed = constant.transpose([*value.axes, *spare]).reshape([constant.shape[stored] for stored in value.axes])
    tensor = ops.add(ops.pad(value.tensor, pads), placed[None].astype(np.float32))
    return replace(value, tensor=tensor, nonnegative=value.nonnegative and bool((constant >= 0).all()))


def take(node: Node) -> Value:
    """Slice."""
    value = node.value()
    starts, stops = node.integers(1, "starts") or [], node.integers(2, "ends") or []
    given = node.integers(3, "axes")
    axes = node.axes(list(range(len(starts))) if given is None else given, value.rank)
    steps = node.integers(4, "steps") or [1] * len(starts)
    if not len(starts) == len(stops) == len(axes) == len(steps) or 0 in steps:
        node.refuse("has starts, ends, axes and steps that do not fit")
    for start, stop, axis, step in zip(starts, stops, axes, steps, strict=True):
        size = value.shape[axis]
        # An end before the start of the side means: down to the first.
        end = None if step < 0 and stop < -size else stop
        value = _picked(node, value, axis, range(*slice(start, end, step).indices(size)))
    return value


def _picked(node: Node, value: Value, axis: int, indices: Sequence[int]) -> Value:
    """The values at ``indices`` of an axis."""
    size = value.shape[axis]
    if not indices:
        node.refuse("leaves nothing of an axis")
    if min(indices) < 0 or max(indices) >= size:
        node.refuse(f"picks what an axis of {size} has not")
    if list(indices) == list(range(size)):
        return value
    if size == 1:
        value = value.with_last(axis)
    position = value.axes.index(axis) + 1
    first, step = indices[0], indices[1] - indices[0] if len(indices) > 1 else 1
    if step > 0 and list(indices) == list(range(first, indices[-1] + 1, step)):
        # A slice is cheaper than picking.
        part = slice(first, indices[-1] + 1, step if step > 1 else None)
        tensor = value.tensor[(slice(None),) * position + (part,)]
    else:
        tensor = ops.take(value.tensor, np.asarray(indices), axis=position)
    return replace(value, tensor=tensor)


def gather(node: Node) -> Value:
    """Gather by constant indices."""
    value, indices = node.value(), np.asarray(node.constant(1), np.int64)
    axis = node.axis(0, value.rank)
    size = value.shape[axis]
    flat = [int(index) + (size if index < 0 else 0) for index in indices.reshape(-1)]
    picked = _picked(node, value, axis, flat)
    return picked.reshaped([*value.shape[:axis], *indices.shape, *value.shape[axis + 1 :]])


def split(node: Node) -> list[Value]:
    """Split: as slices, since each is then an operation of one result."""
    value, sizes = node.value(), node.integers(1, "split")
    axis = node.axis(0, value.rank)
    if sizes is None:
        each = -(-value.shape[axis] // len(node.outputs))
        sizes = [min(each, value.shape[axis] - each * index) for index in range(len(node.outputs))]
    if sum(sizes) != value.shape[axis] or len(sizes) != len(node.outputs):
        node.refuse(f"splits {value.shape[axis]} into {sizes}")
    ends = np.cumsum(sizes).tolist()
    return [_picked(node, value, axis, range(end - size, end)) for size, end in zip(sizes, ends, strict=True)]


def pad(node: Node) -> Value:
    """Pad with a constant, by reflection, or with the nearest value."""
    value, pads, given = node.value(), node.integers(1, "pads") or [], node.optional_constant(2)
    axes = node.axes(node.integers(3, "axes") or list(range(value.rank)), value.rank)
    fill = float(given.reshape(-1)[0]) if given is not None and given.size else 0.0
    mode = {"constant": "constant", "reflect": "reflect", "edge": "symmetric"}.get(str(node.get("mode", "constant")))
    if len(pads) != 2 * len(axes) or mode is None or (pads and min(pads) < 0):
        node.refuse(f"pads by {pads} in the mode {node.get('mode', 'constant')}")
    around = {axis: (pads[place], pads[place + len(axes)]) for place, axis in enumerate(axes)}
    around = {axis: pair for axis, pair in around.items() if any(pair)}
    # Symmetric is the nearest value only for one pixel.
    if mode == "symmetric" and any(max(pair) > 1 for pair in around.values()):
        node.refuse("repeats the nearest value more than once")
    for axis in around:
        value = value if axis in value.axes else value.with_last(axis)
    widths = [around.get(axis, (0, 0)) for axis in value.axes]
    nonnegative = value.nonnegative and fill >= 0
    if value.axes == HEIGHT_WIDTH_CHANNELS and fill == 0 and mode == "constant" and not any(widths[2]):
        return replace(value, tensor=layers.ZeroPadding2D(tuple(widths[:2]))(value.tensor), nonnegative=nonnegative)
    settings = {"constant_values": fill} if mode == "constant" else {}
    tensor = ops.pad(value.tensor, [(0, 0), *widths], mode=mode, **settings)
    return replace(value, tensor=tensor, nonnegative=nonnegative)


def expand(node: Node) -> Value:
    """Expand: repeats axes of length 1."""
    value, target = node.value(), node.integers(1, "shape") or []
    rank = max(value.rank, len(target))
    value, target = value.of_rank(rank), [1] * (rank - len(target)) + target
    try:
        shape = np.broadcast_shapes(value.shape, tuple(target))
    except ValueError:
        node.refuse(f"makes {tuple(target)} of {value.shape}")
    return _repeated(value, [new // old for new, old in zip(shape, value.shape, strict=True)])


def tile(node: Node) -> Value:
    """Tile: repeats whole tensors."""
    value, times = node.value(), node.integers(1, "repeats") or []
    if len(times) != value.rank or min(times, default=1) < 1:
        node.refuse(f"repeats {value.shape} by {times}")
    return _repeated(value, times)


def _repeated(value: Value, times: Sequence[int]) -> Value:
    for axis, count in enumerate(times):
        value = value if count == 1 or axis in value.axes else value.with_last(axis)
    if all(count == 1 for count in times):
        return value
    return replace(value, tensor=ops.tile(value.tensor, [1, *(times[axis] for axis in value.axes)]))


def depth_to_space(node: Node) -> Value:
    """DepthToSpace, in both orders of the channels."""
    value, block = node.value(), int(node.get("blocksize", 0))
    _, channels, height, width = _of_rank_4(node, value)
    if block < 1 or channels % block**2:
        node.refuse(f"makes blocks of {block} of {channels} channels")
    if node.get("mode", "DCR") == "DCR":
        split, order = [1, block, block, channels // block**2, height, width], [0, 3, 4, 1, 5, 2]
    else:
        split, order = [1, channels // block**2, block, block, height, width], [0, 1, 4, 2, 5, 3]
    return value.reshaped(split).transposed(order).reshaped([1, channels // block**2, height * block, width * block])


def space_to_depth(node: Node) -> Value:
    """SpaceToDepth."""
    value, block = node.value(), int(node.get("blocksize", 0))
    _, channels, height, width = _of_rank_4(node, value)
    if block < 1 or height % block or width % block:
        node.refuse(f"makes blocks of {block} of {height} x {width} pixels")
    split = value.reshaped([1, channels, height // block, block, width // block, block])
    return split.transposed([0, 3, 5, 1, 2, 4]).reshaped([1, channels * block**2, height // block, width // block])


def _of_rank_4(node: Node, value: Value) -> tuple[int, ...]:
    if value.rank != 4:
        node.refuse(f"takes a tensor of {value.rank} axes; one of images has 4")
    return value.shape


def resize(node: Node) -> Value:
    """Resize in any mode: each side is a product with a matrix, which onnx's own evaluator makes of ones and zeros."""
    value, scales, sizes = node.value(), node.optional_constant(2), node.integers(3, "sizes")
    axes = node.axes([int(axis) for axis in node.get("axes", range(value.rank))], value.rank)
    has_scales = scales is not None and scales.size > 0
    given = list(scales.reshape(-1)) if has_scales and scales is not None else sizes
    if (
        node.get("coordinate_transformation_mode", "half_pixel") == "tf_crop_and_resize"
        or node.get("keep_aspect_ratio_policy", "stretch") != "stretch"
        or given is None
        or len(given) != len(axes)
    ):
        node.refuse("crops, keeps an aspect, or has not as many sizes as axes")
    for axis, number in zip(axes, given, strict=True):
        size = value.shape[axis]
        new = math.floor(size * float(number)) if has_scales else int(number)
        if new < 1 or new * size > _MOST_RESIZED:
            node.refuse(f"makes a side of {new} of one of {size}")
        if new != size:
            scale = float(number) if has_scales else None
            last = [other for other in range(value.rank) if other != axis] + [axis]
            resized = dense(value.transposed(last), _resizing(node, size, new, scale))
            value = resized.transposed([last.index(other) for other in range(value.rank)])
    return value


def _resizing(node: Node, size: int, new: int, scale: float | None) -> Array:
    """The matrix (before, after) by which a side is resized."""
    names = ["x", "", "scales"] if scale is not None else ["x", "", "", "sizes"]
    kept = {name: value for name, value in node.attributes.items() if name not in ("axes", "keep_aspect_ratio_policy")}
    proto = helper.make_node("Resize", names, ["y"], **kept)
    second = np.array([1, scale], np.float32) if scale is not None else np.array([size, new], np.int64)
    given = {"x": np.eye(size, dtype=np.float32), names[-1]: second}
    inputs = [
        helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(array.dtype), array.shape)
        for name, array in given.items()
    ]
    graph = helper.make_graph([proto], "resize", inputs, [helper.make_empty_tensor_value_info("y")])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", node.opset)])
    try:
        (matrix,) = reference.ReferenceEvaluator(model).run(None, given)
    except Exception:
        node.refuse("cannot be computed")
    return np.asarray(matrix, np.float32)


def reduction(
    function: Callable[..., Any], *, nonnegative: bool = False, keeps_sign: bool = True
) -> Callable[[Node], Value]:
    """An operator that makes one value of all along some axes."""

    def read(node: Node) -> Value:
        value, given = node.value(), node.integers(1, "axes")
        if not given and node.get("noop_with_empty_axes", 0):
            return value
        axes = node.axes(given or list(range(value.rank)), value.rank)
        kept = nonnegative or (keeps_sign and value.nonnegative)
        reduced = replace(_reduced(function, value, axes), nonnegative=kept)
        return reduced if node.get("keepdims", 1) else reduced.without(axes)

    return read


def _reduced(function: Callable[..., Any], value: Value, axes: Sequence[int]) -> Value:
    if value.rank == 4 and sorted(axes) == [2, 3] and function is ops.mean:
        # A global average of images, by the name that the fast gradients know.
        return replace(value, tensor=layers.GlobalAveragePooling2D()(value.arranged(HEIGHT_WIDTH_CHANNELS)), axes=(1,))
    positions = [position for position, axis in enumerate(value.axes, start=1) if axis in axes]
    tensor = function(value.tensor, axis=positions) if positions else value.tensor
    return replace(value, tensor=tensor, axes=tuple(axis for axis in value.axes if axis not in axes))
