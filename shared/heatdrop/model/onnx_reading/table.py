"""The operators of ONNX that are read."""

from collections.abc import Callable, Sequence
from typing import Any

from keras import layers, ops

from heatdrop.model.onnx_reading import elementwise, shapes, weights, windows
from heatdrop.model.onnx_reading.elementwise import activation, unary, variadic, with_alpha
from heatdrop.model.onnx_reading.nodes import Node
from heatdrop.model.onnx_reading.shapes import reduction
from heatdrop.model.onnx_reading.values import Value

Read = Callable[[Node], Value | list[Value]]


def _length(x: Any, axis: Sequence[int]) -> Any:
    return ops.sqrt(ops.sum(ops.square(x), axis=axis))


OPERATORS: dict[str, Read] = {
    # Windows
    "AveragePool": windows.average_pool,
    "Conv": windows.convolution,
    "ConvTranspose": windows.transposed_convolution,
    "GlobalAveragePool": windows.global_pool(layers.GlobalAveragePooling2D),
    "GlobalMaxPool": windows.global_pool(layers.GlobalMaxPooling2D),
    "MaxPool": windows.max_pool,
    # Weights
    "BatchNormalization": weights.batch_normalisation,
    "Gemm": weights.general_product,
    "GroupNormalization": weights.group_normalisation,
    "InstanceNormalization": weights.instance_normalisation,
    "LayerNormalization": weights.layer_normalisation,
    "MatMul": weights.matrix_product,
    # Activations
    "Clip": elementwise.clip,
    "Elu": with_alpha(layers.ELU, 1.0),
    "Gelu": elementwise.gelu,
    "HardSigmoid": elementwise.hard_sigmoid,
    "HardSwish": activation("hard_silu"),
    "LeakyRelu": with_alpha(layers.LeakyReLU, 0.01),
    "LogSoftmax": elementwise.log_softmax,
    "Mish": activation("mish"),
    "PRelu": elementwise.parametric_relu,
    "Relu": unary(lambda x: layers.ReLU()(x), nonnegative=True),
    "Selu": activation("selu", keeps_sign=True),
    "Sigmoid": activation("sigmoid", nonnegative=True),
    "Softmax": elementwise.softmax,
    "Softplus": activation("softplus", nonnegative=True),
    "Softsign": activation("softsign", keeps_sign=True),
    "Tanh": activation("tanh", keeps_sign=True),
    # Arithmetic
    "Abs": unary(ops.abs, nonnegative=True),
    "Add": elementwise.binary,
    "Div": elementwise.binary,
    "Erf": unary(ops.erf, keeps_sign=True),
    "Exp": unary(ops.exp, nonnegative=True),
    "Log": unary(ops.log),
    "Max": variadic("Max"),
    "Mean": elementwise.mean,
    "Min": variadic("Min"),
    "Mul": elementwise.binary,
    "Neg": unary(ops.negative),
    "Pow": elementwise.binary,
    "Reciprocal": unary(ops.reciprocal, keeps_sign=True),
    "Sqrt": unary(ops.sqrt, nonnegative=True),
    "Sub": elementwise.binary,
    "Sum": variadic("Add"),
    # Conditions, as 1 and 0
    "And": elementwise.logical_and,
    **dict.fromkeys(("Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual"), elementwise.compare),
    "Not": elementwise.logical_not,
    "Where": elementwise.choose,
    # Shapes
    "Cast": shapes.cast,
    "Concat": shapes.concatenate,
    "DepthToSpace": shapes.depth_to_space,
    "Dropout": shapes.identity,
    "Expand": shapes.expand,
    "Flatten": shapes.flatten,
    "Gather": shapes.gather,
    "Identity": shapes.identity,
    "Pad": shapes.pad,
    "Reshape": shapes.reshape,
    "Resize": shapes.resize,
    "Slice": shapes.take,
    "SpaceToDepth": shapes.space_to_depth,
    "Split": shapes.split,
    "Squeeze": shapes.squeeze,
    "Tile": shapes.tile,
    "Transpose": shapes.transpose,
    "Unsqueeze": shapes.unsqueeze,
    # Reductions
    "ReduceL2": reduction(_length, nonnegative=True),
    "ReduceMax": reduction(ops.max),
    "ReduceMean": reduction(ops.mean),
    "ReduceMin": reduction(ops.min),
    "ReduceSum": reduction(ops.sum),
}
"""How each operator is read. ``Constant`` and ``Shape`` are always known beforehand, as is whatever takes only
constants (``folding``)."""
