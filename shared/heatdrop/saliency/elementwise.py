"""Operations between tensors of one shape, and around them, with gradients that LiteRT has too."""

from dataclasses import dataclass
from typing import Any

import tensorflow as tf
from typing_extensions import override

from heatdrop.saliency.operations import Function, Operation


@dataclass(frozen=True, eq=False)
class Sum(Operation):
    """The sum of tensors of one shape, as where a residual network joins."""

    @override
    def build(self, dtype: Any) -> Function:
        return lambda *tensors: tf.add_n(tensors)


@dataclass(frozen=True, eq=False)
class Product(Operation):
    """The product of two tensors, axes of length 1 repeated: a gate for each channel, for example."""

    @override
    def build(self, dtype: Any) -> Function:
        def multiply(x: Any, y: Any) -> Any:
            def gradient(upstream: Any) -> Any:
                return _summed_to(upstream * y, x), _summed_to(upstream * x, y)

            return x * y, gradient

        wrapped: Function = tf.custom_gradient(multiply)
        return wrapped


@dataclass(frozen=True, eq=False)
class ZeroPadding(Operation):
    """Zeros around images.

    Attributes:
        pads: (before, after) for the height and for the width.
    """

    pads: tuple[tuple[int, int], tuple[int, int]]

    @override
    def build(self, dtype: Any) -> Function:
        (top, _), (left, _) = self.pads

        def pad(x: Any) -> Any:
            height, width = x.shape[1:3]

            def gradient(upstream: Any) -> Any:
                return upstream[:, top : top + height, left : left + width]

            return tf.pad(x, [(0, 0), *self.pads, (0, 0)]), gradient

        wrapped: Function = tf.custom_gradient(pad)
        return wrapped


@dataclass(frozen=True, eq=False)
class ClippedRelu(Operation):
    """``min(max(x, 0), most)``; the gradient is 0 at both ends, as TensorFlow has it."""

    most: float

    @override
    def build(self, dtype: Any) -> Function:
        def clip(x: Any) -> Any:
            def gradient(upstream: Any) -> Any:
                return upstream * tf.cast((x > 0) & (x < self.most), upstream.dtype)

            return tf.minimum(tf.nn.relu(x), tf.cast(self.most, x.dtype)), gradient

        wrapped: Function = tf.custom_gradient(clip)
        return wrapped


def _summed_to(gradient: Any, like: Any) -> Any:
    """The gradient summed along the axes that ``like`` was repeated along."""
    axes = [axis for axis in range(1, len(like.shape)) if like.shape[axis] == 1 and gradient.shape[axis] != 1]
    return tf.reduce_sum(gradient, axes, keepdims=True) if axes else gradient
