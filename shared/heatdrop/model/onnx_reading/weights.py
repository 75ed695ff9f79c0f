"""Operators with weights that are no convolutions: products of matrices and normalisations."""

from dataclasses import replace

import keras
import numpy as np
from keras import layers

from heatdrop.model.onnx_reading.files import Array
from heatdrop.model.onnx_reading.nodes import Node
from heatdrop.model.onnx_reading.values import Value
from heatdrop.model.onnx_reading.windows import affine, with_weights


def dense(value: Value, kernel: Array, bias: Array | None = None) -> Value:
    """The product of the last of ONNX's axes and a matrix (before, after)."""
    stored = value.with_last(value.rank - 1)
    layer = layers.Dense(kernel.shape[1], use_bias=bias is not None)
    return replace(
        stored, tensor=with_weights(layer, stored.tensor, np.asarray(kernel, np.float32), bias), nonnegative=False
    )


def matrix_product(node: Node) -> Value:
    """MatMul of an image's values with a matrix, on either side, or with one another."""
    left, right = node.input(0), node.input(1)
    if isinstance(left, Value) and isinstance(right, Value):
        return _product(node, left, right)
    if isinstance(left, Value) and left.rank > 1:
        kernel = node.constant(1)
        if kernel.ndim == 2 and kernel.shape[0] == left.shape[-1]:
            return dense(left, kernel)
    elif isinstance(right, Value) and right.rank > 1:
        kernel = node.constant(0)
        if kernel.ndim == 2 and kernel.shape[1] == right.shape[-2]:
            # A x = (x' A')'
            swapped = [*range(right.rank - 2), right.rank - 1, right.rank - 2]
            return dense(right.transposed(swapped), kernel.T).transposed(swapped)
    return node.refuse("multiplies matrices that do not fit")


def _product(node: Node, left: Value, right: Value) -> Value:
    rank = max(left.rank, right.rank)
    if min(left.rank, right.rank) < 2 or left.shape[-1] != right.shape[-2]:
        node.refuse("multiplies matrices that do not fit")
    left, right = left.of_rank(rank), right.of_rank(rank)
    outer = [axis for axis in range(rank - 2) if left.shape[axis] != 1 or right.shape[axis] != 1]
    axes = (*outer, rank - 2, rank - 1)
    return Value(keras.ops.matmul(left.arranged(axes), right.arranged(axes)), axes, rank)


def general_product(node: Node) -> Value:
    """Gemm: ``alpha * x @ w + beta * b``."""
    value, kernel, bias = node.value(), node.constant(1), node.optional_constant(2)
    if node.get("transA", 0) or value.rank != 2 or kernel.ndim != 2:
        node.refuse("turns what it multiplies, or multiplies no matrices")
    kernel = (kernel.T if node.get("transB", 0) else kernel) * np.float32(node.get("alpha", 1.0))
    if kernel.shape[0] != value.shape[1] or (bias is not None and bias.size not in (1, kernel.shape[1])):
        node.refuse("multiplies matrices that do not fit")
    if bias is not None:
        bias = np.broadcast_to(bias.reshape(-1) * np.float32(node.get("beta", 1.0)), kernel.shape[1:])
    return dense(value, kernel, bias)


def batch_normalisation(node: Node) -> Value:
    """BatchNormalization outside training."""
    if node.get("training_mode", 0) or any(node.outputs[1:]):
        node.refuse("is in training mode; export the model after model.eval()")
    value = node.value()
    scale, shift, mean, variance = (node.constant(position) for position in range(1, 5))
    if value.rank < 2 or {array.shape for array in (scale, shift, mean, variance)} != {(value.shape[1],)}:
        node.refuse("has statistics that do not fit its channels")
    stored = value.with_last(1)
    layer = layers.BatchNormalization(epsilon=float(node.get("epsilon", 1e-5)))
    computed = layer(stored.tensor)
    layer.set_weights([scale, shift, mean, variance])
    return replace(stored, tensor=computed, nonnegative=False)


def layer_normalisation(node: Node) -> Value:
    """LayerNormalization over the last of ONNX's axes, wherever they are stored."""
    if any(node.outputs[1:]):
        node.refuse("also gives its statistics")
    value, scale, shift = node.value(), node.constant(1), node.optional_constant(2)
    axes = list(range(node.axis(-1, value.rank), value.rank))
    scale = np.broadcast_to(scale, [value.shape[axis] for axis in axes])
    stored = value.with_last(axes[0]) if len(axes) == 1 else value
    # Axes that are not stored have the length 1.
    positions = [position for position, axis in enumerate(stored.axes, start=1) if axis in axes]
    order = [axes.index(stored.axes[position - 1]) for position in positions]
    layer = layers.LayerNormalization(
        axis=positions, epsilon=float(node.get("epsilon", 1e-5)), center=shift is not None
    )
    computed = layer(stored.tensor)
    sizes = [stored.tensor.shape[position] for position in positions]
    weights = [scale] if shift is None else [scale, np.broadcast_to(shift, scale.shape)]
    spare = tuple(index for index in range(len(axes)) if index not in order)
    layer.set_weights([weight.transpose([*order, *spare]).reshape(sizes).astype(np.float32) for weight in weights])
    return replace(stored, tensor=computed, nonnegative=False)


def instance_normalisation(node: Node) -> Value:
    """InstanceNormalization: each channel of each image by itself, over all axes behind the channels."""
    value, scale, shift = node.value(), node.constant(1), node.constant(2)
    stored = value.with_last(1)
    positions = [position for position, axis in enumerate(stored.axes, start=1) if axis > 1]
    if not positions or scale.size != value.shape[1]:
        node.refuse("normalises single values, or has scales that do not fit its channels")
    layer = layers.LayerNormalization(
        axis=positions, epsilon=float(node.get("epsilon", 1e-5)), center=False, scale=False
    )
    return replace(stored, tensor=affine(layer(stored.tensor), scale, shift), nonnegative=False)


def group_normalisation(node: Node) -> Value:
    """GroupNormalization: opset 18 has a scale a group, later ones a scale a channel."""
    value, groups = node.value(), int(node.get("num_groups", 1))
    channels = value.shape[1] if value.rank > 1 else 1
    if groups < 1 or channels % groups:
        node.refuse(f"divides {channels} channels into {groups} groups")
    weights = [node.constant(position).reshape(-1) for position in (1, 2)]
    weights = [np.repeat(weight, channels // weight.size) for weight in weights]
    stored = value.with_last(1)
    layer = layers.GroupNormalization(groups, epsilon=float(node.get("epsilon", 1e-5)))
    computed = layer(stored.tensor)
    layer.set_weights(weights)
    return replace(stored, tensor=computed, nonnegative=False)
