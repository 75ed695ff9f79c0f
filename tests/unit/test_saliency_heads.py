"""The logit is found wherever the softmax or the sigmoid stands; what has none is called a probability."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers, ops

from heatdrop.errors import InvalidRequest
from heatdrop.saliency import smoothgrad
from heatdrop.saliency.activations import ActivationMaps
from heatdrop.saliency.scores import find_scores
from heatdrop.saliency.tensorflow_engine import TensorFlowEngine

RANDOM = np.random.default_rng(3)
IMAGES = RANDOM.standard_normal((2, 12, 10, 3)).astype(np.float32)
NOISE = RANDOM.standard_normal((5, 2, 12, 10, 3)).astype(np.float32)
KERNEL = (RANDOM.standard_normal((6, 3)) * 3).astype(np.float32)
BIAS = np.array([0.1, -0.2, 0.3], np.float32)


def body(inputs):
    """(12, 10, 3) to six features, with weights that are the same in every model."""
    keras.utils.set_random_seed(4)
    x = layers.Conv2D(6, 3, activation="tanh", name="seen")(inputs)
    return layers.GlobalAveragePooling2D()(x)


def classifier(head, features=body):
    """A model whose logits are those of KERNEL and BIAS, squashed by what ``head`` builds on ``body``."""
    inputs = keras.Input((12, 10, 3))
    model = keras.Model(inputs, head(features(inputs)))
    for layer in model._flatten_layers():
        if layer.name.startswith("logits"):
            kernel, bias = layer.get_weights()
            first = int(layer.name.rpartition("_")[2]) if "_" in layer.name else 0
            chosen = slice(first, first + kernel.shape[-1])
            layer.set_weights([KERNEL[:, chosen].reshape(kernel.shape), BIAS[chosen].reshape(bias.shape)])
    return model


def dense(activation=None, units=3, name="logits", **more):
    return layers.Dense(units, activation=activation, name=name, **more)


def nested(make):
    inputs = keras.Input((6,))
    return keras.Model(inputs, make(inputs), name="head")


def halves(squash):
    """Each class from a head of its own."""
    return lambda x: layers.Concatenate()([dense(squash, 1, f"logits_{index}")(x) for index in range(3)])


def pooled(squash):
    return lambda x: layers.GlobalAveragePooling2D()(
        layers.Conv2D(3, 1, activation=squash, name="logits")(layers.Reshape((1, 1, 6))(x))
    )


SAME_MAPS = {
    "activation of a dense layer": lambda s: lambda x: dense(s)(x),
    "activation that is a function of keras.ops": lambda s: lambda x: dense(getattr(ops, s))(x),
    "activation in a layer of its own": lambda s: lambda x: layers.Activation(s, name="Vorhersage")(dense()(x)),
    "operation of keras.ops": lambda s: lambda x: getattr(ops, s)(dense()(x)),
    "function of keras.activations": lambda s: lambda x: getattr(keras.activations, s)(dense()(x)),
    "behind a cast to float32": lambda s: lambda x: layers.Activation("linear", dtype="float32")(dense(s)(x)),
    "behind an operation that casts": lambda s: lambda x: ops.cast(dense(s)(x), "float32"),
    "behind identity and dropout": lambda s: lambda x: layers.Dropout(0.4)(layers.Identity()(dense(s)(x))),
    "behind a reshape": lambda s: lambda x: layers.Reshape((3,))(layers.Reshape((3, 1))(dense(s)(x))),
    "behind a flatten": lambda s: lambda x: layers.Flatten()(dense(s)(layers.Reshape((1, 6))(x))),
    "behind a transpose": lambda s: (
        lambda x: ops.squeeze(ops.transpose(ops.expand_dims(dense(s)(x), 1), (0, 2, 1)), -1)
    ),
    "behind a slice": lambda s: lambda x: dense(s)(layers.Reshape((1, 6))(x))[:, 0],
    "behind a mean over one row": lambda s: lambda x: ops.mean(dense(s)(layers.Reshape((1, 6))(x)), axis=1),
    "in a convolution, pooled behind it": pooled,
    "in a convolution of one dimension": lambda s: (
        lambda x: layers.Flatten()(layers.Conv1D(3, 1, activation=s, name="logits")(layers.Reshape((1, 6))(x)))
    ),
    "in a sequential head": lambda s: keras.Sequential([keras.Input((6,)), dense(), layers.Activation(s)]),
    "in a functional head": lambda s: nested(lambda x: getattr(ops, s)(dense()(x))),
    "in a head within a head": lambda s: nested(keras.Sequential([keras.Input((6,)), dense(s)])),
    "for each of one steps": lambda s: lambda x: layers.TimeDistributed(dense(s))(layers.Reshape((1, 6))(x))[:, 0],
    "under spectral normalisation": lambda s: lambda x: layers.SpectralNormalization(dense(s))(x),
}
SOFTMAX_ONLY = {
    "softmax layer": lambda x: layers.Softmax()(dense()(x)),
    "softmax layer as an activation": lambda x: dense(layers.Softmax())(x),
    "softmax layer, axis 1": lambda x: layers.Softmax(axis=1)(dense()(x)),
    "operation, axis 1": lambda x: ops.softmax(dense()(x), axis=1),
    "layer over the middle axis": lambda x: layers.Flatten()(
        layers.Softmax(axis=1)(layers.Reshape((3, 1))(dense()(x)))
    ),
    "operation over two axes": lambda x: layers.Flatten()(
        layers.Softmax(axis=(1, 2))(layers.Reshape((3, 1))(dense()(x)))
    ),
}
SIGMOID_ONLY = {
    "one head a class": halves("sigmoid"),
    "sigmoid layers beside each other": lambda x: ops.concatenate(
        [ops.sigmoid(dense(None, 1, f"logits_{index}")(x)) for index in range(3)], axis=1
    ),
}
HEADS = {
    **{f"softmax: {name}": head("softmax") for name, head in SAME_MAPS.items()},
    **{f"sigmoid: {name}": head("sigmoid") for name, head in SAME_MAPS.items()},
    **{f"softmax: {name}": head for name, head in SOFTMAX_ONLY.items()},
    **{f"sigmoid: {name}": head for name, head in SIGMOID_ONLY.items()},
}
ACTIVATION, OPERATION, IN_SEQUENTIAL, SOFTMAX_LAYER = (
    "softmax: activation of a dense layer",
    "softmax: operation of keras.ops",
    "softmax: in a sequential head",
    "softmax: softmax layer",
)


def gradients_of_logits():
    """|d logit / d input| of every noisy copy by TensorFlow alone: (samples, B, K, H, W, C)."""
    inputs = keras.Input((12, 10, 3))
    features = keras.Model(inputs, body(inputs))
    sigma = 0.2 * (IMAGES.max((1, 2, 3)) - IMAGES.min((1, 2, 3)))
    x = tf.constant((IMAGES + sigma[:, None, None, None] * NOISE).reshape(-1, 12, 10, 3))
    found = []
    for index in range(3):
        with tf.GradientTape() as tape:
            tape.watch(x)
            score = (features(x) @ KERNEL + BIAS)[:, index]
        found.append(tape.gradient(score, x).numpy().reshape(NOISE.shape))
    return np.abs(np.stack(found, axis=2))


@pytest.fixture(scope="module")
def wanted():
    """The maps of the logits, (B, K, H, W)."""
    return gradients_of_logits().mean(axis=0).max(axis=-1)


@pytest.mark.parametrize("name", HEADS)
def test_the_logit_is_found_wherever_the_squashing_function_stands(name):
    model = classifier(HEADS[name])
    inputs = keras.Input((12, 10, 3))
    features = keras.Model(inputs, body(inputs))

    head = find_scores(model)

    logits, probabilities = (head.build(score)(tf.constant(IMAGES)) for score in ("logit", "probability"))
    np.testing.assert_allclose(logits, features(IMAGES) @ KERNEL + BIAS, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(probabilities, model(IMAGES, training=False), rtol=1e-5)


@pytest.mark.parametrize(
    "name",
    [ACTIVATION, SOFTMAX_LAYER, OPERATION, IN_SEQUENTIAL, "sigmoid: behind a flatten"],
)
def test_the_map_is_the_one_of_the_logit(name, wanted):
    model = classifier(HEADS[name])

    found = smoothgrad(model, IMAGES, [[0, 1, 2]] * 2, samples=5, noise=NOISE)

    assert found.score == "logit"
    assert found.warnings == ((), ())
    np.testing.assert_allclose(found.maps["mean_abs"], wanted, rtol=1e-4, atol=1e-7)
    np.testing.assert_allclose(found.scores, model(IMAGES, training=False), rtol=1e-5)


@pytest.mark.parametrize("name", [OPERATION, "sigmoid: behind a flatten"])
def test_the_probability_can_still_be_asked_for(name):
    model = classifier(HEADS[name])
    x = tf.constant(IMAGES)
    with tf.GradientTape() as tape:
        tape.watch(x)
        score = model(x, training=False)[:, 1]

    found = smoothgrad(model, IMAGES, [[1], [1]], samples=0, score="probability")

    assert found.score == "probability"
    np.testing.assert_allclose(found.maps["mean_abs"][:, 0], np.abs(tape.gradient(score, x)).max(-1), rtol=1e-4)


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
@pytest.mark.parametrize("head", [ACTIVATION, SOFTMAX_LAYER, "sigmoid: operation of keras.ops"])
def test_the_logit_is_found_behind_layers_of_lower_precision(policy, head, wanted):
    keras.config.set_dtype_policy(policy)
    try:
        model = classifier(HEADS[head])
    finally:
        keras.config.set_dtype_policy("float32")

    found = smoothgrad(model, IMAGES, [[0, 1, 2]] * 2, samples=5, noise=NOISE)

    assert found.score == "logit"
    np.testing.assert_allclose(found.maps["mean_abs"], wanted, rtol=0.05, atol=0.02 * wanted.max())


@pytest.mark.parametrize(
    "build", [lambda x: dense("sigmoid", 1)(x), lambda x: layers.Reshape((1,))(ops.sigmoid(dense(None, 1)(x)))]
)
def test_a_single_sigmoid_is_two_classes_with_opposite_logits_wherever_it_stands(build):
    model = classifier(build)
    wanted = gradients_of_logits().mean(axis=0).max(axis=-1)[:, 0]

    found = smoothgrad(model, IMAGES, [[0, 1]] * 2, samples=5, noise=NOISE)

    p = model(IMAGES, training=False).numpy()
    np.testing.assert_allclose(found.scores, np.hstack([1 - p, p]), rtol=1e-5)
    for side in range(2):
        np.testing.assert_allclose(found.maps["mean_abs"][:, side], wanted, rtol=1e-4, atol=1e-7)


ENSEMBLES = {
    "the mean of two softmaxes": lambda x: layers.Average()([dense("softmax")(x), layers.Dense(3, "softmax")(x)]),
    "a weighted sum of softmaxes": lambda x: 0.3 * dense("softmax")(x) + 0.7 * layers.Dense(3, "softmax")(x),
    "a product of probabilities": lambda x: dense("sigmoid")(x) * layers.Dense(3, "sigmoid")(x),
    "softmax, clipped": lambda x: ops.clip(dense("softmax")(x), 1e-7, 1 - 1e-7),
    "a softmax written out": lambda x: (e := ops.exp(dense()(x))) / ops.sum(e, axis=1, keepdims=True),
    "the mean of a softmax over many places": lambda x: ops.mean(
        dense("softmax")(ops.stack([x, 2 * x], axis=1)), axis=1
    ),
    "one sigmoid and its rest": lambda x: ops.concatenate([1 - (p := dense("sigmoid", 1)(x)), p], axis=1),
    "the mean of two single sigmoids": lambda x: (dense("sigmoid", 1)(x) + layers.Dense(1, "sigmoid")(x)) / 2,
    "one class of a softmax": lambda x: dense("softmax")(x)[:, 1:2],
}


@pytest.mark.parametrize("name", ENSEMBLES)
def test_the_map_of_a_model_without_a_logit_is_of_its_probability_and_says_so(name):
    model = classifier(ENSEMBLES[name])
    x = tf.constant(IMAGES)
    with tf.GradientTape() as tape:
        tape.watch(x)
        score = model(x, training=False)[:, -1]
    last = max(model.output_shape[1], 2) - 1

    found = smoothgrad(model, IMAGES, [[last], [last]], samples=0)

    assert found.score == "probability"
    assert all("the maps are of the probability" in said[0] for said in found.warnings)
    np.testing.assert_allclose(found.maps["mean_abs"][:, 0], np.abs(tape.gradient(score, x)).max(-1), rtol=1e-3)
    np.testing.assert_allclose(found.scores[:, 0], model(IMAGES, training=False)[:, -1], rtol=1e-5)


@pytest.mark.parametrize(
    "head",
    [
        lambda x: dense()(x),
        lambda x: dense()(x * dense("sigmoid", 6, "gate")(x)),
        lambda x: dense()(x * ops.softmax(dense(None, 6, "attention")(x))),
        lambda x: layers.Add()([dense()(x), layers.Dense(3)(x)]),
    ],
)
def test_a_model_that_ends_in_its_logits_is_explained_by_them(head):
    found = smoothgrad(classifier(head), IMAGES, samples=0)

    assert found.score == "logit"
    assert found.warnings == ((), ())
    with pytest.raises(InvalidRequest, match="ends in its logits"):
        smoothgrad(classifier(head), IMAGES, samples=0, score="probability")


@pytest.mark.parametrize("function", ["hard_sigmoid", "log_softmax", "tanh", "softplus", "gelu", "sparsemax"])
@pytest.mark.parametrize(
    "build",
    [
        lambda f: lambda x: dense(f, name="verdict")(x),
        lambda f: lambda x: layers.Activation(f, name="verdict")(dense()(x)),
        lambda f: (
            lambda x: layers.Flatten()(layers.Conv1D(3, 1, activation=f, name="verdict")(layers.Reshape((1, 6))(x)))
        ),
        lambda f: nested(lambda x: layers.Reshape((3,))(dense(f, name="verdict")(x))),
        lambda f: lambda x: getattr(ops, f)(dense()(x)),
    ],
)
def test_another_activation_at_the_end_is_refused_by_the_name_of_its_layer(function, build):
    named = r"verdict'|'" + function
    with pytest.raises(
        InvalidRequest, match=rf"({named}).* in \w+; end it in softmax, sigmoid or its logits"
    ) as caught:
        TensorFlowEngine(classifier(build(function)))
    assert " at 0x" not in str(caught.value)


@pytest.mark.parametrize(
    "head", [lambda x: ops.softmax(dense()(x), axis=0), lambda x: layers.Softmax(axis=0)(dense()(x))]
)
def test_a_softmax_over_the_images_of_a_batch_is_refused(head):
    with pytest.raises(InvalidRequest, match="softmax over the images of a batch"):
        find_scores(classifier(head))


def test_a_softmax_that_something_else_reads_too_is_left_out_for_the_output_alone():
    def head(x):
        p = dense("softmax", 3, "first")(x)
        return layers.Concatenate()([p, dense("sigmoid", 2, "second")(p)])

    model = classifier(head)
    first, second = model.get_layer("first"), model.get_layer("second")
    features = keras.Model(model.inputs[0], model.get_layer("first").input)
    x = tf.constant(IMAGES)
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(x)
        z = features(x) @ first.kernel + first.bias
        scores = tf.concat([z, tf.nn.softmax(z) @ second.kernel + second.bias], axis=1)
        chosen = [scores[:, index] for index in (1, 4)]

    found = smoothgrad(model, IMAGES, [[1, 4]] * 2, samples=0)

    for position, score in enumerate(chosen):
        wanted = np.abs(tape.gradient(score, x)).max(-1)
        np.testing.assert_allclose(found.maps["mean_abs"][:, position], wanted, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize(
    "name",
    [
        ACTIVATION,
        "softmax: softmax layer",
        "softmax: operation of keras.ops",
        "softmax: behind a flatten",
        "softmax: in a sequential head",
        "softmax: in a head within a head",
        "sigmoid: one head a class",
        "softmax: under spectral normalisation",
    ],
)
def test_gradcam_explains_the_same_logit(name):
    model = classifier(HEADS[name])
    features = keras.Model(model.inputs[0], model.get_layer("seen").output)(IMAGES).numpy()

    found = ActivationMaps(model).maps(IMAGES, [[1], [1]])

    assert found.score == "logit"
    coarse = np.maximum((features * KERNEL[:, 1]).sum(-1) / features[0, ..., 0].size, 0)
    wanted = [tf_keras_vis_enlarged(each) for each in coarse]
    np.testing.assert_allclose(found.maps["gradcam"][:, 0], wanted, rtol=1e-3, atol=1e-6)


def tf_keras_vis_enlarged(coarse):
    from scipy.ndimage import zoom

    return zoom(coarse, (12 / coarse.shape[0], 10 / coarse.shape[1]), order=1)


def test_gradcam_of_an_ensemble_says_that_it_is_of_the_probability():
    found = ActivationMaps(classifier(ENSEMBLES["the mean of two softmaxes"])).maps(IMAGES)

    assert found.score == "probability"
    assert all("the maps are of the probability" in said[-1] for said in found.warnings)
