"""Gradients of TensorFlow's operations, written in operations that LiteRT has.

TensorFlow computes most gradients by operations of their own (``ReluGrad``, ``Conv2DBackpropInput``), which LiteRT
lacks. Within ``portable_gradients()`` the gradients below take their place. They need shapes that are known, and give
no gradient for weights, since none is asked for.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import tensorflow as tf

Gradient = Callable[..., Any]

_NAMES: dict[str, str] = {}
"""TensorFlow's type of an operation to the name under which its gradient here is registered."""


class NotPortable(Exception):
    """An operation is used in a way for which there is no gradient here."""


@contextmanager
def portable_gradients() -> Iterator[None]:
    """Give the operations that are added to the current graph in the ``with`` block gradients that LiteRT can compute.

    Differentiate them with ``tf.gradients``, in the block or after it.
    """
    with tf.compat.v1.get_default_graph().gradient_override_map(_NAMES):
        yield


def _gradient_of(*types: str) -> Callable[[Gradient], Gradient]:
    def register(gradient: Gradient) -> Gradient:
        for name in types:
            _NAMES[name] = f"Heatdrop{name}"
            tf.RegisterGradient(_NAMES[name])(gradient)
        return gradient

    return register


@_gradient_of("Relu")
def _relu(op: Any, upstream: Any) -> Any:
    # One operation instead of a comparison and a cast: there are as many as values in the network.
    return upstream * tf.sign(op.outputs[0])


@_gradient_of("Relu6")
def _relu6(op: Any, upstream: Any) -> Any:
    y = op.outputs[0]
    return upstream * _as_number(tf.logical_and(y > 0, y < 6), upstream)


@_gradient_of("LeakyRelu")
def _leaky_relu(op: Any, upstream: Any) -> Any:
    slope = op.get_attr("alpha")
    return upstream * (slope + (1 - slope) * _as_number(op.inputs[0] > 0, upstream))


@_gradient_of("Elu")
def _elu(op: Any, upstream: Any) -> Any:
    return upstream * (tf.minimum(op.outputs[0], 0) + 1)


@_gradient_of("Selu")
def _selu(op: Any, upstream: Any) -> Any:
    # The constants of Klambauer, Unterthiner, Mayr, Hochreiter, "Self-normalizing neural networks", 2017.
    scale, scaled_alpha = 1.0507009873554805, 1.7580993408473766
    y = op.outputs[0]
    is_positive = _as_number(y > 0, upstream)
    return upstream * (is_positive * scale + (1 - is_positive) * (y + scaled_alpha))


@_gradient_of("Sigmoid")
def _sigmoid(op: Any, upstream: Any) -> Any:
    y = op.outputs[0]
    return upstream * (y * (1 - y))


@_gradient_of("Tanh")
def _tanh(op: Any, upstream: Any) -> Any:
    return upstream * (1 - tf.square(op.outputs[0]))


@_gradient_of("Softplus")
def _softplus(op: Any, upstream: Any) -> Any:
    return upstream * tf.sigmoid(op.inputs[0])


@_gradient_of("Softsign")
def _softsign(op: Any, upstream: Any) -> Any:
    return upstream / tf.square(1 + tf.abs(op.inputs[0]))


@_gradient_of("Sqrt")
def _sqrt(op: Any, upstream: Any) -> Any:
    return upstream * 0.5 / op.outputs[0]


@_gradient_of("Rsqrt")
def _rsqrt(op: Any, upstream: Any) -> Any:
    y = op.outputs[0]
    return upstream * (-0.5 * y * y * y)


@_gradient_of("Reciprocal", "Inv")
def _reciprocal(op: Any, upstream: Any) -> Any:
    return upstream * -tf.square(op.outputs[0])


@_gradient_of("BiasAdd")
def _bias_add(op: Any, upstream: Any) -> Any:
    return upstream, None


