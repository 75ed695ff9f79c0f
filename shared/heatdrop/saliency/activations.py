"""Class activation maps, computed by tf-keras-vis: coarser than SmoothGrad, and one pass an image.

- ``gradcam``: Selvaraju, Cogswell, Das, Vedantam, Parikh, Batra, "Grad-CAM", ICCV 2017
- ``gradcam++``: Chattopadhay, Sarkar, Howlader, Balasubramanian, "Grad-CAM++", WACV 2018
- ``layercam``: Jiang, Zhang, Hou, Cheng, Wei, "LayerCAM", IEEE TIP 2021
"""

import warnings
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from numpy.typing import ArrayLike

from heatdrop.errors import InvalidRequest
from heatdrop.saliency import checks
from heatdrop.saliency.engine import GradientEngine, engine_of
from heatdrop.saliency.logits import logits_model
from heatdrop.saliency.maps import Float, SaliencyMaps, empty_invalid
from heatdrop.saliency.scores import Head
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
        self._explain = _method(method, model, layer, self._engine.head)

    def maps(self, images: ArrayLike, classes: ArrayLike | None = None, *, top: int = 3) -> SaliencyMaps:
        """Explain images.

        Args:
            images: (B, H, W, C) float32, already preprocessed.
            classes: (B, K) class indices to explain; the ``top`` best of each image by default.
            top: how many classes to explain when ``classes`` is not given (at most the model has).

        Returns:
            Maps under the method's name, 0 or more, of no unit: the layer's map enlarged to H x W linearly.

        Raises:
            InvalidRequest: an argument has the wrong shape or is out of its range; the message names it.
        """
        batch = checks.images(images, self._engine.input_shape)
        scores = self._engine.predict(batch)
        chosen = checks.classes(classes, scores, top)
        maps = np.zeros((*chosen.shape, *batch.shape[1:3]), np.float32)
        remarks = []
        for index, image in enumerate(batch):
            for position, number in enumerate(chosen[index]):
                maps[index, position] = self._explain(_score(self._engine, int(number)), image)
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


def _method(
    method: ActivationMethod, model: keras.Model, layer: str | None, head: Head
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
    method_of_model = kind(logits_model(model, head.squash_layers))
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
