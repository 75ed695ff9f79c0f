"""Which operations a call of one Keras layer, or of one function of ``keras.ops``, stands for."""

import re
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np

from heatdrop.errors import InvalidRequest
from heatdrop.saliency.elementwise import ClippedRelu, Product, Sum, ZeroPadding
from heatdrop.saliency.grouped_convolution import GroupedConvolution
from heatdrop.saliency.operations import (
    Activation,
    Affine,
    AveragePool,
    Concatenate,
    Convolution,
    Dense,
    GlobalAverage,
    MaxPool,
    Opaque,
    Operation,
    Rearrangement,
    Reference,
    Relu,
    Squash,
)

Shape = Sequence[int | None]

_IDENTITIES = (
    keras.layers.ActivityRegularization,
    keras.layers.AlphaDropout,
    keras.layers.Dropout,
    keras.layers.GaussianDropout,
    keras.layers.GaussianNoise,
    keras.layers.Identity,
)
"""Layers that leave their input as it is, except in training."""

_REARRANGEMENTS = {
    *("Cast", "Concatenate", "Copy", "Cropping1D", "Cropping2D", "ExpandDims", "Flatten", "Flip", "GetItem", "Hstack"),
    *("Moveaxis", "Permute", "Ravel", "Reshape", "Split", "Squeeze", "Stack", "Swapaxes", "Take", "Transpose"),
    *("Unstack", "Vstack"),
}
"""Names of Keras's layers and operations that move or pick values and change none."""

_REDUCTIONS = re.compile(r"Mean|Max|Amax|Min|Amin|Sum|Global(Average|Max)Pooling[123]D")
"""Names of those that change nothing either where all they do is to drop axes of length 1."""

_ACTIVATED = (
    keras.layers.Conv1D,
    keras.layers.Conv2D,
    keras.layers.Conv3D,
    keras.layers.Conv1DTranspose,
    keras.layers.Conv2DTranspose,
    keras.layers.Conv3DTranspose,
    keras.layers.Dense,
    keras.layers.DepthwiseConv1D,
    keras.layers.DepthwiseConv2D,
    keras.layers.EinsumDense,
    keras.layers.SeparableConv1D,
    keras.layers.SeparableConv2D,
)
"""Layers whose last step is their activation."""


def operations_of(layer: Any, call: Any) -> list[Operation] | None:
    """The operations that stand for ``layer`` as ``call`` uses it; None when only the layer itself will do.

    Args:
        layer: a Keras layer or operation.
        call: Keras's node of the call, which knows the shapes that go in and come out.

    Raises:
        InvalidRequest: it takes a softmax over the batch.
    """
    if _only_wraps(layer):
        return operations_of(layer.layer, call)
    if isinstance(layer, _IDENTITIES):
        return []
    shape = call.outputs[0].shape
    if isinstance(layer, keras.layers.Activation):
        return _activation(layer.activation, shape)
    if type(layer) is keras.layers.Softmax or _is_operation(layer, "Softmax"):
        return [_softmax(layer, layer.axis, shape)]
    if _is_operation(layer, "Sigmoid"):
        return [Squash("sigmoid")]
    if len(call.input_tensors) > 1 and type(layer) is not keras.layers.Concatenate:
        return _of_several(layer, call)
    if _is_rearrangement(layer, call):
        # A Concatenate along the channels has an operation of its own; all others are called as they are.
        return _concatenate(layer, shape) if type(layer) is keras.layers.Concatenate else None
    known = _OPERATIONS.get(type(layer))
    return known(layer, shape) if known and _computes_in_float32(layer) else None


def _of_several(layer: Any, call: Any) -> list[Operation] | None:
    """A sum of tensors of one shape, or a product of two of as many axes."""
    shapes = [tuple(tensor.shape) for tensor in call.input_tensors]
    if isinstance(layer, keras.Layer) and not _computes_in_float32(layer):
        return None
    if type(layer) is keras.layers.Add or _is_operation(layer, "Add"):
        return [Sum()] if len(set(shapes)) == 1 else None
    if type(layer) is keras.layers.Multiply or _is_operation(layer, "Multiply"):
        return [Product()] if len(shapes) == 2 and len(shapes[0]) == len(shapes[1]) else None
    return None


