"""SmoothGrad and class activation maps by LiteRT: the maps of TensorFlow, and all that smoothgrad promises."""

import keras
import numpy as np
import pytest
from keras import layers, ops

from heatdrop.errors import InvalidRequest
from heatdrop.saliency import LiteRtEngine, smoothgrad
from heatdrop.saliency.activations import ActivationMaps, last_convolution
from heatdrop.saliency.class_activation import litert_maps
from heatdrop.saliency.gradient_graph import export_gradients
from heatdrop.saliency.noise import SAMPLINGS
from heatdrop.saliency.reading import read_network
from heatdrop.saliency.scores import find_scores
from heatdrop.saliency.tensorflow_engine import TensorFlowEngine
from heatdrop.vocabulary import ACTIVATION_METHODS, ESTIMATORS

RANDOM = np.random.default_rng(3)
IMAGES = RANDOM.standard_normal((2, 24, 20, 3)).astype(np.float32)


def body(x):
    """Every kind of layer whose gradient is written for LiteRT, and some that are called as they are."""
    x = layers.ZeroPadding2D(1)(x)
    x = layers.Conv2D(6, 3, strides=2, use_bias=False)(x)
    x = layers.ReLU()(layers.BatchNormalization()(x))
    x = layers.MaxPooling2D(3, 1, padding="same")(x)
    side = layers.DepthwiseConv2D(3, padding="same", activation="silu")(x)
    x = layers.Concatenate()([x, side * ops.sigmoid(ops.mean(side, axis=(1, 2), keepdims=True))])
    x = layers.Conv2D(8, 3, activation="relu", name="last")(layers.AveragePooling2D(2)(x))
    return layers.GlobalAveragePooling2D()(layers.LayerNormalization()(x))


def model_of(head):
    keras.utils.set_random_seed(4)
    inputs = keras.Input(IMAGES.shape[1:])
    return keras.Model(inputs, head(body(inputs)))


def engines_of(model, cores=None):
    layer = last_convolution(read_network(model))
    graph, description = export_gradients(find_scores(model, layer), model.input_shape[1:], layer)
    by_tensorflow = TensorFlowEngine(model)
    return LiteRtEngine(graph, description, by_tensorflow.predict, cores), by_tensorflow


def mean_of_two(x):
    return layers.Average()([layers.Dense(3, activation="softmax")(x), layers.Dense(3, activation="softmax")(x)])


HEADS = {
    "five classes": lambda x: layers.Dense(5, activation="softmax")(x),
    "two classes": lambda x: layers.Dense(2, activation="softmax")(x),
    "one sigmoid": lambda x: layers.Dense(1, activation="sigmoid")(x),
    "a sigmoid a class": lambda x: layers.Dense(3, activation="sigmoid")(x),
    "an ensemble, whose logits are not known": mean_of_two,
}


@pytest.fixture(scope="module")
def model():
    return model_of(HEADS["five classes"])


@pytest.fixture(scope="module")
def engines(model):
    return engines_of(model)


@pytest.fixture(scope="module")
def engine(engines):
    return engines[0]


def assert_same(found, wanted):
    for name, maps in wanted.maps.items():
        difference = np.linalg.norm(found.maps[name] - maps) / np.linalg.norm(maps)
        assert difference < 2e-5, f"{name} differs by {difference:.2g}"
        errors = wanted.standard_errors[name]
        assert np.linalg.norm(found.standard_errors[name] - errors) < 1e-4 * np.linalg.norm(errors)
    np.testing.assert_allclose(found.scores, wanted.scores)
    assert found.score == wanted.score
    assert found.warnings == wanted.warnings


@pytest.mark.slow
@pytest.mark.parametrize("head", HEADS)
def test_maps_and_their_errors_are_those_of_tensorflow(head):
    by_litert, by_tensorflow = engines_of(model_of(HEADS[head]))
    noise = RANDOM.standard_normal((7, *IMAGES.shape)).astype(np.float32)
    settings = {"samples": 7, "noise": noise, "estimators": ESTIMATORS, "top": 5}
    for score in by_tensorflow.head.scores:
        found, wanted = (smoothgrad(each, IMAGES, score=score, **settings) for each in (by_litert, by_tensorflow))
        assert_same(found, wanted)


@pytest.mark.parametrize("classes", [[[4], [0]], [[0, 3], [1, 2]], [[0, 1, 2, 3], [4, 3, 2, 1]]])
@pytest.mark.parametrize("sampling", SAMPLINGS)
def test_any_number_of_classes_is_explained_by_the_same_noise(engines, classes, sampling):
    settings = {"samples": 12, "sampling": sampling, "estimators": ESTIMATORS, "seed": 5}
    assert_same(*(smoothgrad(each, IMAGES, classes, **settings) for each in engines))


def test_without_noise_the_map_is_the_plain_gradient(engines):
    by_litert, by_tensorflow = (smoothgrad(each, IMAGES, samples=0).maps["mean_abs"] for each in engines)
    np.testing.assert_allclose(by_litert, by_tensorflow, rtol=1e-3, atol=1e-6)


def test_bits_depend_neither_on_batches_nor_on_cores(model, engine):
    wanted = smoothgrad(engine, IMAGES[:1], samples=20).maps["mean_abs"].tobytes()
    one_core, _ = engines_of(model, cores=1)
    assert (engine.parallel_batches > 1) or one_core.parallel_batches == 1
    for each, size in ((engine, 5), (engine, 20), (one_core, "auto")):
        assert smoothgrad(each, IMAGES[:1], samples=20, batch_size=size).maps["mean_abs"].tobytes() == wanted


def test_an_image_stops_at_its_tolerance_after_as_many_samples_as_with_tensorflow(engines):
    found, wanted = (smoothgrad(each, IMAGES, samples=200, tolerance=0.1) for each in engines)
    assert found.samples.tolist() == wanted.samples.tolist()
    assert found.converged.all()


@pytest.mark.parametrize("method", ACTIVATION_METHODS)
def test_class_activation_maps_are_those_of_tensorflow(model, engine, method):
    wanted = ActivationMaps(model, method).maps(IMAGES, top=5)
    found = litert_maps(engine, IMAGES, top=5, method=method)
    np.testing.assert_allclose(found.maps[method], wanted.maps[method], rtol=1e-3, atol=1e-6)
    assert found.maps[method].any()
    assert found.classes.tolist() == wanted.classes.tolist()


def test_a_model_without_a_convolution_has_no_class_activation_map():
    keras.utils.set_random_seed(4)
    flat = keras.Sequential([keras.Input((4, 4, 3)), layers.Flatten(), layers.Dense(3, activation="softmax")])
    engine, _ = engines_of(flat)
    with pytest.raises(InvalidRequest, match="no convolution"):
        litert_maps(engine, IMAGES[:, :4, :4])


def test_a_graph_that_is_not_what_its_bundle_says_is_refused(model):
    graph, description = export_gradients(find_scores(model), model.input_shape[1:])
    with pytest.raises(ValueError, match="5 images at once instead of 4"):
        LiteRtEngine(graph, description.model_copy(update={"batch": 4}), np.asarray)
    with pytest.raises(ValueError, match="gradients_of_2"):
        LiteRtEngine(graph, description.model_copy(update={"slots": (1, 2)}), np.asarray)
    with pytest.raises(ValueError, match="not a valid Flatbuffer"):
        LiteRtEngine(b"no graph", description, np.asarray)
