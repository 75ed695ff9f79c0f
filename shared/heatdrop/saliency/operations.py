"""The operations of a network: weights in NumPy, which can be rewritten, and how each is computed in TensorFlow.

An operation has the value and the gradient of the Keras layer it stands for; only the cost differs. Images are
(B, H, W, C). Kernels are those of ``tf.nn.conv2d``: (height, width, channels in, channels out).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray
from typing_extensions import override

Array = NDArray[Any]
Function = Callable[..., Any]
Padding = Literal["SAME", "VALID"]
Squashing = Literal["softmax", "sigmoid"]


class Operation:
    """One step of a network."""

    def build(self, dtype: Any) -> Function:
        """The operation as a function of tensors of ``dtype``, a TensorFlow type. Its constants are made once, here."""
        raise NotImplementedError

    def build_plain(self, dtype: Any) -> Function:
        """The same without a gradient of our own, so that ``gradient_graph`` can choose one that LiteRT can compute."""
        return self.build(dtype)


@dataclass(frozen=True, eq=False)
class Affine(Operation):
    """``x * scale + shift`` for each channel (the last axis), as a batch normalisation does outside training.

    ``scale`` None stands for 1.
    """

    scale: Array | None
    shift: Array

    @override
    def build(self, dtype: Any) -> Function:
        shift = tf.constant(self.shift, dtype) if self.shift.any() else None
        scale = None if self.scale is None else tf.constant(self.scale, dtype)

        def affine(x: Any) -> Any:
            scaled = x if scale is None else x * scale
            return scaled if shift is None else tf.nn.bias_add(scaled, shift)

        return affine


@dataclass(frozen=True, eq=False)
class Relu(Operation):
    """``max(x, 0)``."""

    @override
    def build(self, dtype: Any) -> Function:
        relu: Function = tf.nn.relu
        return relu


@dataclass(frozen=True, eq=False)
class Convolution(Operation):
    """A two-dimensional convolution with a bias, and a ReLU if ``relu``."""

    kernel: Array
    bias: Array | None
    stride: int = 1
    padding: Padding = "SAME"
    relu: bool = False

    @property
    def pads(self) -> bool:
        """Whether zeros are put around the image."""
        return self.padding == "SAME" and self.kernel.shape[:2] != (1, 1)

    @override
    def build(self, dtype: Any) -> Function:
        kernel = tf.constant(self.kernel, dtype)
        bias = None if self.bias is None else tf.constant(self.bias, dtype)
        backward = self._backward(kernel, dtype)

        def convolve(x: Any) -> Any:
            y = self._convolve(x, kernel, bias)

            def gradient(upstream: Any) -> Any:
                if self.relu:
                    upstream = tf.raw_ops.ReluGrad(gradients=upstream, features=y)
                return backward(upstream, x)

            return y, gradient

        return _with_own_gradient(convolve)

    @override
    def build_plain(self, dtype: Any) -> Function:
        kernel = tf.constant(self.kernel, dtype)
        bias = None if self.bias is None else tf.constant(self.bias, dtype)
        return lambda x: self._convolve(x, kernel, bias)

    def _convolve(self, x: Any, kernel: Any, bias: Any) -> Any:
        y = tf.nn.conv2d(x, kernel, self.stride, self.padding)
        if bias is not None:
            y = tf.nn.bias_add(y, bias)
        return tf.nn.relu(y) if self.relu else y

    def _backward(self, kernel: Any, dtype: Any) -> Function:
        """The gradient with respect to the input, given the one with respect to the output and the input itself.

        On a CPU, TensorFlow's gradient of a convolution takes twice as long as a convolution of the same size: so the
        gradient is computed as a convolution.
        """
        height, width = self.kernel.shape[:2]
        if self.stride == 1:
            flipped = tf.constant(np.ascontiguousarray(self.kernel[::-1, ::-1].transpose(0, 1, 3, 2)), dtype)
            padding = [[0, 0], self._backward_padding(height), self._backward_padding(width), [0, 0]]
            symmetric = self.padding == "SAME" and height % 2 == width % 2 == 1
            return lambda upstream, x: tf.nn.conv2d(upstream, flipped, 1, "SAME" if symmetric else padding)
        if self.padding == "VALID" and min(height, width) >= 2 * self.stride > 2:
            return self._backward_by_phases(dtype)
        return lambda upstream, x: tf.raw_ops.Conv2DBackpropInput(
            input_sizes=tf.shape(x),
            filter=kernel,
            out_backprop=upstream,
            strides=[1, self.stride, self.stride, 1],
            padding=self.padding,
        )

    def _backward_padding(self, size: int) -> list[int]:
        before = (size - 1) // 2 if self.padding == "SAME" else 0
        after = size - 1 - before if self.padding == "SAME" else 0
        return [size - 1 - before, size - 1 - after]

    def _backward_by_phases(self, dtype: Any) -> Function:
        """The gradient of a convolution of stride s as s x s small convolutions, computed as one.

        The gradient of row u = s i + p is the sum over j of upstream[i - j] * kernel[s j + p]: a convolution of the
        upstream gradient with every s-th row of the kernel, a different one for each phase p = 0 .. s - 1.
        """
        height, width, channels, outputs = self.kernel.shape
        stride, reach = self.stride, -(-max(height, width) // self.stride)
        taps = np.zeros((reach * stride, reach * stride, channels, outputs), self.kernel.dtype)
        taps[:height, :width] = self.kernel
        taps = taps.reshape(reach, stride, reach, stride, channels, outputs)[::-1, :, ::-1]
        phases = taps.transpose(0, 2, 5, 1, 3, 4).reshape(reach, reach, outputs, stride * stride * channels)
        kernel = tf.constant(np.ascontiguousarray(phases), dtype)

        def backward(upstream: Any, x: Any) -> Any:
            (rows, columns), (high, wide) = x.shape[1:3], upstream.shape[1:3]
            padding = [
                [0, 0],
                [reach - 1, -(-rows // stride) - high],
                [reach - 1, -(-columns // stride) - wide],
                [0, 0],
            ]
            gradient = tf.nn.depth_to_space(tf.nn.conv2d(upstream, kernel, 1, padding), stride)
            return gradient[:, :rows, :columns]

        return backward


@dataclass(frozen=True, eq=False)
class AveragePool(Operation):
    """The mean of each window; padding does not count."""

    size: tuple[int, int]
    strides: tuple[int, int]
    padding: Padding

    @override
    def build(self, dtype: Any) -> Function:
        return lambda x: tf.nn.avg_pool2d(x, self.size, self.strides, self.padding)


@dataclass(frozen=True, eq=False)
class MaxPool(Operation):
    """The greatest value of each window."""

    size: tuple[int, int]
    strides: tuple[int, int]
    padding: Padding

    @override
    def build(self, dtype: Any) -> Function:
        return self.build_plain(dtype) if tf.config.list_physical_devices("GPU") else self._remembering

    @override
    def build_plain(self, dtype: Any) -> Function:
        return lambda x: tf.nn.max_pool2d(x, self.size, self.strides, self.padding)

    @property
    def _remembering(self) -> Function:
        """Keeps the place of each maximum. TensorFlow's own gradient looks for it again for every class."""
        window = {"ksize": [1, *self.size, 1], "strides": [1, *self.strides, 1], "padding": self.padding}

        def pool(x: Any) -> Any:
            y, where = tf.raw_ops.MaxPoolWithArgmax(input=x, **window)

            def gradient(upstream: Any) -> Any:
                return tf.raw_ops.MaxPoolGradWithArgmax(input=x, grad=upstream, argmax=where, **window)

            return y, gradient

        return _with_own_gradient(pool)