def kind_of(layer: Any, call: Any) -> type[Opaque]:
    """What is known of a layer that is called as it is."""
    if _is_rearrangement(layer, call):
        return Rearrangement
    is_activation = isinstance(layer, keras.Operation) and hasattr(keras.activations, _snake_case(type(layer).__name__))
    return Activation if is_activation else Opaque


def split_activation(layer: Any, call: Any) -> tuple[Any, list[Operation]]:
    """A layer that is called as it is, without its activation, and that activation, where that has to be known.

    A softmax must be found wherever it stands, and what is none named. ReLUs stay in their layers.
    """
    if not isinstance(layer, _ACTIVATED):
        return layer, []
    activation = _activation(layer.activation, call.outputs[0].shape)
    if not any(isinstance(operation, Squash | Activation) for operation in activation):
        return layer, []
    bare = type(layer).from_config({**layer.get_config(), "activation": None})
    bare.build(call.input_tensors[0].shape)
    bare.set_weights(layer.get_weights())
    return bare, activation


def _only_wraps(layer: Any) -> bool:
    """Whether a wrapper computes what the layer does that it wraps."""
    if isinstance(layer, keras.layers.TimeDistributed):
        return isinstance(layer.layer, keras.layers.Activation | keras.layers.Dense)
    # Its kernel was normalised in training and is kept so.
    return isinstance(layer, keras.layers.SpectralNormalization)


def _computes_in_float32(layer: Any) -> bool:
    return getattr(layer, "compute_dtype", None) == "float32"


def _is_operation(layer: Any, name: str) -> bool:
    """Whether this is the operation of ``keras.ops`` of that name: their classes are not public."""
    return not isinstance(layer, keras.Layer) and _is_of_keras(layer) and type(layer).__name__ == name


def _is_of_keras(layer: Any) -> bool:
    return type(layer).__module__.partition(".")[0] == "keras"


def _is_rearrangement(layer: Any, call: Any) -> bool:
    name = type(layer).__name__
    if not _is_of_keras(layer):
        return False
    if name in _REARRANGEMENTS:
        return True
    if not _REDUCTIONS.fullmatch(name) or len(call.input_tensors) != 1:
        return False
    before, after = (_longer_than_one(tensor.shape) for tensor in (call.input_tensors[0], call.outputs[0]))
    return before == after


def _longer_than_one(shape: Shape) -> list[int | None]:
    return [size for size in shape[1:] if size != 1]


