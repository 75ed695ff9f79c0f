"""Grad-CAM, Grad-CAM++, LayerCAM and HiResCAM behind SmoothGrad's result type, of flat and of nested models."""

import keras
import numpy as np
import pytest
from keras import layers
from tf_keras_vis.gradcam import Gradcam
from tf_keras_vis.gradcam_plus_plus import GradcamPlusPlus
from tf_keras_vis.layercam import Layercam
from tf_keras_vis.utils.scores import CategoricalScore

from heatdrop.bench.peers.logits import logits_model
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


def test_a_model_without_a_convolution_is_refused():
    flat = keras.Sequential([keras.Input((12, 10, 3)), layers.Flatten(), layers.Dense(2, activation="softmax")])

    with pytest.raises(InvalidRequest, match="no convolution"):
        ActivationMaps(flat)


def test_a_layer_that_gives_no_images_is_refused():
    with pytest.raises(InvalidRequest, match=r"layer gives \(3,\); one that gives images"):
        ActivationMaps(convolutional(layers.Dense(3, name="scores")), layer="scores").maps(IMAGES)


KINDS = {"gradcam": Gradcam, "gradcam++": GradcamPlusPlus, "layercam": Layercam}


@pytest.mark.filterwarnings("ignore:The structure of `inputs`:UserWarning")
@pytest.mark.parametrize("method", KINDS)
@pytest.mark.parametrize("layer", [None, "conv3_block1_2_conv", "pool2_relu"])
def test_maps_of_a_flat_model_are_those_of_tf_keras_vis(method, layer):
    """On a DenseNet, for each class by itself."""
    model, image = fixed_model(SMALL), radiographs((64, 64), 1)
    theirs = KINDS[method](logits_model(model))
    wanted = [
        theirs(
            CategoricalScore(index),
            image,
            penultimate_layer=layer,
            seek_penultimate_conv_layer=layer is None,
            normalize_cam=False,
        )[0]
        for index in (2, 0)
    ]

    found = ActivationMaps(model, method, layer=layer).maps(image, [[2, 0]]).maps[method][0]

    scale = np.maximum(np.abs(wanted).max(axis=(1, 2), keepdims=True), 1e-9)
    np.testing.assert_allclose(found / scale, wanted / scale, atol=2e-4)


@pytest.mark.parametrize("method", ACTIVATION_METHODS)
def test_a_nested_model_has_the_maps_of_the_same_layers_laid_flat(method):
    def body(x):
        x = layers.Conv2D(5, 3, activation="relu", name="early")(x)
        return layers.Conv2D(6, 3, activation="tanh", name="late")(x)

    keras.utils.set_random_seed(3)
    inputs = keras.Input((12, 10, 3))
    inner = keras.Model(inputs, body(inputs), name="backbone")
    outer = keras.Input((12, 10, 3))
    head = layers.Dense(4, activation="softmax")
    nested = keras.Model(outer, head(layers.GlobalAveragePooling2D()(keras.Sequential([inner], name="wrapped")(outer))))
    flat = keras.Model(inputs, head(layers.GlobalAveragePooling2D()(inner.outputs[0])))

    for layer in (None, "early", "late"):
        wanted = ActivationMaps(flat, method, layer=layer).maps(IMAGES).maps[method]
        found = ActivationMaps(nested, method, layer=layer).maps(IMAGES).maps[method]
        np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-7)
    by_path = ActivationMaps(nested, method, layer="wrapped/backbone/early").maps(IMAGES).maps[method]
    np.testing.assert_array_equal(by_path, ActivationMaps(nested, method, layer="early").maps(IMAGES).maps[method])


def test_hirescam_is_the_sum_of_what_each_place_adds_to_the_logit():
    """Behind a flatten and a dense layer, the map adds up to the logit less its bias."""
    keras.utils.set_random_seed(3)
    model = keras.Sequential(
        [keras.Input((8, 8, 3)), layers.Conv2D(4, 1, use_bias=False), layers.Flatten(), layers.Dense(2)]
    )
    image = np.random.default_rng(1).standard_normal((1, 8, 8, 3)).astype(np.float32)
    features, kernel = model.layers[0](image).numpy(), model.layers[2].kernel.numpy()
    wanted = np.maximum((features[0] * kernel[:, 1].reshape(8, 8, 4)).sum(-1), 0)

    found = ActivationMaps(model, "hirescam").maps(image, [[1]]).maps["hirescam"][0, 0]

    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-6)


def test_one_forward_pass_serves_all_classes():
    maps = ActivationMaps(convolutional(layers.Dense(5, activation="softmax")))
    maps.maps(IMAGES, top=5)

    graph = maps._run._list_all_concrete_functions()[-1].graph
    assert sum(operation.type == "Conv2D" for operation in graph.get_operations()) == 1


def test_a_great_logit_leaves_a_map():
    model = convolutional(layers.Dense(3))
    model.layers[-1].set_weights([weights * 1e4 for weights in model.layers[-1].get_weights()])

    assert ActivationMaps(model, "gradcam++").maps(IMAGES, top=1).maps["gradcam++"].any()
