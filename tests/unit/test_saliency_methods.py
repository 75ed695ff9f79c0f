"""Integrated gradients, occlusion and RISE, on models for which it is known what they look at."""

import keras
import numpy as np
import pytest

from heatdrop.errors import InvalidRequest
from heatdrop.saliency import GradientEngine, MakeMaps, maps_by
from heatdrop.saliency.integrated import blurred, integrated_gradients
from heatdrop.saliency.tensorflow_engine import TensorFlowEngine
from heatdrop.vocabulary import ESTIMATORS, ExplanationSettings

HEIGHT, WIDTH = 40, 32
PATCH = (slice(8, 16), slice(16, 24))
METHODS = ("integrated_gradients", "occlusion", "rise")


def reader(activation: str | None) -> keras.Model:
    """Its second class is the brightness of the patch, its first one the opposite; linear but for the activation."""
    model = keras.Sequential(
        [keras.Input((HEIGHT, WIDTH, 3)), keras.layers.Flatten(), keras.layers.Dense(2, activation=activation)]
    )
    weights = np.zeros((HEIGHT, WIDTH, 3, 2), np.float32)
    weights[(*PATCH, slice(None), 1)] = 0.02
    weights[(*PATCH, slice(None), 0)] = -0.02
    model.set_weights([weights.reshape(-1, 2), np.zeros(2, np.float32)])
    return model


@pytest.fixture(scope="module")
def image() -> np.ndarray:
    """Dim noise with a bright patch."""
    picture = np.random.default_rng(0).random((HEIGHT, WIDTH, 3), np.float32)
    picture[PATCH] += 1
    return picture


@pytest.fixture(scope="module")
def engine() -> GradientEngine:
    return TensorFlowEngine(reader("softmax"))


def made_ready(settings: ExplanationSettings, engine: GradientEngine) -> MakeMaps:
    def no_activations(method: str) -> MakeMaps:
        raise AssertionError(f"{method} is tested elsewhere")

    return maps_by(settings, engine, no_activations, ESTIMATORS)


def test_integrated_gradients_of_a_linear_score_are_its_weights_times_what_sets_the_image_apart(
    image: np.ndarray, engine: GradientEngine
) -> None:
    """Whatever the noise and however few the steps, since the gradient is the same everywhere."""
    weights = reader(None).get_weights()[0].reshape(HEIGHT, WIDTH, 3, 2)[..., 1]
    expected = np.abs((weights * (image - blurred(image))).sum(-1))
    for steps in (1, 7):
        found = integrated_gradients(engine, image[None], [[1]], steps=steps, seed=3)
        np.testing.assert_allclose(found.maps["integrated_gradients"][0, 0], expected, rtol=1e-4, atol=1e-7)
        assert found.samples.tolist() == [steps]


@pytest.mark.parametrize("activation", ["softmax", None])
@pytest.mark.parametrize("method", METHODS)
def test_map_points_at_what_the_model_looks_at(method: str, activation: str | None, image: np.ndarray) -> None:
    model = reader(activation)
    make = made_ready(ExplanationSettings(method=method), TensorFlowEngine(model))
    found = make(image[None], np.array([[1]]))
    raw = found.maps[method][0, 0]
    assert raw.shape == (HEIGHT, WIDTH)
    row, column = np.unravel_index(raw.argmax(), raw.shape)
    assert PATCH[0].start <= row < PATCH[0].stop
    assert PATCH[1].start <= column < PATCH[1].stop
    assert raw[PATCH].mean() > 3 * raw[24:].mean()
    assert (raw >= 0).all()
    assert found.warnings == ((),)


@pytest.mark.parametrize("method", METHODS)
def test_same_settings_give_the_same_bits_and_only_random_methods_heed_the_seed(method: str, image: np.ndarray) -> None:
    # Of a curved score: that of a linear one is the same with all noise.
    inputs = keras.Input((HEIGHT, WIDTH, 3))
    keras.utils.set_random_seed(1)
    x = keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(8, 5, activation="relu")(inputs))
    model = keras.Model(inputs, keras.layers.Dense(3, activation="softmax")(x))
    engine = TensorFlowEngine(model)

    def made(seed: int) -> np.ndarray:
        make = made_ready(ExplanationSettings(method=method, seed=seed, samples=7), engine)
        return make(image[None], np.array([[2, 0]])).maps[method]

    assert made(0).shape == (1, 2, HEIGHT, WIDTH)
    assert np.array_equal(made(0), made(0))
    assert np.array_equal(made(0), made(1)) == (method == "occlusion")


def test_constant_image_is_left_empty_with_a_warning(engine: GradientEngine) -> None:
    flat = np.full((1, HEIGHT, WIDTH, 3), 0.5, np.float32)
    for method in METHODS:
        found = made_ready(ExplanationSettings(method=method), engine)(flat, np.array([[1]]))
        assert not found.maps[method].any()
        assert "no signal" in found.warnings[0][0]


def test_integrated_gradients_without_a_step_are_refused(engine: GradientEngine, image: np.ndarray) -> None:
    settings = ExplanationSettings(method="integrated_gradients", samples=0)
    with pytest.raises(InvalidRequest, match="1 step or more"):
        made_ready(settings, engine)
    with pytest.raises(InvalidRequest, match="steps is 0"):
        integrated_gradients(engine, image[None], steps=0)