def _snake_case(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()


def _batch_normalisation(layer: Any, shape: Shape) -> list[Operation] | None:
    if layer.axis not in (-1, len(shape) - 1):
        return None
    scale = 1 / np.sqrt(_float64(layer.moving_variance) + layer.epsilon)
    if layer.scale:
        scale = scale * _float64(layer.gamma)
    shift = -_float64(layer.moving_mean) * scale
    return [Affine(scale, shift + _float64(layer.beta) if layer.center else shift)]


def _convolution(layer: Any, shape: Shape) -> list[Operation] | None:
    plain = layer.data_format == "channels_last" and set(layer.dilation_rate) == {1}
    if not plain or len(set(layer.strides)) > 1:
        return None
    kernel, bias = np.asarray(layer.kernel), _float64(layer.bias) if layer.use_bias else None
    how = layer.strides[0], layer.padding.upper()
    convolution = (
        Convolution(kernel, bias, *how) if layer.groups == 1 else GroupedConvolution(kernel, bias, layer.groups, *how)
    )
    return [convolution, *_activation(layer.activation, shape)]


def _depthwise_convolution(layer: Any, shape: Shape) -> list[Operation] | None:
    plain = layer.data_format == "channels_last" and set(layer.dilation_rate) == {1}
    if not plain or len(set(layer.strides)) > 1:
        return None
    kernel, bias = np.asarray(layer.kernel), _float64(layer.bias) if layer.use_bias else None
    height, width, channels, multiplier = kernel.shape
    kernel = kernel.reshape(height, width, 1, channels * multiplier)
    convolution = GroupedConvolution(kernel, bias, channels, layer.strides[0], layer.padding.upper())
    return [convolution, *_activation(layer.activation, shape)]


def _zero_padding(layer: Any, shape: Shape) -> list[Operation] | None:
    if layer.data_format != "channels_last":
        return None
    rows, columns = layer.padding
    return [ZeroPadding((tuple(rows), tuple(columns)))]


def _dense(layer: Any, shape: Shape) -> list[Operation]:
    bias = _float64(layer.bias) if layer.use_bias else None
    return [Dense(np.asarray(layer.kernel), bias), *_activation(layer.activation, shape)]


def _relu(layer: Any, shape: Shape) -> list[Operation] | None:
    if layer.negative_slope or layer.threshold:
        return None
    return [Relu() if layer.max_value is None else ClippedRelu(float(layer.max_value))]


def _activation(function: Any, shape: Shape) -> list[Operation]:
    """What an activation function, or a layer in the place of one, does to a tensor of this shape."""
    if function in (None, keras.activations.linear) or isinstance(function, keras.layers.Identity):
        return []
    if function in (keras.activations.relu, keras.ops.relu):
        return [Relu()]
    if function in (keras.activations.relu6, keras.ops.relu6):
        return [ClippedRelu(6.0)]
    if function in (keras.activations.sigmoid, keras.ops.sigmoid):
        return [Squash("sigmoid")]
    if function in (keras.activations.softmax, keras.ops.softmax):
        return [_softmax(function, -1, shape)]
    if type(function) is keras.layers.Softmax:
        return [_softmax(function, function.axis, shape)]
    if type(function) is keras.layers.Activation:
        return _activation(function.activation, shape)
    return [Activation(function, ((Reference(0),), {}))]


def _softmax(layer: Any, axis: Any, shape: Shape) -> Squash:
    given = range(len(shape)) if axis is None else keras.tree.flatten(axis)
    axes = tuple(sorted(index % len(shape) for index in given))
    if 0 in axes:
        name = getattr(layer, "name", "softmax")
        raise InvalidRequest(
            f"the layer {name!r} takes its softmax over the images of a batch; take it over the classes"
        )
    return Squash("softmax", axes, int(np.prod([shape[index] or 0 for index in axes])))


def _pool(kind: type[AveragePool] | type[MaxPool]) -> Callable[[Any, Shape], list[Operation] | None]:
    def read(layer: Any, shape: Shape) -> list[Operation] | None:
        if layer.data_format != "channels_last":
            return None
        return [kind(tuple(layer.pool_size), tuple(layer.strides), layer.padding.upper())]

    return read


def _global_average(layer: Any, shape: Shape) -> list[Operation] | None:
    return [GlobalAverage()] if layer.data_format == "channels_last" and not layer.keepdims else None


def _concatenate(layer: Any, shape: Shape) -> list[Operation] | None:
    return [Concatenate()] if layer.axis in (-1, len(shape) - 1) else None


def _float64(variable: Any) -> Any:
    return np.asarray(variable, np.float64)


_OPERATIONS: dict[type, Callable[[Any, Shape], list[Operation] | None]] = {
    keras.layers.AveragePooling2D: _pool(AveragePool),
    keras.layers.BatchNormalization: _batch_normalisation,
    keras.layers.Conv2D: _convolution,
    keras.layers.Dense: _dense,
    keras.layers.DepthwiseConv2D: _depthwise_convolution,
    keras.layers.GlobalAveragePooling2D: _global_average,
    keras.layers.MaxPooling2D: _pool(MaxPool),
    keras.layers.ReLU: _relu,
    keras.layers.ZeroPadding2D: _zero_padding,
}
