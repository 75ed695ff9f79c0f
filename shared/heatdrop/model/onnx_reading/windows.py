"""Operators that slide a window over the image: convolutions and pooling.

ONNX says how many zeros stand before and after each side; Keras knows "valid" and "same". "Same" is used only where it
puts the same zeros in the same places, which with a stride of 2 it often does not.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from keras import layers

from heatdrop.model.onnx_reading.files import Array
from heatdrop.model.onnx_reading.nodes import Node
from heatdrop.model.onnx_reading.values import HEIGHT_WIDTH_CHANNELS, Value

_LOWEST = float(np.finfo(np.float32).min)


@dataclass(frozen=True)
class _Side:
    """How a window slides along one side of the image.

    Attributes:
        size: of the image.
        window: its reach, dilation included.
        stride: its step.
        before: padding before the image.
        after: padding behind it, including what ``ceil_mode`` adds.
        counted_after: padding behind it without that.
    """

    size: int
    window: int
    stride: int
    before: int
    after: int
    counted_after: int

    @property
    def same(self) -> tuple[int, int]:
        """The padding that Keras's "same" would add."""
        total = max((math.ceil(self.size / self.stride) - 1) * self.stride + self.window - self.size, 0)
        return total // 2, total - total // 2

    @property
    def pads(self) -> tuple[int, int]:
        return self.before, self.after

    @property
    def steps(self) -> int:
        return (self.before + self.size + self.after - self.window) // self.stride + 1


def _spatial(node: Node, attribute: str, count: int, default: int) -> list[int]:
    given = [int(number) for number in node.get(attribute, [default] * count)]
    if len(given) != count or min(given) < min(default, 1):
        node.refuse(f"has {attribute} {given}")
    return given


def _sides(node: Node, sizes: Sequence[int], kernel: Sequence[int]) -> list[_Side]:
    count = len(sizes)
    strides, dilations = (_spatial(node, name, count, 1) for name in ("strides", "dilations"))
    pads = [int(pad) for pad in node.get("pads", [0] * 2 * count)]
    if len(pads) != 2 * count or min(pads) < 0:
        node.refuse(f"has pads {pads}")
    kind = node.get("auto_pad", "NOTSET")
    sides = []
    for index, (size, taps, stride, dilation) in enumerate(zip(sizes, kernel, strides, dilations, strict=True)):
        window = (taps - 1) * dilation + 1
        before, after = pads[index], pads[index + count]
        if kind in ("SAME_UPPER", "SAME_LOWER"):
            before, after = _Side(size, window, stride, 0, 0, 0).same
            before, after = (before, after) if kind == "SAME_UPPER" else (after, before)
        elif kind == "VALID":
            before = after = 0
        counted = after
        if node.get("ceil_mode", 0):
            steps = math.ceil((size + before + after - window) / stride) + 1
            if (steps - 1) * stride >= size + before:
                # A last window that would begin behind the image is left out.
                steps -= 1
            after = max(after, (steps - 1) * stride + window - size - before)
        side = _Side(size, window, stride, before, after, counted)
        if side.steps < 1:
            node.refuse(f"has a window of {window} on a side of {size} pixels")
        sides.append(side)
    return sides


def _padded(tensor: Any, sides: Sequence[_Side], fill: float = 0.0) -> tuple[Any, str]:
    """The tensor with the padding that "valid" needs, and Keras's word for the padding that is left to do."""
    if not any(any(side.pads) for side in sides):
        return tensor, "valid"
    if all(side.pads == side.same for side in sides):
        return tensor, "same"
    return _pad(tensor, [side.pads for side in sides], fill), "valid"


def _pad(tensor: Any, pads: Sequence[tuple[int, int]], fill: float = 0.0) -> Any:
    if not any(any(pair) for pair in pads):
        return tensor
    if fill == 0 and len(pads) == 2:
        return layers.ZeroPadding2D(tuple(pads))(tensor)
    return keras.ops.pad(tensor, ((0, 0), *pads, (0, 0)), constant_values=fill)


