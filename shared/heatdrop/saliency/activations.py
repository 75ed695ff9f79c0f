"""Class activation maps by TensorFlow, computed on the network laid flat: the convolution may lie in a nested model."""

from typing import Any

import keras
import tensorflow as tf
from keras.src.layers.convolutional.base_conv import BaseConv
from numpy.typing import ArrayLike

from heatdrop.errors import InvalidRequest
from heatdrop.saliency.class_activation import class_activation_maps, collected
from heatdrop.saliency.gradient_engine import Classes, Float
from heatdrop.saliency.grouped_convolution import GroupedConvolution
from heatdrop.saliency.maps import SaliencyMaps
from heatdrop.saliency.network import Network
from heatdrop.saliency.operations import Convolution, Opaque, Operation
from heatdrop.saliency.reading import read_network
from heatdrop.saliency.scores import both_sides, without_squash
from heatdrop.saliency.tensorflow_engine import engine_of
from heatdrop.vocabulary import ACTIVATION_METHODS, ActivationMethod


class ActivationMaps:
    """Explains by the feature maps of a convolutional layer, weighted by the gradient of a class's logit."""

    def __init__(self, model: keras.Model, method: ActivationMethod = "gradcam", *, layer: str | None = None) -> None:
        """Read the model.

        Args:
            model: a functional or sequential Keras classifier; its layers may be nested in models of their own.
            method: one of ``ACTIVATION_METHODS``.
            layer: the layer whose feature maps are used, by its name or its path (``base/conv5``); the last
                convolution by default.

        Raises:
            InvalidRequest: no such method or layer, or a model without a convolution.
        """
        if method not in ACTIVATION_METHODS:
            raise InvalidRequest(f"method is {method!r}; choose one of {', '.join(ACTIVATION_METHODS)}")
        self.method = method
        self._engine = engine_of(model)
        network = read_network(model)
        if self._engine.scores.squashes:
            network = without_squash(network)
        self._features = _place_of(network, layer)
        self._values = network.build_values()
        self._run = tf.function(self._features_and_gradients, autograph=False)

    def maps(self, images: ArrayLike, classes: ArrayLike | None = None, *, top: int = 3) -> SaliencyMaps:
        """Explain images, see ``class_activation.collected``.

        Raises:
            InvalidRequest: also where the layer gives no feature maps.
        """
        return collected(self._engine, self._maps_of, self.method, images, classes, top)

    def _maps_of(self, image: Float, classes: Classes) -> Float:
        features, gradients, scores = (result.numpy() for result in self._run(image[None], classes))
        size = image.shape[0], image.shape[1]
        return class_activation_maps(self.method, features[0], gradients[:, 0], scores, size)

    def _features_and_gradients(self, images: Any, classes: Any) -> tuple[Any, Any, Any]:
        """Features (1, h, w, C), the gradients (K, 1, h, w, C) of the classes' scores, and those scores (K,)."""
        values = self._values(images)
        features, outputs = values[self._features], values[-1]
        if len(features.shape) != 4:
            raise InvalidRequest(f"layer gives {tuple(features.shape[1:])}; one that gives images is needed")
        if self._engine.head.two_sided:
            outputs = both_sides(outputs, self._engine.head.explained("logit"))
        scores = tf.gather(outputs[0], classes)
        gradients = [tf.gradients(scores[index], features)[0] for index in range(classes.shape[0])]
        if any(gradient is None for gradient in gradients):
            raise InvalidRequest("no gradient reaches the layer whose feature maps are used; name another one")
        return features, tf.stack(gradients), scores


def _place_of(network: Network, layer: str | None) -> int:
    """The position of the last node of a layer; of the last convolution's when ``layer`` is None.

    Raises:
        InvalidRequest: there is none.
    """
    nodes = list(enumerate(network.nodes))[1:]
    layer = layer or last_convolution(network)
    if layer is None:
        raise InvalidRequest("the model has no convolution")
    positions = [index for index, node in nodes if node.layer == layer or node.layer.endswith(f"/{layer}")]
    if not positions:
        raise InvalidRequest(f"layer is {layer!r}; the model has none of that name that computes anything")
    return positions[-1]


def last_convolution(network: Network) -> str | None:
    """The path of the layer that is the last convolution of a network; None where there is none."""
    operations = ((node.operation, node.layer) for node in reversed(network.nodes) if node.operation is not None)
    return next((layer for operation, layer in operations if _is_convolution(operation)), None)


def _is_convolution(operation: Operation) -> bool:
    """Whether an operation mixes channels over a window, as Keras's own convolutions do and depthwise ones do not."""
    if isinstance(operation, GroupedConvolution):
        return int(operation.kernel.shape[2]) > 1
    if isinstance(operation, Opaque):
        return bool(isinstance(operation.layer, BaseConv))
    return isinstance(operation, Convolution)
