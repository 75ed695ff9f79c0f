"""The gradients that LiteRT can compute are those of TensorFlow, for every way in which an operation is used."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers, ops

from heatdrop.saliency.portable_gradients import NotPortable, portable_gradients

RANDOM = np.random.default_rng(2)
PADDINGS = ("same", "valid")
CONVOLUTIONS = [(size, stride, padding) for size in (1, 2, 3, 7) for stride in (1, 2, 3) for padding in PADDINGS]
POOLINGS = [(2, 2), (3, 2), (3, 1), (2, 3), (4, 4)]
ACTIVATIONS = ("relu", "relu6", "leaky_relu", "elu", "selu", "sigmoid", "tanh", "softplus", "softsign", "gelu", "silu")
LAYERS = {
    **{f"convolution {case}": layers.Conv2D(4, case[0], case[1], padding=case[2]) for case in CONVOLUTIONS},
    **{f"depthwise {case}": layers.DepthwiseConv2D(case[0], case[1], padding=case[2]) for case in CONVOLUTIONS},
    "depthwise with a multiplier": layers.DepthwiseConv2D(3, 2, padding="same", depth_multiplier=3),
    "separable": layers.SeparableConv2D(4, 3, padding="same"),
    **{
        f"{kind.__name__} {size} {stride} {padding}": kind(size, stride, padding=padding)
        for kind in (layers.MaxPooling2D, layers.AveragePooling2D)
        for size, stride in POOLINGS
        for padding in PADDINGS
    },
    **{name: layers.Activation(name) for name in ACTIVATIONS},
    "softmax": layers.Softmax(),
    "batch normalisation": layers.BatchNormalization(),
    "layer normalisation": layers.LayerNormalization(),
    "padding": layers.ZeroPadding2D(((1, 2), (0, 3))),
    "cropping": layers.Cropping2D(((1, 2), (0, 3))),
    "enlarging": layers.UpSampling2D(2),
    "concatenation": lambda x: ops.concatenate([x, 2 * x, ops.tanh(x)], axis=-1),
    "squeeze and excite": lambda x: x * ops.sigmoid(ops.mean(x, axis=(1, 2), keepdims=True)),
    "a slice": lambda x: x[:, 1:-2, 3, 1:],
    "roots": lambda x: ops.sqrt(ops.square(x) + 1) + ops.rsqrt(ops.square(x) + 1) + 1 / (x * x + 1),
}


def gradient(layer, images, upstream):
    """Of the sum of the results, weighted by ``upstream``; computed in a graph as the layer adds it."""

    def compute(x):
        y = layer(x)
        weights = tf.constant(upstream[: int(np.prod(y.shape))].reshape(y.shape))
        return tf.gradients(y, x, weights)[0]

    return tf.function(compute, autograph=False)(tf.constant(images)).numpy()


@pytest.mark.parametrize("name", LAYERS)
def test_gradient_is_that_of_tensorflow(name):
    layer = LAYERS[name]
    images = RANDOM.standard_normal((2, 13, 11, 3)).astype(np.float32)
    upstream = RANDOM.standard_normal(60_000).astype(np.float32)
    if isinstance(layer, layers.Layer):
        layer.build(images.shape)
        layer.set_weights([RANDOM.uniform(0.5, 1.5, weights.shape) for weights in layer.get_weights()])

    values = [(variable, variable.numpy()) for variable in getattr(layer, "variables", [])]

    def portable(x):
        constants = [(variable, tf.constant(value)) for variable, value in values]
        with portable_gradients(), keras.StatelessScope(state_mapping=constants):
            return layer(x)

    np.testing.assert_allclose(
        gradient(portable, images, upstream), gradient(layer, images, upstream), rtol=1e-4, atol=1e-4
    )


@pytest.mark.parametrize("padding", PADDINGS)
def test_of_several_greatest_values_the_first_one_gets_the_gradient(padding):
    """As it is with flat parts of an image, and with what a ReLU has set to zero."""
    images = RANDOM.integers(0, 2, (2, 9, 8, 3)).astype(np.float32)
    upstream = RANDOM.standard_normal(1000).astype(np.float32)
    pool = layers.MaxPooling2D(3, 2, padding=padding)

    def portable(x):
        with portable_gradients():
            return pool(x)

    np.testing.assert_allclose(gradient(portable, images, upstream), gradient(pool, images, upstream), rtol=1e-6)


@pytest.mark.parametrize(
    "layer", [layers.Conv2D(4, 3, dilation_rate=2), layers.MaxPooling2D((2, 3)), lambda x: x[:, ::2]]
)
def test_what_there_is_no_gradient_for_is_said(layer):
    def portable(x):
        with portable_gradients():
            return layer(x)

    with pytest.raises(NotPortable):
        gradient(portable, np.zeros((1, 9, 9, 3), np.float32), np.zeros(1000, np.float32))
