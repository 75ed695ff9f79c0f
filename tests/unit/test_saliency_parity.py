"""The same noise through other libraries gives the same maps, on a small DenseNet with the bench's fixed weights.

Single pixels may differ by up to 2 % between equally correct implementations, where a ReLU or a maximum is nearly a
tie; so maps are compared by relative L2 and cosine, and a float64 model settles who is right.
"""

from pathlib import Path
from unittest import mock

import keras
import numpy as np
import pytest
import tensorflow as tf

from heatdrop.bench.measurements import cosine, relative_l2
from heatdrop.bench.peers.logits import logits_model
from heatdrop.bench.reference import CLASSES, SAMPLES, reference_noise
from heatdrop.bench.subjects import SMALL, fixed_model, radiographs
from heatdrop.saliency import smoothgrad
from heatdrop.saliency.tensorflow_engine import TensorFlowEngine

CAPTUM = Path(__file__).parents[1] / "data" / "captum_smoothgrad.npz"

TOLERANCE = 2e-3
"""Relative L2; and the cosine is above 0.99999."""

CLASS = 1


@pytest.fixture(scope="module")
def model():
    return fixed_model(SMALL)


@pytest.fixture(scope="module")
def engine(model):
    return TensorFlowEngine(model)


@pytest.fixture(scope="module")
def image():
    return radiographs((64, 64), 1)[0]


@pytest.fixture(scope="module")
def noise(image):
    return reference_noise(image.shape)


@pytest.fixture(scope="module")
def exact(model, image, noise):
    """The float64 gradients (samples, H, W, C) of the logit and the probability of CLASS."""

    def in_float64(layer):
        return type(layer).from_config({**layer.get_config(), "dtype": "float64"})

    precise = keras.models.clone_model(
        model, input_tensors=keras.Input((64, 64, 3), dtype="float64"), clone_function=in_float64
    )
    precise.set_weights([weights.astype(np.float64) for weights in model.get_weights()])
    sigma = np.float32(0.2 * (image.max() - image.min()))
    noisy = tf.constant((image + sigma * noise).astype(np.float64))
    gradients = {}
    for score, explained in {"probability": precise, "logit": logits_model(precise)}.items():
        with tf.GradientTape() as tape:
            tape.watch(noisy)
            value = explained(noisy, training=False)[:, CLASS]
        gradients[score] = tape.gradient(value, noisy).numpy()
    return gradients


def ours(engine, image, noise, estimator, classes=(CLASS,), score="logit"):
    found = smoothgrad(
        engine, image[None], [classes], samples=SAMPLES, noise=noise[:, None], estimators=(estimator,), score=score
    )
    return found.maps[estimator][0]


def assert_same(found, wanted):
    assert relative_l2(found, wanted) < TOLERANCE
    assert cosine(found, wanted) > 0.99999


@pytest.mark.parametrize("score", ["logit", "probability"])
@pytest.mark.parametrize("estimator", ["mean_abs", "signed", "squared"])
def test_maps_equal_those_of_float64(engine, image, noise, exact, estimator, score):
    wanted = {
        "mean_abs": lambda g: np.abs(g).mean(0),
        "signed": lambda g: np.abs(g.mean(0)),
        "squared": lambda g: np.square(g).mean(0),
    }[estimator](exact[score])

    assert_same(ours(engine, image, noise, estimator, score=score), wanted.max(-1)[None])


@pytest.mark.filterwarnings("ignore:The structure of `inputs`:UserWarning")
@pytest.mark.parametrize("score", ["logit", "probability"])
def test_mean_abs_equals_tf_keras_vis(model, engine, image, noise, score):
    from tf_keras_vis.saliency import Saliency
    from tf_keras_vis.utils.scores import CategoricalScore

    saliency = Saliency(model if score == "probability" else logits_model(model))
    with mock.patch("numpy.random.normal", lambda mean, sigma, shape: np.asarray(sigma) * noise[:, None]):
        theirs = saliency(
            CategoricalScore(CLASS), image[None], smooth_samples=SAMPLES, smooth_noise=0.2, normalize_map=False
        )

    assert_same(ours(engine, image, noise, "mean_abs", score=score), np.asarray(theirs))


def test_squared_equals_the_magnitude_of_pair_saliency(model, engine, image, noise):
    pair = pytest.importorskip("saliency.core")
    logits = logits_model(model)

    @tf.function
    def gradient(x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            score = logits(x, training=False)[:, CLASS]
        return tape.gradient(score, x)

    def call_model(x, call_model_args=None, expected_keys=None):
        return {pair.INPUT_OUTPUT_GRADIENTS: gradient(tf.constant(x, tf.float32)).numpy()}

    given = iter(noise)
    with mock.patch("numpy.random.normal", lambda mean, sigma, shape: sigma * next(given)):
        theirs = pair.GradientSaliency().GetSmoothedMask(
            image, call_model, stdev_spread=0.2, nsamples=SAMPLES, magnitude=True
        )

    assert_same(ours(engine, image, noise, "squared"), theirs.max(-1)[None])


def test_mean_abs_equals_captum(engine, image, noise):
    with np.load(CAPTUM) as reference:
        theirs, their_image = reference["maps"], reference["image"]

    np.testing.assert_allclose(image, their_image, atol=1e-6)
    assert_same(ours(engine, image, noise, "mean_abs", classes=tuple(range(CLASSES))), theirs)
