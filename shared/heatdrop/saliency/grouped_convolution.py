"""Convolutions whose channels are divided into groups, such as depthwise ones, with gradients that LiteRT has too."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf
from typing_extensions import override

from heatdrop.saliency.operations import Array, Function, Operation, Padding


@dataclass(frozen=True, eq=False)
class GroupedConvolution(Operation):
    """A two-dimensional convolution in groups with a bias, and a ReLU if ``relu``.

    Attributes:
        kernel: (height, width, channels in of a group, channels out); the channels out of a group lie side by side.
        bias: (channels out,), or None.
        groups: how many; as many as channels in for a depthwise convolution.
        stride: of the window, in both directions.
        padding: with zeros, as TensorFlow names it.
        relu: whether the result is cut off at 0.
    """

    kernel: Array
    bias: Array | None
    groups: int
    stride: int = 1
    padding: Padding = "SAME"
    relu: bool = False

    @override
    def build(self, dtype: Any) -> Function:
        forward = self._convolution(self.kernel, dtype)
        backward = self._convolution(self._turned_kernel(), dtype)
        bias = None if self.bias is None else tf.constant(self.bias, dtype)

        def convolve(x: Any) -> Any:
            sizes = x.shape[1:3]
            pads = [self._pads(size, taps) for size, taps in zip(sizes, self.kernel.shape[:2], strict=True)]
            y = forward(x, self.stride, pads)
            if bias is not None:
                y = tf.nn.bias_add(y, bias)
            if self.relu:
                y = tf.nn.relu(y)

            def gradient(upstream: Any) -> Any:
                if self.relu:
                    upstream = upstream * tf.cast(y > 0, upstream.dtype)
                return self._backward(upstream, backward, sizes, pads)

            return y, gradient

        wrapped: Function = tf.custom_gradient(convolve)
        return wrapped

    def _backward(self, upstream: Any, convolve: Function, sizes: Sequence[int], pads: list[tuple[int, int]]) -> Any:
        """The gradient with respect to an image of ``sizes``: a convolution with the turned kernel.

        With a stride, zeros are put between the values first, where the window did not stand.
        """
        if self.stride > 1:
            zeros = tf.zeros_like(upstream)
            upstream = tf.nn.depth_to_space(tf.concat([upstream, *[zeros] * (self.stride**2 - 1)], -1), self.stride)
        around = []
        for axis, (size, (before, _)) in enumerate(zip(sizes, pads, strict=True)):
            taps, have = self.kernel.shape[axis], upstream.shape[1 + axis]
            start = taps - 1 - before
            around.append((start, size + taps - 1 - start - have))
        # What would reach beyond the image is zero, or never looked at.
        ends = [have + min(after, 0) for have, (_, after) in zip(upstream.shape[1:3], around, strict=True)]
        upstream = upstream[:, : ends[0], : ends[1]]
        return convolve(upstream, 1, [(start, max(after, 0)) for start, after in around])

    def _convolution(self, kernel: Array, dtype: Any) -> Function:
        """A convolution in these groups: (tensor, stride, padding of both sides)."""
        height, width, inputs, outputs = kernel.shape
        if inputs == 1:
            # TensorFlow and LiteRT compute a depthwise convolution otherwise, and faster.
            depthwise = tf.constant(kernel.reshape(height, width, self.groups, outputs // self.groups), dtype)

            def by_depth(x: Any, stride: int, pads: list[tuple[int, int]]) -> Any:
                if any(any(pair) for pair in pads):
                    x = tf.pad(x, [(0, 0), *pads, (0, 0)])
                return tf.nn.depthwise_conv2d(x, depthwise, [1, stride, stride, 1], "VALID")

            return by_depth
        constant = tf.constant(np.ascontiguousarray(kernel), dtype)
        return lambda x, stride, pads: tf.nn.conv2d(x, constant, stride, [(0, 0), *pads, (0, 0)])

    def _turned_kernel(self) -> Array:
        """The kernel of the gradient: upside down, and each group from its channels out to its channels in."""
        height, width, inputs, outputs = self.kernel.shape
        each = outputs // self.groups
        turned = self.kernel[::-1, ::-1].reshape(height, width, inputs, self.groups, each)
        return turned.transpose(0, 1, 4, 3, 2).reshape(height, width, each, self.groups * inputs)

    def _pads(self, size: int, taps: int) -> tuple[int, int]:
        if self.padding == "VALID":
            return 0, 0
        total = max((-(-size // self.stride) - 1) * self.stride + taps - size, 0)
        return total // 2, total - total // 2
