"""Class activation maps: coarser than SmoothGrad, and one forward pass an image for all its classes.

- ``gradcam``: Selvaraju, Cogswell, Das, Vedantam, Parikh, Batra, "Grad-CAM", ICCV 2017
- ``gradcam++``: Chattopadhay, Sarkar, Howlader, Balasubramanian, "Grad-CAM++", WACV 2018
- ``layercam``: Jiang, Zhang, Hou, Cheng, Wei, "LayerCAM", IEEE TIP 2021
- ``hirescam``: Draelos, Carin, "Use HiResCAM instead of Grad-CAM", arXiv:2011.08891, 2020

The first three give what tf-keras-vis gives (``tests/unit/test_saliency_activation_maps.py``).
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike
from scipy.ndimage import zoom

from heatdrop.saliency import checks
from heatdrop.saliency.gradient_engine import Classes, Float, GradientEngine
from heatdrop.saliency.litert_engine import LiteRtEngine
from heatdrop.saliency.maps import SaliencyMaps, empty_invalid_of, of_one_method
from heatdrop.vocabulary import ActivationMethod

_GREATEST_LOGIT = 60.0
"""The exponential of a greater one has too few digits left in float32 for Grad-CAM++, or none."""

MapsOf = Callable[[Float, Classes], Float]
"""The maps (K, H, W) of one preprocessed image (H, W, C) for class indices (K,)."""


def litert_maps(
    engine: LiteRtEngine,
    images: ArrayLike,
    classes: ArrayLike | None = None,
    *,
    top: int = 3,
    method: ActivationMethod = "gradcam",
) -> SaliencyMaps:
    """Explain images by the last convolution of the model, without TensorFlow; see ``collected``."""

    def maps_of(image: Float, chosen: Classes) -> Float:
        features, gradients, logits = engine.activations(image, chosen)
        return class_activation_maps(method, features, gradients, logits, (image.shape[0], image.shape[1]))

    return collected(engine, maps_of, method, images, classes, top)


def collected(
    engine: GradientEngine,
    maps_of: MapsOf,
    method: ActivationMethod,
    images: ArrayLike,
    classes: ArrayLike | None,
    top: int,
) -> SaliencyMaps:
    """The maps of several images.

    Args:
        engine: knows the model's scores.
        maps_of: makes the maps of one image.
        method: its name.
        images: (B, H, W, C) float32, already preprocessed.
        classes: (B, K) class indices to explain; the ``top`` best of each image by default.
        top: how many classes to explain when ``classes`` is not given (at most the model has).

    Returns:
        Maps under the method's name, 0 or more, of no unit: the layer's map enlarged to H x W linearly.

    Raises:
        InvalidRequest: an argument has the wrong shape or is out of its range; the message names it.
    """
    batch = checks.images(images, engine.input_shape)
    scores = engine.predict(batch)
    chosen = checks.classes(classes, scores, top)
    maps = np.zeros((*chosen.shape, *batch.shape[1:3]), np.float32)
    remarks = []
    for index, image in enumerate(batch):
        maps[index] = maps_of(image, chosen[index])
        said = empty_invalid_of(method, maps[index], image, chosen[index])
        remarks.append((*said, *engine.head.missing("logit")))
    scores = np.take_along_axis(scores, chosen, axis=1)
    return of_one_method(method, maps, chosen, scores, engine.head.explained("logit"), remarks)


def class_activation_maps(
    method: ActivationMethod, features: Float, gradients: Float, scores: Float, size: tuple[int, int]
) -> Float:
    """The maps (K, H, W) of K classes, 0 or more, of no unit.

    Args:
        method: which ones.
        features: (h, w, C), the results of a convolution.
        gradients: (K, h, w, C), of the classes' logits with respect to them.
        scores: (K,), those logits, which Grad-CAM++ needs.
        size: (H, W), to which the maps are enlarged linearly.
    """
    small = np.maximum(_METHODS[method](features, gradients, scores), 0)
    factors = [whole / part for whole, part in zip(size, small.shape[1:], strict=True)]
    return np.stack([zoom(one, factors, order=1) for one in small]).astype(np.float32)


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


_METHODS: dict[ActivationMethod, Callable[[Float, Float, Float], Float]] = {
    "gradcam": _gradcam,
    "gradcam++": _gradcam_plus_plus,
    "layercam": _layercam,
    "hirescam": _hirescam,
}
