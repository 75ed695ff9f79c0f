"""SmoothGrad as its callers see it: what it computes, for which models, and what it refuses or flags."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from heatdrop.errors import InvalidRequest
from heatdrop.saliency import smoothgrad
from heatdrop.saliency.statistics import RunningSums, powers_needed
from heatdrop.saliency.tensorflow_engine import TensorFlowEngine
from heatdrop.vocabulary import ESTIMATORS

RANDOM = np.random.default_rng(1)
IMAGES = RANDOM.standard_normal((2, 12, 10, 3)).astype(np.float32)


def convolutional(*head, channels=3, size=(12, 10)):
    keras.utils.set_random_seed(3)
    return keras.Sequential(
        [
            keras.Input((*size, channels)),
            layers.Conv2D(6, 3, padding="same"),
            layers.BatchNormalization(),
            layers.Activation("tanh"),
            layers.GlobalAveragePooling2D(),
            *head,
        ]
    )


@pytest.fixture(scope="module")
def model():
    return convolutional(layers.Dense(4, activation="softmax"))


@pytest.fixture(scope="module")
def engine(model):
    return TensorFlowEngine(model)


def logits_of(model):
    last = model.layers[-1]
    below = keras.Model(model.inputs, last.input)
    return lambda x: tf.matmul(below(x, training=False), last.kernel) + last.bias


def plain_gradients(score, x):
    with tf.GradientTape() as tape:
        tape.watch(x)
        value = score(x)
    return tape.gradient(value, x).numpy()


def test_every_estimator_is_the_textbook_formula_of_the_plain_gradients(model, engine):
    noise = RANDOM.standard_normal((7, *IMAGES.shape)).astype(np.float32)
    classes = np.array([[0, 2], [3, 1]])

    found = smoothgrad(engine, IMAGES, classes, samples=7, noise=noise, estimators=ESTIMATORS, batch_size=3)

    logits = logits_of(model)
    for image in range(2):
        sigma = np.float32(0.2 * (IMAGES[image].max() - IMAGES[image].min()))
        noisy = tf.constant(IMAGES[image] + sigma * noise[:, image])
        for position, index in enumerate(classes[image]):
            g = plain_gradients(lambda x, index=index: logits(x)[:, index], noisy).astype(np.float64)
            wanted = {
                "mean_abs": np.abs(g).mean(0),
                "signed": np.abs(g.mean(0)),
                "squared": np.square(g).mean(0),
                "variance": g.var(0),
            }
            for name, value in wanted.items():
                np.testing.assert_allclose(found.maps[name][image, position], value.max(-1), rtol=1e-4, atol=1e-9)


def test_the_standard_errors_of_independent_samples_are_those_of_a_mean(model, engine):
    noise = RANDOM.standard_normal((9, *IMAGES.shape)).astype(np.float32)
    found = smoothgrad(engine, IMAGES[:1], [[1]], samples=9, noise=noise[:, :1], estimators=("mean_abs", "squared"))

    sigma = np.float32(0.2 * (IMAGES[0].max() - IMAGES[0].min()))
    g = plain_gradients(lambda x: logits_of(model)(x)[:, 1], tf.constant(IMAGES[0] + sigma * noise[:, 0]))
    for name, values in {"mean_abs": np.abs(g), "squared": np.square(g)}.items():
        error = values.std(0, ddof=1) / 3
        channel = values.mean(0).argmax(-1)[..., None]
        wanted = np.take_along_axis(error, channel, -1)[..., 0]
        np.testing.assert_allclose(found.standard_errors[name][0, 0], wanted, rtol=1e-3)


def test_no_samples_give_the_plain_gradient_without_standard_errors(model, engine):
    found = smoothgrad(engine, IMAGES, [[2], [2]], samples=0)

    wanted = np.abs(plain_gradients(lambda x: logits_of(model)(x)[:, 2], tf.constant(IMAGES))).max(-1)
    np.testing.assert_allclose(found.maps["mean_abs"][:, 0], wanted, rtol=1e-4)
    assert found.standard_errors == {}
    assert found.samples.tolist() == [0, 0]


def test_the_probability_can_be_explained_instead_of_the_logit(model, engine):
    found = smoothgrad(engine, IMAGES, [[0], [1]], samples=0, score="probability")

    for image, index in enumerate((0, 1)):
        x = tf.constant(IMAGES[image : image + 1])
        wanted = np.abs(plain_gradients(lambda x, index=index: model(x)[:, index], x)).max(-1)
        np.testing.assert_allclose(found.maps["mean_abs"][image], wanted, rtol=1e-4)


def test_the_best_classes_of_each_image_are_explained_with_their_probabilities(model, engine):
    found = smoothgrad(engine, IMAGES, top=2, samples=2)

    probabilities = model.predict(IMAGES, verbose=0)
    assert found.classes.tolist() == np.argsort(-probabilities, axis=1)[:, :2].tolist()
    np.testing.assert_allclose(found.scores, np.take_along_axis(probabilities, found.classes, 1), rtol=1e-5)
    assert found.maps["mean_abs"].shape == (2, 2, 12, 10)
    assert found.maps["mean_abs"].dtype == np.float32


def test_more_classes_than_the_model_has_are_not_invented(engine):
    assert smoothgrad(engine, IMAGES, top=20, samples=2).classes.shape == (2, 4)


@pytest.mark.parametrize("score", ["logit", "probability"])
def test_one_sigmoid_output_is_read_as_two_classes_with_one_map(score):
    model = convolutional(layers.Dense(1, activation="sigmoid"))

    found = smoothgrad(model, IMAGES, [[0, 1], [1, 0]], samples=3, score=score, estimators=("mean_abs", "signed"))

    positive = model.predict(IMAGES, verbose=0)[:, 0]
    np.testing.assert_allclose(
        found.scores, [[1 - positive[0], positive[0]], [positive[1], 1 - positive[1]]], rtol=1e-4
    )
    np.testing.assert_array_equal(found.maps["mean_abs"][:, 0], found.maps["mean_abs"][:, 1])
    np.testing.assert_array_equal(found.maps["signed"][:, 0], found.maps["signed"][:, 1])
    assert all("their maps are the same" in warnings[-1] for warnings in found.warnings)


def test_a_two_class_softmax_needs_one_backward_pass_for_its_two_probabilities(monkeypatch):
    model = convolutional(layers.Dense(2, activation="softmax"))
    asked = []
    original = tf.gradients
    monkeypatch.setattr(tf, "gradients", lambda *args: asked.append(1) or original(*args))

    found = smoothgrad(model, IMAGES[:1], [[0, 1]], samples=3, score="probability", estimators=("mean_abs", "variance"))

    assert len(asked) == 1
    both = [plain_gradients(lambda x, k=k: model(x)[:, k], tf.constant(IMAGES[:1])) for k in (0, 1)]
    np.testing.assert_allclose(both[0], -both[1], atol=1e-7)
    np.testing.assert_array_equal(found.maps["mean_abs"][0, 0], found.maps["mean_abs"][0, 1])
    assert "their maps are the same" in found.warnings[0][-1]


def test_the_logits_of_a_two_class_softmax_keep_their_own_maps():
    found = smoothgrad(convolutional(layers.Dense(2, activation="softmax")), IMAGES[:1], [[0, 1]], samples=3)

    assert not np.allclose(found.maps["mean_abs"][0, 0], found.maps["mean_abs"][0, 1])
    assert found.warnings == ((),)


def test_several_sigmoid_outputs_are_independent_labels():
    model = convolutional(layers.Dense(3, activation="sigmoid"))

    found = smoothgrad(model, IMAGES[:1], [[2]], samples=0, score="probability")

    wanted = np.abs(plain_gradients(lambda x: model(x)[:, 2], tf.constant(IMAGES[:1]))).max(-1)
    np.testing.assert_allclose(found.maps["mean_abs"][0], wanted, rtol=1e-4)
    np.testing.assert_allclose(found.scores, model(IMAGES[:1]).numpy()[:, [2]], rtol=1e-5)


def test_a_separate_softmax_layer_is_recognised():
    joined = convolutional(layers.Dense(4, activation="softmax"))
    apart = convolutional(layers.Dense(4), layers.Softmax())
    apart.set_weights(joined.get_weights())

    found = [smoothgrad(model, IMAGES, samples=2).maps["mean_abs"] for model in (joined, apart)]

    np.testing.assert_array_equal(*found)


def test_a_model_that_ends_in_logits_gives_its_logits_and_no_probabilities():
    model = convolutional(layers.Dense(4))

    found = smoothgrad(model, IMAGES, samples=2)

    np.testing.assert_allclose(found.scores[:, 0], model(IMAGES).numpy().max(1), rtol=1e-4)
    with pytest.raises(InvalidRequest, match="score is 'probability'"):
        smoothgrad(model, IMAGES, samples=2, score="probability")


def test_a_model_within_a_model_is_explained_like_the_flat_one():
    flat = convolutional(layers.Dense(4, activation="softmax"))
    base = keras.Sequential([keras.Input((12, 10, 3)), *flat.layers[:3]])
    inputs = keras.Input((12, 10, 3))
    nested = keras.Sequential([keras.Model(inputs, base(inputs)), *flat.layers[3:]])

    found = [smoothgrad(model, IMAGES, samples=2).maps["mean_abs"] for model in (flat, nested)]

    np.testing.assert_array_equal(*found)


def test_grey_images_of_one_channel_are_explained():
    model = convolutional(layers.Dense(3, activation="softmax"), channels=1)

    found = smoothgrad(model, IMAGES[..., :1], samples=3)

    assert found.maps["mean_abs"].shape == (2, 3, 12, 10)
    assert found.maps["mean_abs"].any()


def test_a_model_of_any_input_size_is_explained_at_the_size_of_the_image():
    model = convolutional(layers.Dense(3, activation="softmax"), size=(None, None))

    assert smoothgrad(model, IMAGES, samples=2).maps["mean_abs"].shape == (2, 3, 12, 10)


def test_new_weights_are_noticed():
    model = convolutional(layers.Dense(3))
    before = smoothgrad(model, IMAGES[:1], [[0]], samples=0).maps["mean_abs"]

    model.set_weights([2 * weights for weights in model.get_weights()])
    after = smoothgrad(model, IMAGES[:1], [[0]], samples=0).maps["mean_abs"]

    assert not np.allclose(before, after)


def test_an_image_stops_as_soon_as_its_standard_error_is_under_the_tolerance(engine):
    found = smoothgrad(engine, IMAGES, [[0], [1]], samples=400, tolerance=0.05, estimators=("mean_abs", "signed"))

    assert found.converged.all()
    assert (found.samples < 400).all()
    assert all((errors < 0.05).all() for errors in found.relative_errors.values())
    assert (found.samples % 10 == 0).all()


@pytest.mark.parametrize("sampling", ["stratified", "independent"])
def test_where_an_image_stops_does_not_depend_on_the_batch_size(engine, sampling):
    stops = [
        smoothgrad(engine, IMAGES, [[0], [1]], samples=400, tolerance=0.04, sampling=sampling, batch_size=size).samples
        for size in (3, 5, 20)
    ]

    assert (stops[0] == stops[1]).all()
    assert (stops[0] == stops[2]).all()


def test_an_image_that_does_not_reach_the_tolerance_says_so(engine):
    found = smoothgrad(engine, IMAGES, [[0], [1]], samples=12, tolerance=1e-4)

    assert not found.converged.any()
    assert found.samples.tolist() == [12, 12]
    assert all("not converged: after 12 samples" in warnings[0] for warnings in found.warnings)


def test_a_constant_image_has_the_plain_gradient_and_a_warning(engine):
    constant = np.full((1, 12, 10, 3), 0.5, np.float32)

    found = smoothgrad(engine, constant, [[0]], samples=20)

    np.testing.assert_array_equal(
        found.maps["mean_abs"], smoothgrad(engine, constant, [[0]], samples=0).maps["mean_abs"]
    )
    assert "the image is constant" in found.warnings[0][0]
    assert found.samples.tolist() == [0]


def test_a_map_without_signal_is_empty_and_flagged():
    model = convolutional(layers.Dense(2))
    model.layers[-1].set_weights([np.zeros((6, 2)), np.array([1.0, 2.0])])

    found = smoothgrad(model, IMAGES[:1], samples=5, estimators=("mean_abs", "squared"))

    assert not found.maps["mean_abs"].any()
    assert found.warnings[0] == tuple(
        f"{name} of class {index} has no signal and is left empty"
        for name in ("mean_abs", "squared")
        for index in (1, 0)
    )


def test_a_vanishing_map_is_emptied_rather_than_left_to_be_amplified():
    model = convolutional(layers.Dense(2))
    model.layers[-1].set_weights([np.full((6, 2), 1e-20), np.zeros(2)])

    found = smoothgrad(model, IMAGES[:1], [[0]], samples=5)

    assert not found.maps["mean_abs"].any()
    assert not found.standard_errors["mean_abs"].any()
    assert "has no signal" in found.warnings[0][0]


def test_a_saturated_probability_is_flagged():
    model = convolutional(layers.Dense(3, activation="softmax"))
    kernel, bias = model.layers[-1].get_weights()
    model.layers[-1].set_weights([kernel, bias + np.array([30, 0, 0])])

    found = smoothgrad(model, IMAGES[:1], [[0]], samples=5, score="probability")

    assert "the probability of class 0 is 1.000000" in found.warnings[0][-1]
    assert np.isfinite(found.maps["mean_abs"]).all()


def test_no_nan_leaves():
    model = keras.Sequential(
        [keras.Input((4, 4, 1)), layers.Activation(keras.ops.sqrt), layers.GlobalAveragePooling2D(), layers.Dense(2)]
    )
    images = np.full((1, 4, 4, 1), -1.0, np.float32)
    images[0, 0, 0] = 1

    found = smoothgrad(model, images, [[0]], samples=5, estimators=ESTIMATORS)

    assert all(not values.any() for values in (*found.maps.values(), *found.standard_errors.values()))
    assert "was not finite and is left empty" in found.warnings[0][0]


class Opaque(layers.Layer):
    def call(self, x):
        return tf.stop_gradient(x)


class Subclassed(keras.Model):
    def call(self, x):
        return x


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"images": IMAGES[0]}, "images has shape"),
        ({"images": IMAGES[:0]}, "images has shape"),
        ({"images": IMAGES[:, :5]}, "images are"),
        ({"images": np.where(IMAGES > 1, np.nan, IMAGES)}, "images holds NaN"),
        ({"images": np.where(IMAGES > 1, np.inf, IMAGES)}, "images holds NaN or infinite"),
        ({"classes": [[4], [0]]}, "classes must lie between 0 and 3"),
        ({"classes": [[-1], [0]]}, "classes must lie between 0 and 3"),
        ({"classes": [0, 1]}, "classes must be integers of shape"),
        ({"classes": [[0.5], [1]]}, "classes must be integers"),
        ({"classes": np.zeros((2, 0), int)}, "classes must lie"),
        ({"samples": -1}, "samples is -1"),
        ({"noise_level": 0}, "noise_level is 0"),
        ({"noise_level": -0.1}, "noise_level is -0.1"),
        ({"noise_level": float("nan")}, "noise_level is nan"),
        ({"top": 0}, "top is 0"),
        ({"seed": -1}, "seed is -1"),
        ({"score": "loss"}, "score is 'loss'"),
        ({"sampling": "antithetic"}, "sampling is 'antithetic'"),
        ({"estimators": ()}, "estimators is empty"),
        ({"estimators": ("median",)}, "estimators holds 'median'"),
        ({"batch_size": 0}, "batch_size is 0"),
        ({"tolerance": 0.0}, "tolerance is 0.0"),
        ({"tolerance": 0.1, "samples": 1}, "samples above 1"),
        ({"noise": np.zeros((3, 2, 12, 10, 3))}, "noise has shape"),
        ({"noise": np.full((20, 2, 12, 10, 3), np.nan)}, "noise holds NaN"),
    ],
)
def test_an_argument_out_of_its_range_is_named(engine, settings, named):
    images = settings.pop("images", IMAGES)

    with pytest.raises(InvalidRequest, match=named):
        smoothgrad(engine, images, **settings)


@pytest.mark.parametrize(
    ("model", "named"),
    [
        (lambda: convolutional(Opaque(), layers.Dense(2)), "model is not differentiable"),
        (lambda: convolutional(layers.Dense(2, activation="tanh")), "ends the model in tanh"),
        (lambda: convolutional(layers.Dense(1)), "model has one output without a sigmoid"),
        (lambda: keras.Sequential([keras.Input((12, 10, 3)), layers.Conv2D(2, 3)]), "model gives"),
        (Subclassed, "model must be a functional or sequential"),
    ],
)
def test_a_model_that_cannot_be_explained_is_refused(model, named):
    with pytest.raises(InvalidRequest, match=named):
        smoothgrad(model(), IMAGES, samples=2)


def test_sums_that_would_mix_two_blocks_are_refused():
    sums = RunningSums(powers_needed(["mean_abs"]), block=5)
    sums.add(3, [np.ones((1, 2, 2, 1), np.float32)] * 2)

    with pytest.raises(ValueError, match="overlap"):
        sums.add(3, [np.ones((1, 2, 2, 1), np.float32)] * 2)
