"""Class activation maps, computed by tf-keras-vis: coarser than SmoothGrad, and one pass an image and class.

``class_activation`` computes the same ones without TensorFlow, and says where they come from.
"""

import warnings
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from numpy.typing import ArrayLike

from heatdrop.errors import InvalidRequest
from heatdrop.saliency.class_activation import collected
from heatdrop.saliency.gradient_engine import Classes, Float, GradientEngine
from heatdrop.saliency.logits import logits_model
from heatdrop.saliency.maps import SaliencyMaps
from heatdrop.saliency.scores import ScoreNetworks
from heatdrop.saliency.tensorflow_engine import engine_of
from heatdrop.vocabulary import ACTIVATION_METHODS, ActivationMethod


class ActivationMaps:
    """Explains by the feature maps of a convolutional layer, weighted by the gradient of a class's logit."""

    def __init__(self, model: keras.Model, method: ActivationMethod = "gradcam", *, layer: str | None = None) -> None:
        """Read the model.

        Args:
            model: a functional or sequential Keras classifier, its layers not nested in a model of their own.
            method: one of ``ACTIVATION_METHODS``.
            layer: the name of the layer whose feature maps are used; the last convolution by default.

        Raises:
            InvalidRequest: no such method or layer, or a model without a convolution.
        """
        if method not in ACTIVATION_METHODS:
            raise InvalidRequest(f"method is {method!r}; choose one of {', '.join(ACTIVATION_METHODS)}")
        self.method = method
        self._engine = engine_of(model)
        self._explain = _method(method, model, layer, self._engine.scores)

    def maps(self, images: ArrayLike, classes: ArrayLike | None = None, *, top: int = 3) -> SaliencyMaps:
        """Explain images, see ``class_activation.collected``."""
        return collected(self._engine, self._maps_of, self.method, images, classes, top)

    def _maps_of(self, image: Float, classes: Classes) -> Float:
        return np.stack([self._explain(_score(self._engine, int(number)), image) for number in classes])


def _method(
    method: ActivationMethod, model: keras.Model, layer: str | None, scores: ScoreNetworks
) -> Callable[[Any, Float], Float]:
    # Imported here: only these methods need it.
    from tf_keras_vis.gradcam import Gradcam
    from tf_keras_vis.gradcam_plus_plus import GradcamPlusPlus
    from tf_keras_vis.layercam import Layercam

    names = {known.name for known in model.layers}
    if layer is not None and layer not in names:
        raise InvalidRequest(f"layer is {layer!r}; the model has none of that name")
    if layer is None and not any(isinstance(known, keras.layers.Conv2D) for known in model.layers):
        raise InvalidRequest("model has no convolution of its own (one inside a nested model does not count)")
    kind = {"gradcam": Gradcam, "gradcam++": GradcamPlusPlus, "layercam": Layercam}[method]
    method_of_model = kind(logits_model(model, scores.squash_layers))
    options = {"penultimate_layer": layer, "seek_penultimate_conv_layer": layer is None, "normalize_cam": False}

    def explain(score: Any, image: Float) -> Float:
        with warnings.catch_warnings():
            # Keras remarks that tf-keras-vis gives it a list of one input.
            warnings.filterwarnings("ignore", "The structure of `inputs`", UserWarning)
            found: Float = np.asarray(method_of_model(score, image[None], **options), np.float32)[0]
        return found

    return explain


def _score(engine: GradientEngine, number: int) -> Callable[[Any], Any]:
    if engine.head.two_sided:
        return lambda outputs: outputs[:, 0] if number else -outputs[:, 0]
    return lambda outputs: outputs[:, number]
