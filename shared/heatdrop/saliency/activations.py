"""Class activation maps: coarser than SmoothGrad, and one forward pass an image for all its classes.

- ``gradcam``: Selvaraju, Cogswell, Das, Vedantam, Parikh, Batra, "Grad-CAM", ICCV 2017
- ``gradcam++``: Chattopadhay, Sarkar, Howlader, Balasubramanian, "Grad-CAM++", WACV 2018
- ``layercam``: Jiang, Zhang, Hou, Cheng, Wei, "LayerCAM", IEEE TIP 2021
- ``hirescam``: Draelos, Carin, "Use HiResCAM instead of Grad-CAM", arXiv:2011.08891, 2020

They are computed on the network laid flat, so that the convolution may lie in a nested model. On models that are flat,
the first three give what tf-keras-vis gives (``tests/unit/test_saliency_activation_maps.py``).
"""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras.src.layers.convolutional.base_conv import BaseConv
from numpy.typing import ArrayLike, NDArray
from scipy.ndimage import zoom

from heatdrop.errors import InvalidRequest
from heatdrop.saliency import checks
from heatdrop.saliency.engine import engine_of
from heatdrop.saliency.grouped_convolution import GroupedConvolution
from heatdrop.saliency.maps import Float, SaliencyMaps, empty_invalid
from heatdrop.saliency.network import Network
from heatdrop.saliency.operations import Convolution, Opaque, Operation
from heatdrop.saliency.reading import read_network
from heatdrop.saliency.scores import without_squash
from heatdrop.vocabulary import ACTIVATION_METHODS, ActivationMethod

_GREATEST_LOGIT = 60.0
"""The exponential of a greater one has too few digits left in float32 for Grad-CAM++, or none."""

Weigh = Callable[[Float, Float, Float], Float]
"""Features (h, w, C), the gradients of scores with respect to them (K, h, w, C) and the scores (K,) to (K, h, w)."""


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
        if self._engine.head.squashes:
            network = without_squash(network)
        self._features = _place_of(network, layer)
        self._values = network.build_values()
        self._run = tf.function(self._features_and_gradients, autograph=False)

    def maps(self, images: ArrayLike, classes: ArrayLike | None = None, *, top: int = 3) -> SaliencyMaps:
        """Explain images.

        Args:
            images: (B, H, W, C) float32, already preprocessed.
            classes: (B, K) class indices to explain; the ``top`` best of each image by default.
            top: how many classes to explain when ``classes`` is not given (at most the model has).

        Returns:
            Maps under the method's name, 0 or more, of no unit: the layer's map enlarged to H x W linearly.

        Raises:
            InvalidRequest: an argument has the wrong shape or is out of its range, or the layer gives no feature maps;
                the message names it.
        """
        batch = checks.images(images, self._engine.input_shape)
        scores = self._engine.predict(batch)
        chosen = checks.classes(classes, scores, top)
        maps = np.zeros((*chosen.shape, *batch.shape[1:3]), np.float32)
        remarks = []
        for index, image in enumerate(batch):
            maps[index] = self._explain(image, chosen[index])
            found = {str(self.method): maps[index]}
            said = empty_invalid(found, {self.method: np.zeros_like(maps[index])}, image, chosen[index])
            remarks.append((*said, *self._engine.head.missing("logit")))
        return SaliencyMaps(
            maps={self.method: maps},
            standard_errors={},
            relative_errors={},
            classes=chosen,
            scores=np.take_along_axis(scores, chosen, axis=1),
            samples=np.zeros(len(batch), np.int64),
            converged=np.ones(len(batch), np.bool_),
            score=self._engine.head.explained("logit"),
            warnings=tuple(remarks),
        )

    def _explain(self, image: Float, classes: NDArray[np.int64]) -> Float:
        """The maps (K, H, W) of an image (H, W, C)."""
        features, gradients, scores = (result.numpy() for result in self._run(image[None], classes))
        cams = np.maximum(_METHODS[self.method](features[0], gradients[:, 0], scores), 0)
        factors = [whole / part for whole, part in zip(image.shape[:2], cams.shape[1:], strict=True)]
        return np.stack([zoom(cam, factors, order=1) for cam in cams])

    def _features_and_gradients(self, images: Any, classes: Any) -> tuple[Any, Any, Any]:
        """Features (1, h, w, C), the gradients (K, 1, h, w, C) of the classes' scores, and those scores (K,)."""
        values = self._values(images)
        features, outputs = values[self._features], values[-1]
        if len(features.shape) != 4:
            raise InvalidRequest(f"layer gives {tuple(features.shape[1:])}; one that gives images is needed")
        if self._engine.head.two_sided:
            logit = self._engine.head.explained("logit") == "logit"
            outputs = tf.concat([-outputs if logit else 1 - outputs, outputs], axis=1)
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
    if layer is None:
        found = [node.layer for _, node in nodes if node.operation is not None and _is_convolution(node.operation)]
        if not found:
            raise InvalidRequest("the model has no convolution")
        layer = found[-1]
    positions = [index for index, node in nodes if node.layer == layer or node.layer.endswith(f"/{layer}")]
    if not positions:
        raise InvalidRequest(f"layer is {layer!r}; the model has none of that name that computes anything")
    return positions[-1]


def _is_convolution(operation: Operation) -> bool:
    """Whether an operation mixes channels over a window, as Keras's own convolutions do and depthwise ones do not."""
    if isinstance(operation, GroupedConvolution):
        return int(operation.kernel.shape[2]) > 1
    if isinstance(operation, Opaque):
        return bool(isinstance(operation.layer, BaseConv))
    return isinstance(operation, Convolution)


def _gradcam(features: Float, gradients: Float, scores: Float) -> Float:
    weights = gradients.mean(axis=(1, 2), keepdims=True)
    return np.asarray((features * weights).sum(axis=-1))


def _gradcam_plus_plus(features: Float, gradients: Float, scores: Float) -> Float:
    """With the derivatives of the exponential of the score, as the paper has it."""
    first = np.exp(np.minimum(scores, _GREATEST_LOGIT))[:, None, None, None] * gradients
    second = first * gradients
    below = 2 * second + second * gradients * features.sum(axis=(0, 1))
    shares = second / np.where(second == 0, below + 1, below)
    total = shares.sum(axis=(1, 2), keepdims=True)
    shares = shares / np.where(total == 0, 1, total)
    weights = (np.maximum(first, 0) * shares).sum(axis=(1, 2), keepdims=True)
    return np.asarray((features * weights).sum(axis=-1))


def _layercam(features: Float, gradients: Float, scores: Float) -> Float:
    return np.asarray((features * np.maximum(gradients, 0)).sum(axis=-1))


def _hirescam(features: Float, gradients: Float, scores: Float) -> Float:
    return np.asarray((features * gradients).sum(axis=-1))


_METHODS: dict[ActivationMethod, Weigh] = {
    "gradcam": _gradcam,
    "gradcam++": _gradcam_plus_plus,
    "layercam": _layercam,
    "hirescam": _hirescam,
}