@dataclass(frozen=True, eq=False)
class GlobalAverage(Operation):
    """(B, H, W, C) to (B, C)."""

    @override
    def build(self, dtype: Any) -> Function:
        return lambda x: tf.reduce_mean(x, axis=[1, 2])


@dataclass(frozen=True, eq=False)
class Dense(Operation):
    """(B, channels in) to (B, channels out)."""

    kernel: Array
    bias: Array | None

    @override
    def build(self, dtype: Any) -> Function:
        kernel = tf.constant(self.kernel, dtype)
        bias = tf.constant(np.zeros(self.kernel.shape[1]) if self.bias is None else self.bias, dtype)
        return lambda x: tf.nn.bias_add(tf.matmul(x, kernel), bias)


@dataclass(frozen=True, eq=False)
class Concatenate(Operation):
    """Several tensors joined along their last axis, the channels."""

    @override
    def build(self, dtype: Any) -> Function:
        return lambda *tensors: tf.concat(tensors, axis=-1)


@dataclass(frozen=True, eq=False)
class Squash(Operation):
    """Logits to probabilities, computed in float32 whatever the network computes in.

    Attributes:
        name: which function.
        axes: the axes that a softmax sums to 1 over, 0 being the batch; empty for a sigmoid.
        size: how many values those axes hold.
    """

    name: Squashing
    axes: tuple[int, ...] = ()
    size: int = 1

    @override
    def build(self, dtype: Any) -> Function:
        return lambda x: tf.cast(self._squash(tf.cast(x, tf.float32)), dtype)

    def _squash(self, x: Any) -> Any:
        if self.name == "sigmoid":
            return tf.nn.sigmoid(x)
        if len(self.axes) == 1:
            return tf.nn.softmax(x, self.axes[0])
        return tf.exp(x - tf.reduce_logsumexp(x, self.axes, keepdims=True))


