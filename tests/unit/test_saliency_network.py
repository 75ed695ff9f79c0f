"""Reading a Keras model and rewriting it: the same values and gradients, with less to compute."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers, ops

from heatdrop.saliency.operations import Affine, AveragePool, Convolution, Opaque
from heatdrop.saliency.reading import read_network
from heatdrop.saliency.rewriting import simplify

RANDOM = np.random.default_rng(5)


def with_uneven_normalisation(model):
    """Give every normalisation statistics, negative scales and a scale of zero."""
    for layer in model.layers:
        if isinstance(layer, layers.BatchNormalization):
            gamma, beta, _, variance = layer.get_weights()
            gamma = RANDOM.normal(0.5, 1, gamma.shape)
            gamma[0] = 0
            uneven = RANDOM.normal(0, 0.5, (2, *beta.shape))
            layer.set_weights([gamma, uneven[0], uneven[1], RANDOM.uniform(0.5, 2, variance.shape)])
    return model


def functional(body, channels=3, size=18):
    keras.utils.set_random_seed(2)
    inputs = keras.Input((size, size, channels))
    x = layers.GlobalAveragePooling2D()(body(inputs))
    return with_uneven_normalisation(keras.Model(inputs, layers.Dense(3)(x)))


def normalised(x):
    return layers.ReLU()(layers.BatchNormalization()(x))


def stem(x):
    x = layers.ZeroPadding2D(3)(x)
    x = layers.Conv2D(8, 7, strides=2, use_bias=False)(x)
    return layers.MaxPooling2D(3, strides=2)(layers.ZeroPadding2D(1)(normalised(x)))


def transition(x):
    return layers.AveragePooling2D(2)(layers.Conv2D(6, 1, use_bias=False)(normalised(layers.Conv2D(8, 3)(x))))


def residual(x):
    x = layers.Conv2D(6, 3, padding="same", activation="relu")(x)
    y = normalised(layers.Conv2D(6, 3, strides=2, padding="same")(x))
    return layers.Add()([layers.Conv2D(6, 1, strides=2)(x), layers.BatchNormalization()(layers.Conv2D(6, 1)(y))])


def padded_after_a_shift(x):
    return layers.Conv2D(4, 3, padding="same")(layers.BatchNormalization()(x))


def even_kernels(x):
    return layers.Conv2D(4, 2)(layers.Conv2D(4, (4, 2), padding="same", activation="tanh")(x))


def wide_strides(x):
    return layers.Conv2D(5, (6, 7), strides=3, activation="tanh")(x)


def one_layer_used_twice(x):
    shared = layers.Conv2D(3, 3, padding="same", activation="relu")
    return layers.Concatenate()([shared(x), shared(shared(x))])


def a_convolution_with_two_readers(x):
    x = layers.Conv2D(6, 1)(x)
    return layers.Concatenate()([normalised(x), layers.AveragePooling2D(2, strides=1, padding="same")(x)])


def a_normalisation_with_two_readers(x):
    x = layers.BatchNormalization()(layers.Conv2D(6, 3)(x))
    return layers.Concatenate()([layers.ReLU()(x), layers.Conv2D(3, 1)(x)])


def depthwise_and_grouped(x):
    x = layers.DepthwiseConv2D(3, padding="same")(layers.Conv2D(8, 1)(x))
    return layers.Conv2D(8, 3, groups=2, dilation_rate=2)(layers.ReLU(6.0)(layers.BatchNormalization()(x)))


def attention(x):
    x = layers.Conv2D(6, 3)(x)
    weights = layers.GlobalAveragePooling2D(keepdims=True)(x)
    return x * layers.Conv2D(6, 1, activation="sigmoid")(weights) + 1.0


def noisy_only_in_training(x):
    x = layers.GaussianNoise(1.0)(layers.Dropout(0.5)(layers.SpatialDropout2D(0.5)(x)))
    return layers.RandomFlip()(layers.Conv2D(4, 3, activation="swish")(x))


def split_and_unstacked(x):
    one, two, three = ops.split(x, 3, axis=-1)
    rows = ops.unstack(layers.Conv2D(4, 3, activation="tanh")(ops.concatenate([three, one * two], axis=-1)), axis=1)
    return ops.stack([rows[3], rows[0] - rows[1]], axis=1)


def attention_with_its_scores(x):
    x = layers.Reshape((81, 12))(layers.Reshape((9, 9, 12))(x))
    attended, scores = layers.MultiHeadAttention(2, 3)(x, x, return_attention_scores=True)
    return layers.Reshape((9, 9, 12))(attended + ops.mean(scores, axis=(1, 2))[:, :, None])


def the_two_greatest_channels(x):
    values, indices = ops.top_k(layers.Conv2D(5, 3, activation="tanh")(x), 2)
    return ops.concatenate([values, ops.take_along_axis(x[:, 1:-1, 1:-1], indices % 3, axis=-1)], axis=-1)


def a_backbone_of_two_outputs(x):
    inputs = keras.Input(x.shape[1:])
    early = layers.Conv2D(4, 3, strides=2, activation="tanh")(inputs)
    late = layers.Conv2D(3, 3, activation="tanh")(early)
    found = keras.Model(inputs, {"late": late, "early": early}, name="backbone")(x)
    return layers.Concatenate()([found["early"][:, 1:-1, 1:-1], found["late"]])


def a_backbone_of_which_one_output_is_used(x):
    inputs = keras.Input(x.shape[1:])
    late = layers.Conv2D(3, 3, activation="tanh")(early := layers.Conv2D(4, 3, activation="tanh")(inputs))
    return keras.Model(inputs, [early, late], name="backbone")(x)[1]


def a_head_of_two_inputs(x):
    left, right = keras.Input((16, 16, 4)), keras.Input((16, 16, 2))
    joined = keras.Model([left, right], layers.Concatenate()([right, left * 2]), name="join")
    return joined([layers.Conv2D(4, 3, activation="tanh")(x), layers.Conv2D(2, 3)(x)])


def a_recurrent_layer_with_its_state(x):
    rows = layers.Reshape((18, 54))(x)
    sequence, state = layers.GRU(4, return_sequences=True, return_state=True)(rows)
    return ops.concatenate([sequence, sequence * state[:, None]], axis=-1)[:, :, None]


def statistics_of_several_results(x):
    mean, variance = ops.moments(x, axes=(1, 2), keepdims=True)
    return (x - mean) / ops.sqrt(variance + 0.1)


def joined_along(axis):
    """Concatenated and normalised along an axis of (batch, 3, 6, 6, 9), given from the front or from the back."""

    def body(x):
        x = layers.Reshape((3, 6, 6, 9))(x)
        x = layers.Concatenate(axis=axis)([x, layers.ReLU()(x) * 2, layers.Activation("tanh")(x)])
        x = layers.ReLU()(layers.BatchNormalization(axis=axis)(x))
        return layers.Reshape((18, 18, 9))(x)

    body.__name__ = f"joined_along_{axis}"
    return body


def joined_in_other_ranks(x):
    pooled = layers.GlobalAveragePooling2D()(layers.Conv2D(4, 3)(x))
    flat = layers.BatchNormalization(axis=1)(layers.Concatenate(axis=1)([pooled, layers.ReLU()(pooled)]))
    rows = layers.Reshape((4, 2))(flat)
    rows = layers.Concatenate(axis=2)([rows, layers.Concatenate(axis=1)([rows[:, :1], rows[:, 1:]])])
    return layers.Concatenate(axis=3)([x, layers.Concatenate(axis=-2)([x[:, :, 9:], x[:, :, :9]])]) * ops.mean(rows)


BODIES = [
    split_and_unstacked,
    attention_with_its_scores,
    the_two_greatest_channels,
    a_backbone_of_two_outputs,
    a_backbone_of_which_one_output_is_used,
    a_head_of_two_inputs,
    a_recurrent_layer_with_its_state,
    statistics_of_several_results,
    *(joined_along(axis) for axis in (1, 2, 3, 4, -1, -2)),
    joined_in_other_ranks,
    stem,
    transition,
    residual,
    padded_after_a_shift,
    even_kernels,
    wide_strides,
    one_layer_used_twice,
    a_convolution_with_two_readers,
    a_normalisation_with_two_readers,
    depthwise_and_grouped,
    attention,
    noisy_only_in_training,
]


def values_and_gradients(function, x):
    @tf.function(autograph=False)
    def compute(x):
        y = function(x)
        return y, tf.stack([tf.gradients(y[:, index], x)[0] for index in range(y.shape[1])])

    return [found.numpy() for found in compute(x)]


@pytest.mark.parametrize("body", BODIES, ids=lambda body: body.__name__)
def test_a_rewritten_network_has_the_values_and_the_gradients_of_its_model(body):
    model = functional(body)
    x = tf.constant(RANDOM.standard_normal((2, 18, 18, 3)), tf.float32)

    found = values_and_gradients(simplify(read_network(model)).build(), x)

    for have, want in zip(found, values_and_gradients(lambda x: model(x, training=False), x), strict=True):
        np.testing.assert_allclose(have, want, rtol=1e-4, atol=1e-5 * np.abs(want).max())


def operations(body):
    return [node.operation for node in simplify(read_network(functional(body))).nodes[1:]]


def test_normalisation_behind_a_convolution_disappears():
    assert not any(isinstance(operation, Affine) for operation in operations(stem))
    assert sum(isinstance(operation, Convolution) and operation.relu for operation in operations(stem)) == 1


def test_a_transition_pools_before_it_convolves():
    kinds = [type(operation) for operation in operations(transition)]

    assert kinds.index(AveragePool) < len(kinds) - 1 - kinds[::-1].index(Convolution)


def test_the_scale_of_a_normalisation_before_a_relu_goes_into_the_next_convolution(small_model):
    affines = [
        node.operation for node in simplify(read_network(small_model)).nodes if isinstance(node.operation, Affine)
    ]

    assert affines
    assert all(affine.scale is None for affine in affines)


def test_dropout_and_other_identities_disappear():
    assert not any(
        isinstance(operation, Opaque) and "Dropout" in str(operation)
        for operation in operations(noisy_only_in_training)
    )


def test_layers_of_lower_precision_stay_as_they_are():
    keras.utils.set_random_seed(2)
    model = keras.Sequential([keras.Input((8, 8, 3)), layers.Conv2D(4, 3, dtype="mixed_float16"), layers.Flatten()])

    network = read_network(model)

    assert isinstance(network.nodes[1].operation, Opaque)
    x = RANDOM.standard_normal((1, 8, 8, 3)).astype(np.float32)
    np.testing.assert_allclose(network.build()(x), model(x), rtol=1e-2, atol=1e-2)
