"""Grad-CAM, Grad-CAM++ and LayerCAM behind SmoothGrad's result type."""

import keras
import numpy as np
import pytest
from keras import layers

from heatdrop.bench.subjects import SMALL, fixed_model, radiographs
from heatdrop.errors import InvalidRequest
from heatdrop.saliency.activations import ActivationMaps
from heatdrop.vocabulary import ACTIVATION_METHODS

IMAGES = np.random.default_rng(1).standard_normal((2, 12, 10, 3)).astype(np.float32)


def convolutional(*head):
    keras.utils.set_random_seed(3)
    body = layers.Conv2D(6, 3, padding="same", activation="relu", name="seen"), layers.GlobalAveragePooling2D()
    return keras.Sequential([keras.Input((12, 10, 3)), *body, *head])


@pytest.mark.parametrize("method", ACTIVATION_METHODS)
def test_every_method_explains_the_best_classes_of_a_densenet(method):
    found = ActivationMaps(fixed_model(SMALL), method).maps(radiographs((64, 64), 2), top=2)

    maps = found.maps[method]
    assert maps.shape == (2, 2, 64, 64)
    assert maps.dtype == np.float32
    assert (maps >= 0).all()
    assert all(
        image.any() or "has no signal" in " ".join(said) for image, said in zip(maps, found.warnings, strict=True)
    )


@pytest.mark.parametrize("head", [(layers.Dense(4, activation="softmax"),), (layers.Dense(4), layers.Softmax())])
def test_gradcam_is_the_gradient_of_the_logit_times_what_the_last_convolution_saw(head):
    model = convolutional(*head)
    features = keras.Model(model.inputs[0], model.get_layer("seen").output)(IMAGES).numpy()
    dense = next(layer for layer in model.layers if isinstance(layer, layers.Dense))
    # Behind a global average, every pixel of a feature has the gradient weight / pixels.
    wanted = np.maximum((features * dense.kernel.numpy()[:, 2]).sum(-1) / (12 * 10), 0)

    found = ActivationMaps(model, "gradcam").maps(IMAGES, [[2], [2]])

    np.testing.assert_allclose(found.maps["gradcam"][:, 0], wanted, rtol=1e-4, atol=1e-7)


def test_the_two_sides_of_a_sigmoid_are_explained_by_opposite_features():
    found = ActivationMaps(convolutional(layers.Dense(1, activation="sigmoid"))).maps(IMAGES, [[0, 1], [0, 1]])

    maps = found.maps["gradcam"]
    assert maps.any()
    assert not (maps[:, 0] * maps[:, 1]).any()


def test_a_layer_can_be_chosen():
    found = ActivationMaps(fixed_model(SMALL), layer="conv2_block1_2_conv").maps(radiographs((64, 64), 1), [[0]])

    assert found.maps["gradcam"].shape == (1, 1, 64, 64)


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"method": "scorecam"}, "method is 'scorecam'"),
        ({"layer": "none"}, "layer is 'none'"),
    ],
)
def test_a_method_or_layer_that_is_not_there_is_named(settings, named):
    with pytest.raises(InvalidRequest, match=named):
        ActivationMaps(convolutional(layers.Dense(3)), **settings)


def test_an_argument_out_of_its_range_is_named():
    with pytest.raises(InvalidRequest, match="top is 0"):
        ActivationMaps(convolutional(layers.Dense(3))).maps(IMAGES, top=0)


def test_a_model_whose_convolutions_are_all_nested_is_refused():
    inner = keras.Sequential([keras.Input((12, 10, 3)), layers.Conv2D(4, 3)])
    outer = keras.Sequential([keras.Input((12, 10, 3)), inner, layers.GlobalAveragePooling2D(), layers.Dense(2)])

    with pytest.raises(InvalidRequest, match="no convolution of its own"):
        ActivationMaps(outer)