@_gradient_of("ConcatV2")
def _concatenate(op: Any, upstream: Any) -> Any:
    axis = int(_value(op.inputs[-1])) % len(upstream.shape)
    gradients, start = [], 0
    for tensor in op.inputs[:-1]:
        size = tensor.shape[axis]
        gradients.append(
            tf.slice(upstream, [start if a == axis else 0 for a in range(len(tensor.shape))], tensor.shape)
        )
        start += size
    return [*gradients, None]


@_gradient_of("Mean")
def _mean(op: Any, upstream: Any) -> Any:
    given = op.inputs[0].shape.as_list()
    axes = {int(axis) % len(given) for axis in np.atleast_1d(_value(op.inputs[1]))}
    count = int(np.prod([given[axis] for axis in axes]))
    kept = tf.reshape(upstream, [1 if axis in axes else size for axis, size in enumerate(given)])
    return tf.tile(kept / count, [size if axis in axes else 1 for axis, size in enumerate(given)]), None


@_gradient_of("StridedSlice")
def _strided_slice(op: Any, upstream: Any) -> Any:
    """Zeros around what was taken; only for slices of step 1 that leave out no axis but by a single index."""
    begins, ends, steps = (_value(tensor) for tensor in op.inputs[1:])
    if (steps != 1).any() or op.get_attr("ellipsis_mask") or op.get_attr("new_axis_mask"):
        raise NotPortable("a slice of a step other than 1")
    shape = op.inputs[0].shape.as_list()
    paddings = []
    for axis, size in enumerate(shape):
        begin = end = 0
        if axis < len(begins):
            picks_one = op.get_attr("shrink_axis_mask") >> axis & 1
            begin = 0 if op.get_attr("begin_mask") >> axis & 1 else int(begins[axis])
            begin += size if begin < 0 else 0
            taken = (
                1
                if picks_one
                else len(range(size)[slice(begin, None if op.get_attr("end_mask") >> axis & 1 else int(ends[axis]))])
            )
            end = size - begin - taken
        paddings.append([begin, end])
    full = [size - sum(padding) for size, padding in zip(shape, paddings, strict=True)]
    return [tf.pad(tf.reshape(upstream, full), paddings), None, None, None]


@_gradient_of("Conv2D")
def _convolution(op: Any, upstream: Any) -> Any:
    image, kernel = op.inputs
    stride = _square_stride(op, image, kernel.shape[2])
    if stride == 1:
        turned = _rearranged(kernel, lambda k: k[::-1, ::-1].transpose(0, 1, 3, 2))
        return tf.nn.conv2d(_with_margin(upstream, op, image, kernel), turned, 1, "VALID"), None
    if max(kernel.shape[:2]) == 1:
        turned = _rearranged(kernel, lambda k: k.transpose(0, 1, 3, 2))
        spread = _spread(tf.nn.conv2d(upstream, turned, 1, "VALID"), stride)
        return _fitted(spread, (0, 0), image), None
    return _convolution_by_phases(op, image, kernel, upstream, stride), None


