"""Operations of our own have the values and gradients of Keras's layers, by operations that LiteRT has."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter
from keras import layers, ops

from heatdrop.quiet import native_output_hidden
from heatdrop.saliency.elementwise import ClippedRelu, Product, Sum, ZeroPadding
from heatdrop.saliency.grouped_convolution import GroupedConvolution
from heatdrop.saliency.operations import Opaque
from heatdrop.saliency.reading import read_network
from heatdrop.saliency.rewriting import simplify

BUILT_IN = {
    *("ADD", "CAST", "CONCATENATION", "CONV_2D", "DEPTHWISE_CONV_2D", "DEPTH_TO_SPACE", "FILL", "GREATER", "LESS"),
    *("LOGICAL_AND", "MINIMUM", "MUL", "PAD", "PADV2", "RELU", "RELU6", "RESHAPE", "SLICE", "STRIDED_SLICE", "SUM"),
    *("SHAPE", "TRANSPOSE", "ADD_N", "PACK", "BROADCAST_TO", "ZEROS_LIKE"),
}


def depthwise(**settings):
    return lambda x: layers.DepthwiseConv2D(bias_initializer="normal", **settings)(x)


def grouped(filters, size, **settings):
    return lambda x: layers.Conv2D(filters, size, groups=2, bias_initializer="normal", **settings)(x)


CASES = {
    "depthwise": (depthwise(kernel_size=3, padding="same"), GroupedConvolution),
    "depthwise, valid": (depthwise(kernel_size=(3, 2)), GroupedConvolution),
    "depthwise, stride 2": (depthwise(kernel_size=3, strides=2, padding="same"), GroupedConvolution),
    "depthwise, stride 2, valid": (depthwise(kernel_size=5, strides=2), GroupedConvolution),
    "depthwise, stride 3, small": (depthwise(kernel_size=2, strides=3), GroupedConvolution),
    "depthwise, one pixel, stride 2": (depthwise(kernel_size=1, strides=2), GroupedConvolution),
    "depthwise, multiplied": (depthwise(kernel_size=3, depth_multiplier=2), GroupedConvolution),
    "depthwise, no bias": (depthwise(kernel_size=3, use_bias=False), GroupedConvolution),
    "depthwise with a ReLU": (depthwise(kernel_size=3, activation="relu"), GroupedConvolution),
    "grouped": (grouped(6, 3, padding="same"), GroupedConvolution),
    "grouped, stride 2": (grouped(8, (3, 5), strides=2), GroupedConvolution),
    "grouped, even, same, stride 2": (grouped(4, 4, strides=2, padding="same"), GroupedConvolution),
    "grouped with a ReLU": (grouped(4, 1, activation="relu"), GroupedConvolution),
    "padding": (lambda x: layers.ZeroPadding2D(((1, 2), (0, 3)))(x), ZeroPadding),
    "ReLU6": (lambda x: layers.ReLU(0.5)(x), ClippedRelu),
    "ReLU6 as an activation": (lambda x: layers.Activation("relu6")(x * 9), ClippedRelu),
    "sum": (lambda x: layers.Add()([ops.tanh(x), ops.square(x), x]), Sum),
    "sum by an operation": (lambda x: ops.tanh(x) + ops.square(x), Sum),
    "product": (lambda x: layers.Multiply()([ops.tanh(x), x]), Product),
    "gate": (lambda x: x * layers.GlobalAveragePooling2D(keepdims=True)(x), Product),
}


def model_of(body):
    keras.utils.set_random_seed(4)
    inputs = keras.Input((11, 12, 4))
    return keras.Model(inputs, body(inputs))


def value_and_gradient(function, x, weights=None):
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = function(x)
        weights = np.random.default_rng(7).standard_normal(y.shape).astype(np.float32)
        total = tf.reduce_sum(y * weights)
    return y.numpy(), tape.gradient(total, x).numpy()


def network_like_keras(body, images: int):
    """The rewritten network of a model, which gives so many images the values and gradients that Keras gives them."""
    model = model_of(body)
    network = simplify(read_network(model))
    x = tf.constant(np.random.default_rng(3).standard_normal((images, 11, 12, 4)).astype(np.float32))

    value, gradient = value_and_gradient(network.build(), x)

    wanted, wanted_gradient = value_and_gradient(lambda x: model(x, training=False), x)
    np.testing.assert_allclose(value, wanted, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(gradient, wanted_gradient, rtol=1e-4, atol=1e-5)
    return network


@pytest.mark.parametrize("name", CASES)
def test_values_and_gradients_are_those_of_keras(name: str) -> None:
    body, kind = CASES[name]
    network = network_like_keras(body, images=2)
    assert any(isinstance(node.operation, kind) for node in network.nodes)


@pytest.mark.parametrize("name", CASES)
def test_gradients_are_made_of_operations_that_lite_rt_has(name: str) -> None:
    body, kind = CASES[name]
    operation = next(
        node for node in simplify(read_network(model_of(body))).nodes if isinstance(node.operation, kind)
    ).operation
    count = {Sum: 2, Product: 2}.get(kind, 1)
    shapes = [(1, 11, 12, 4)] * count if name != "gate" else [(1, 11, 12, 4), (1, 1, 1, 4)]

    def gradients(*inputs):
        y = operation.build(tf.float32)(*inputs)
        return tf.gradients(tf.reduce_sum(y * y), list(inputs))

    function = tf.function(gradients).get_concrete_function(*[tf.TensorSpec(shape, tf.float32) for shape in shapes])
    with native_output_hidden():
        content = tf.lite.TFLiteConverter.from_concrete_functions([function]).convert()
        interpreter = Interpreter(model_content=content)
    used = {each["op_name"] for each in interpreter._get_ops_details()} - {"DELEGATE"}
    assert used <= BUILT_IN


def test_a_normalisation_and_a_relu_behind_a_depthwise_convolution_become_part_of_it() -> None:
    def body(x):
        x = layers.DepthwiseConv2D(3, use_bias=False)(x)
        return layers.ReLU()(layers.BatchNormalization(gamma_initializer="normal", beta_initializer="normal")(x))

    (node,) = simplify(read_network(model_of(body))).nodes[1:]

    assert isinstance(node.operation, GroupedConvolution)
    assert node.operation.relu


@pytest.mark.parametrize(
    "body",
    [
        lambda x: layers.Add()([x, x]),
        lambda x: x * x,
        lambda x: ops.add(x, 1.5),
        lambda x: layers.Multiply()([x, ops.tanh(x), ops.square(x)]),
        lambda x: x + layers.GlobalAveragePooling2D()(x)[:, None, None],
        lambda x: layers.Conv2D(4, 3, groups=2, dilation_rate=2)(x),
        lambda x: layers.ReLU(6.0, negative_slope=0.1)(x),
    ],
)
def test_what_is_more_than_that_is_left_to_keras(body) -> None:
    network = network_like_keras(body, images=4)
    assert any(isinstance(node.operation, Opaque) for node in network.nodes)