@dataclass(frozen=True)
class Reference:
    """Stands for the i-th input among the arguments of an ``Opaque`` operation."""

    position: int


@dataclass(frozen=True, eq=False)
class Opaque(Operation):
    """Any other Keras layer or operation, called as it is; TensorFlow differentiates it."""

    layer: Function
    arguments: Any
    """(args, kwargs) as Keras recorded them, with ``Reference`` in place of tensors."""
    several: bool = False
    """Whether it has several results; they are given as one flat list, of which ``Item`` takes one."""

    @override
    def build(self, dtype: Any) -> Function:
        def call(*tensors: Any) -> Any:
            args, kwargs = keras.tree.map_structure(
                lambda leaf: tensors[leaf.position] if isinstance(leaf, Reference) else leaf, self.arguments
            )
            results = [_as_float(leaf, dtype) for leaf in keras.tree.flatten(self.layer(*args, **kwargs))]
            return results if self.several else results[0]

        return call

    @override
    def build_plain(self, dtype: Any) -> Function:
        """With the layer's variables as constants: LiteRT would read variables that were never written."""
        call = self.build(dtype)
        with tf.init_scope():
            values = [(variable, variable.numpy()) for variable in getattr(self.layer, "variables", [])]

        def call_with_constants(*tensors: Any) -> Any:
            with keras.StatelessScope(state_mapping=[(variable, tf.constant(value)) for variable, value in values]):
                return call(*tensors)

        return call_with_constants


@dataclass(frozen=True, eq=False)
class Rearrangement(Opaque):
    """Moves or picks values without changing any of them: a reshape, a transpose, a slice, a cast."""


@dataclass(frozen=True, eq=False)
class Activation(Opaque):
    """Any activation function that is neither ReLU, softmax nor sigmoid."""


@dataclass(frozen=True, eq=False)
class Item(Operation):
    """One of the several results of an ``Opaque`` operation."""

    position: int

    @override
    def build(self, dtype: Any) -> Function:
        return lambda results: results[self.position]


def _as_float(value: Any, dtype: Any) -> Any:
    """A floating-point tensor in the network's ``dtype``; indices, masks and None stay what they are."""
    is_float = tf.is_tensor(value) and value.dtype.is_floating
    return tf.cast(value, dtype) if is_float else value


def _with_own_gradient(function: Function) -> Function:
    """A function whose gradient is the one given; ``function`` returns (value, gradient function)."""
    wrapped: Function = tf.custom_gradient(function)
    return wrapped
