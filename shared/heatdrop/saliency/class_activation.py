"""Class activation maps of the results of a convolution and the gradients of a class's logit with respect to them.

The same values as tf-keras-vis gives:

- ``gradcam``: Selvaraju, Cogswell, Das, Vedantam, Parikh, Batra, "Grad-CAM", ICCV 2017
- ``gradcam++``: Chattopadhay, Sarkar, Howlader, Balasubramanian, "Grad-CAM++", WACV 2018
- ``layercam``: Jiang, Zhang, Hou, Cheng, Wei, "LayerCAM", IEEE TIP 2021
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike
from scipy.ndimage import zoom

from heatdrop.saliency import checks
from heatdrop.saliency.gradient_engine import Classes, Float, GradientEngine
from heatdrop.saliency.litert_engine import LiteRtEngine
from heatdrop.saliency.maps import SaliencyMaps, empty_invalid
from heatdrop.vocabulary import ActivationMethod

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
        activations, gradients, logits = engine.activations(image, chosen)
        size = image.shape[0], image.shape[1]
        pairs = zip(gradients, logits, strict=True)
        return np.stack([class_activation_map(method, activations, each, float(logit), size) for each, logit in pairs])

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
        said = empty_invalid({method: maps[index]}, {method: np.zeros_like(maps[index])}, image, chosen[index])
        remarks.append((*said, *engine.head.missing("logit")))
    return SaliencyMaps(
        maps={method: maps},
        standard_errors={},
        relative_errors={},
        classes=chosen,
        scores=np.take_along_axis(scores, chosen, axis=1),
        samples=np.zeros(len(batch), np.int64),
        converged=np.ones(len(batch), np.bool_),
        score=engine.head.explained("logit"),
        warnings=tuple(remarks),
    )


def class_activation_map(
    method: ActivationMethod, activations: Float, gradients: Float, score: float, size: tuple[int, int]
) -> Float:
    """The map of one class.

    Args:
        method: which one.
        activations: (h, w, c), the results of a convolution.
        gradients: (h, w, c), of the class's logit with respect to them.
        score: the class's logit, which Grad-CAM++ needs.
        size: (H, W), to which the map is enlarged linearly.

    Returns:
        (H, W), 0 or more, of no unit.
    """
    if method == "layercam":
        weights = np.maximum(gradients, 0)
    elif method == "gradcam++":
        weights = _of_gradcam_plus_plus(activations, gradients, score)
    else:
        weights = gradients.mean(axis=(0, 1))
    small = np.maximum((activations * weights).sum(axis=-1), 0)
    factors = tuple(wanted / given for wanted, given in zip(size, small.shape, strict=True))
    enlarged: Float = zoom(small, factors, order=1).astype(np.float32)
    return enlarged


def _of_gradcam_plus_plus(activations: Float, gradients: Float, score: float) -> Float:
    """(c,): how much each channel counts. The first derivative is that of exp(logit)."""
    first = np.exp(np.float32(score)) * gradients
    second, third = first * gradients, first * gradients * gradients
    below = 2 * second + third * activations.sum(axis=(0, 1))
    alphas = second / np.where(second == 0, below + 1, below)
    total = alphas.sum(axis=(0, 1))
    alphas = alphas / np.where(total == 0, 1, total)
    weights: Float = (np.maximum(first, 0) * alphas).sum(axis=(0, 1))
    return weights