def _convolution_by_phases(op: Any, image: Any, kernel: Any, upstream: Any, stride: int) -> Any:
    """As ``operations.Convolution`` does it: one small convolution for each phase of the rows and columns."""
    height, width, channels, outputs = kernel.shape
    reach = -(-max(height, width) // stride)

    def by_phases(kernel: Any) -> Any:
        taps = np.zeros((reach * stride, reach * stride, channels, outputs), np.float32)
        taps[:height, :width] = kernel
        taps = taps.reshape(reach, stride, reach, stride, channels, outputs)[::-1, :, ::-1]
        return taps.transpose(0, 2, 5, 1, 3, 4).reshape(reach, reach, outputs, stride * stride * channels)

    before = _padding_before(op, image, kernel)
    # So many rows and columns of phases hold the image and what was padded before it.
    sides = [-(-(size + pad) // stride) for size, pad in zip(image.shape[1:3], before, strict=True)]
    margins = [[reach - 1, side - size] for side, size in zip(sides, upstream.shape[1:3], strict=True)]
    phases = tf.nn.conv2d(_padded(upstream, margins), _rearranged(kernel, by_phases), 1, "VALID")
    return _fitted(tf.nn.depth_to_space(phases, stride), before, image)


@_gradient_of("DepthwiseConv2dNative")
def _depthwise_convolution(op: Any, upstream: Any) -> Any:
    image, kernel = op.inputs
    stride = _square_stride(op, image, kernel.shape[2])
    upstream = _spread(upstream, stride)
    channels, multiplier = kernel.shape[2:]
    turned = np.ascontiguousarray(_value(kernel)[::-1, ::-1])
    total = None
    for index in range(multiplier):
        part = upstream
        if multiplier > 1:
            part = tf.reshape(upstream, (*upstream.shape[:3], channels, multiplier))[..., index]
        weights = tf.constant(turned[..., index : index + 1], kernel.dtype)
        found = tf.nn.depthwise_conv2d(_with_margin(part, op, image, kernel), weights, [1, 1, 1, 1], "VALID")
        total = found if total is None else total + found
    return total, None


@_gradient_of("AvgPool")
def _average_pool(op: Any, upstream: Any) -> Any:
    image = op.inputs[0]
    size, stride = op.get_attr("ksize")[1:3], _square_stride(op, image)
    shape = upstream.shape.as_list()
    before = _padding_before(op, image, size)
    # How many pixels each window holds; padding does not count.
    counts = [
        [min(o * stride - pad + length, side) - max(o * stride - pad, 0) for o in range(out)]
        for length, side, out, pad in zip(size, image.shape[1:3], shape[1:3], before, strict=True)
    ]
    share = upstream / tf.constant(np.outer(counts[0], counts[1])[None, :, :, None], upstream.dtype)
    taps = {(i, j): share for i in range(size[0]) for j in range(size[1])}
    return _scattered(taps, stride, before, image)


@_gradient_of("MaxPool")
def _max_pool(op: Any, upstream: Any) -> Any:
    """To the first of the greatest values of each window, as TensorFlow does it."""
    image, y = op.inputs[0], op.outputs[0]
    size, stride = op.get_attr("ksize")[1:3], _square_stride(op, image)
    before = _padding_before(op, image, size)
    reach = [(out - 1) * stride + length for out, length in zip(y.shape[1:3], size, strict=True)]
    after = [max(r - side - pad, 0) for r, side, pad in zip(reach, image.shape[1:3], before, strict=True)]
    margins = [[0, 0], *([b, a] for b, a in zip(before, after, strict=True)), [0, 0]]
    padded = tf.pad(image, margins, constant_values=image.dtype.min) if any(map(any, margins)) else image
    taps: dict[tuple[int, int], Any] = {}
    found: Any = None
    for i in range(size[0]):
        for j in range(size[1]):
            rows, columns = ((at, at + (out - 1) * stride + 1) for at, out in zip((i, j), y.shape[1:3], strict=True))
            is_greatest = tf.equal(padded[:, slice(*rows, stride), slice(*columns, stride)], y)
            is_first = is_greatest if found is None else tf.logical_and(is_greatest, tf.logical_not(found))
            found = is_greatest if found is None else tf.logical_or(found, is_greatest)
            taps[i, j] = upstream * _as_number(is_first, upstream)
    return _scattered(taps, stride, before, image)


def _scattered(taps: Mapping[tuple[int, int], Any], stride: int, before: Sequence[int], image: Any) -> Any:
    """What each window gives to its pixel (i, j), (B, windows down, windows across, C), added up for each pixel."""
    most = [max(place[axis] for place in taps) // stride for axis in (0, 1)]
    phases: dict[tuple[int, int], Any] = {}
    for (i, j), given in taps.items():
        moved = _padded(given, [[at // stride, last - at // stride] for at, last in zip((i, j), most, strict=True)])
        phase = i % stride, j % stride
        phases[phase] = phases[phase] + moved if phase in phases else moved
    nothing = tf.zeros_like(phases[0, 0])
    parts = [phases.get((i, j), nothing) for i in range(stride) for j in range(stride)]
    whole = tf.nn.depth_to_space(tf.concat(parts, -1), stride) if stride > 1 else parts[0]
    return _fitted(whole, before, image)


def _spread(values: Any, stride: int) -> Any:
    """Zeros between the rows and columns, and behind the last ones."""
    if stride == 1:
        return values
    nothing = tf.zeros_like(values)
    return tf.nn.depth_to_space(tf.concat([values] + [nothing] * (stride * stride - 1), -1), stride)


def _with_margin(upstream: Any, op: Any, image: Any, kernel: Any) -> Any:
    """So much around ``upstream`` that a VALID convolution of it with the kernel is of the image's size."""
    lengths, before = kernel.shape[:2], _padding_before(op, image, kernel)
    margins = []
    for length, pad, side, size in zip(lengths, before, image.shape[1:3], upstream.shape[1:3], strict=True):
        first = length - 1 - pad
        margins.append([first, side + length - 1 - size - first])
    return _padded(upstream, margins)


def _fitted(values: Any, before: Sequence[int], image: Any) -> Any:
    """The part that lies on the image, with zeros where ``values`` does not reach."""
    sides = image.shape[1:3]
    missing = [[-pad, pad + side - size] for pad, side, size in zip(before, sides, values.shape[1:3], strict=True)]
    return _padded(values, missing)


def _padded(values: Any, margins: Sequence[Sequence[int]]) -> Any:
    """(B, H, W, C) with rows and columns of zeros added before and after; taken away where the number is negative."""
    (top, bottom), (left, right) = margins
    if min(top, bottom, left, right) < 0:
        rows, columns = values.shape[1:3]
        values = values[:, max(-top, 0) : rows + min(bottom, 0), max(-left, 0) : columns + min(right, 0)]
    added = [[0, 0], [max(top, 0), max(bottom, 0)], [max(left, 0), max(right, 0)], [0, 0]]
    return tf.pad(values, added) if any(map(any, added)) else values


def _padding_before(op: Any, image: Any, size: Any) -> tuple[int, int]:
    """Rows and columns of padding before the image."""
    lengths = size.shape[:2] if tf.is_tensor(size) else size
    padding = op.get_attr("padding").decode()
    if padding == "VALID":
        return 0, 0
    if padding != "SAME":
        explicit = op.get_attr("explicit_paddings")
        return explicit[2], explicit[4]
    stride = op.get_attr("strides")[1]
    totals = (
        max((-(-side // stride) - 1) * stride + n - side, 0) for side, n in zip(image.shape[1:3], lengths, strict=True)
    )
    top, left = (total // 2 for total in totals)
    return top, left


def _square_stride(op: Any, image: Any, channels: int | None = None) -> int:
    """The stride of a convolution or pooling.

    Raises:
        NotPortable: it differs by axis, or the operation is dilated, grouped, or has its channels first.
    """
    strides = op.get_attr("strides")
    dilations = op.get_attr("dilations") if "dilations" in op.node_def.attr else [1]
    if strides[1] != strides[2] or set(dilations) != {1} or op.get_attr("data_format") != b"NHWC":
        raise NotPortable(f"a {op.type} that is dilated or has different strides")
    if channels not in (None, image.shape[3]):
        raise NotPortable("a grouped convolution")
    return int(strides[1])


def _rearranged(kernel: Any, rearrange: Callable[[Any], Any]) -> Any:
    """A kernel whose values are moved about; they have to be known."""
    return tf.constant(np.ascontiguousarray(rearrange(_value(kernel))), kernel.dtype)


def _value(tensor: Any) -> Any:
    found = tf.get_static_value(tensor)
    if found is None and tensor.op.type in {"Identity", "Cast"}:
        return _value(tensor.op.inputs[0])
    if found is None:
        raise NotPortable("a weight that is not known before the model runs")
    return found


def _as_number(condition: Any, like: Any) -> Any:
    return tf.cast(condition, like.dtype)