def _image(node: Node, value: Value) -> tuple[Any, list[int], tuple[int, ...]]:
    """The tensor with its channels last, the sizes of its sides, and the axes that it is stored in."""
    if value.rank not in (3, 4):
        node.refuse(f"takes a tensor of {value.rank} axes; one of images has 4")
    axes = HEIGHT_WIDTH_CHANNELS if value.rank == 4 else (2, 1)
    return value.arranged(axes), list(value.shape[2:]), axes


def convolution(node: Node) -> Value:
    """Conv: plain, grouped or depthwise, with any strides and dilations."""
    kernel, bias = np.asarray(node.constant(1), np.float32), node.optional_constant(2)
    tensor, sizes, axes = _image(node, node.value())
    groups, channels = int(node.get("group", 1)), tensor.shape[-1]
    if kernel.ndim != len(sizes) + 2 or kernel.shape[1] * groups != channels or kernel.shape[0] % max(groups, 1):
        node.refuse(f"has a kernel {kernel.shape} that does not fit {channels} channels")
    strides, dilations = (_spatial(node, name, len(sizes), 1) for name in ("strides", "dilations"))
    sides = _sides(node, sizes, kernel.shape[2:])
    if max(dilations) > 1 and max(strides) > 1:
        # Keras does not do both: the holes of the kernel are filled with zeros.
        kernel, dilations = _spread(kernel, dilations), [1] * len(sizes)
    tensor, padding = _padded(tensor, sides)
    settings = {
        "strides": strides,
        "padding": padding,
        "dilation_rate": dilations,
        "use_bias": bias is not None,
    }
    outputs, taps = kernel.shape[0], kernel.shape[2:]
    # Keras's depthwise layers take one stride for both sides.
    if groups == channels > 1 and len(set(strides)) == 1:
        kind = layers.DepthwiseConv1D if len(sizes) == 1 else layers.DepthwiseConv2D
        layer = kind(taps, depth_multiplier=outputs // groups, **settings)
        kernel = kernel.reshape(groups, outputs // groups, *taps).transpose(*range(2, kernel.ndim), 0, 1)
    else:
        kind = layers.Conv1D if len(sizes) == 1 else layers.Conv2D
        layer = kind(outputs, taps, groups=groups, **settings)
        kernel = kernel.transpose(*range(2, kernel.ndim), 1, 0)
    return Value(with_weights(layer, tensor, kernel, bias), axes, len(axes) + 1)


def transposed_convolution(node: Node) -> Value:
    """ConvTranspose, of one group."""
    kernel, bias = np.asarray(node.constant(1), np.float32), node.optional_constant(2)
    tensor, sizes, axes = _image(node, node.value())
    if len(sizes) != 2 or int(node.get("group", 1)) != 1 or kernel.shape[0] != tensor.shape[-1]:
        node.refuse("has groups, or a kernel that does not fit")
    if node.get("auto_pad", "NOTSET") not in ("NOTSET", "VALID") or node.get("output_shape") is not None:
        node.refuse("has its padding computed from the size of its result")
    strides, dilations = (_spatial(node, name, 2, 1) for name in ("strides", "dilations"))
    added = _spatial(node, "output_padding", 2, 0)
    pads = [int(pad) for pad in node.get("pads", [0] * 4)]
    kernel = _spread(kernel, dilations)
    layer = layers.Conv2DTranspose(kernel.shape[1], kernel.shape[2:], strides=strides, use_bias=False)
    tensor = with_weights(layer, tensor, kernel.transpose(2, 3, 1, 0), None)
    crops = []
    for index, (size, stride, taps) in enumerate(zip(sizes, strides, kernel.shape[2:], strict=True)):
        end = (size - 1) * stride + taps + added[index] - pads[index + 2]
        missing = end - tensor.shape[1 + index]
        if missing > 0:
            tensor = _pad(tensor, [(0, missing if side == index else 0) for side in range(2)])
        crops.append((pads[index], tensor.shape[1 + index] - end))
    if any(any(crop) for crop in crops):
        tensor = layers.Cropping2D(tuple(crops))(tensor)
    if bias is not None:
        tensor = affine(tensor, np.ones_like(bias), bias)
    return Value(tensor, axes, 4)


def max_pool(node: Node) -> Value:
    """MaxPool: what it pads with is less than any value."""
    value = node.value()
    if len(node.outputs) > 1 and node.outputs[1]:
        node.refuse("also gives the places of its maxima")
    tensor, sizes, axes = _image(node, value)
    taps = _spatial(node, "kernel_shape", len(sizes), 1)
    sides = _sides(node, sizes, taps)
    if len(sizes) != 2 or any(side.window != tap for side, tap in zip(sides, taps, strict=True)):
        node.refuse("has a dilated window, or one along a single axis")
    # Zeros do where no value is below them.
    tensor, padding = _padded(tensor, sides, 0.0 if value.nonnegative else _LOWEST)
    pooled = layers.MaxPooling2D(taps, [side.stride for side in sides], padding)(tensor)
    return Value(pooled, axes, 4, value.nonnegative)


def average_pool(node: Node) -> Value:
    """AveragePool, whether its padding counts or not."""
    value = node.value()
    tensor, sizes, axes = _image(node, value)
    taps = _spatial(node, "kernel_shape", len(sizes), 1)
    sides = _sides(node, sizes, taps)
    if len(sizes) != 2 or any(side.window != tap for side, tap in zip(sides, taps, strict=True)):
        node.refuse("has a dilated window, or one along a single axis")
    counts_padding = bool(node.get("count_include_pad", 0))
    if not counts_padding and all(side.pads == side.same for side in sides):
        # Keras's own padding never counts.
        pooled = layers.AveragePooling2D(taps, [side.stride for side in sides], "same")(tensor)
        return Value(pooled, axes, 4, value.nonnegative)
    tensor = _pad(tensor, [side.pads for side in sides])
    pooled = layers.AveragePooling2D(taps, [side.stride for side in sides])(tensor)
    shares = np.multiply.outer(*(_share(side, counts_padding=counts_padding) for side in sides))
    if not np.allclose(shares, 1):
        pooled = keras.ops.multiply(pooled, (1 / shares).astype(np.float32)[None, :, :, None])
    return Value(pooled, axes, 4, value.nonnegative)


def _share(side: _Side, *, counts_padding: bool) -> Array:
    """For each step of the window, the share of its pixels that count."""
    counts = np.zeros(side.before + side.size + side.after)
    start, stop = side.before, side.before + side.size
    counts[(0 if counts_padding else start) : (stop + side.counted_after if counts_padding else stop)] = 1
    windows = [counts[step * side.stride :][: side.window] for step in range(side.steps)]
    return np.array([window.mean() for window in windows])


def global_pool(layer: Callable[[], Any]) -> Callable[[Node], Value]:
    """GlobalAveragePool or GlobalMaxPool."""

    def read(node: Node) -> Value:
        value = node.value()
        if value.rank != 4:
            node.refuse(f"takes a tensor of {value.rank} axes; one of images has 4")
        return Value(layer()(value.arranged(HEIGHT_WIDTH_CHANNELS)), (1,), 4, value.nonnegative)

    return read


def affine(tensor: Any, scale: Array, shift: Array) -> Any:
    """``tensor * scale + shift`` for each channel: a normalisation of mean 0 and variance 1, which Keras can save."""
    layer = layers.BatchNormalization(epsilon=0.0)
    zeros = np.zeros(tensor.shape[-1], np.float32)
    computed = layer(tensor)
    layer.set_weights([zeros + scale, zeros + shift, zeros, zeros + 1])
    return computed


def with_weights(layer: Any, tensor: Any, kernel: Array, bias: Array | None) -> Any:
    """What a new layer of kernel and bias gives for a tensor."""
    computed = layer(tensor)
    layer.set_weights([kernel] if bias is None else [kernel, np.asarray(bias, np.float32).reshape(-1)])
    return computed


def _spread(kernel: Array, dilations: Sequence[int]) -> Array:
    """A kernel (..., height, width) with zeros between its taps."""
    taps = kernel.shape[2:]
    spread = np.zeros((*kernel.shape[:2], *((n - 1) * d + 1 for n, d in zip(taps, dilations, strict=True))), np.float32)
    spread[(slice(None), slice(None), *(slice(None, None, d) for d in dilations))] = kernel
    return spread
