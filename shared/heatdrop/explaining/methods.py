"""The method that the settings ask for, and what its maps say about how they were made."""

import logging
from functools import partial
from importlib.util import find_spec
from typing import Any

import numpy as np

from heatdrop.errors import InvalidBundle, TensorFlowMissing
from heatdrop.head import GradientGraph
from heatdrop.model.bundle import GRADIENTS, Bundle
from heatdrop.model.certificate import MapKind
from heatdrop.model.classifier import Classifier
from heatdrop.saliency import LiteRtEngine, MakeMaps, SaliencyMaps, maps_by
from heatdrop.saliency.class_activation import litert_maps
from heatdrop.vocabulary import ACTIVATION_METHODS, ESTIMATORS, ExplanationSettings, Method

logger = logging.getLogger(__name__)


def method_of(bundle: Bundle, settings: ExplanationSettings, *, on_gpu: bool = False) -> MakeMaps:
    """The method that ``settings`` ask for, ready to explain the model of a bundle.

    SmoothGrad makes all its estimators at once. On a CPU, the gradients that were packed with the model are used, and
    TensorFlow is not imported; on a GPU, or where they are missing, it is.

    Raises:
        InvalidBundle: the model is missing, changed, or cannot be loaded safely.
        InvalidRequest: the method cannot explain this model.
        TensorFlowMissing: it takes TensorFlow, which is not installed.
    """
    packed = bundle.description.gradients
    if on_gpu or packed is None:
        if packed is None:
            logger.warning(
                "%s; its maps are made by TensorFlow, which takes seconds to start", without_gradients(bundle)
            )
        return _by_tensorflow(bundle, settings)
    engine = _litert_engine(bundle, packed)
    return maps_by(settings, engine, lambda method: partial(litert_maps, engine, method=method), ESTIMATORS)


def without_gradients(bundle: Bundle) -> str:
    """That a bundle has no gradients, and what to do about it."""
    return f"bundle {bundle.folder} holds no gradients of its model, or is of an older version: pack it again"


def _by_tensorflow(bundle: Bundle, settings: ExplanationSettings) -> MakeMaps:
    if find_spec("tensorflow") is None:
        raise TensorFlowMissing(
            f"{without_gradients(bundle)}. TensorFlow could make its maps, but is not installed here: the heatmap "
            "container has it if it is built with --build-arg TENSORFLOW=tensorflow-cpu"
        )
    from heatdrop.model.loading import load_keras_model
    from heatdrop.saliency.activations import ActivationMaps
    from heatdrop.saliency.tensorflow_engine import engine_of

    model = load_keras_model(bundle)
    return maps_by(settings, engine_of(model), lambda method: ActivationMaps(model, method).maps, ESTIMATORS)


def _litert_engine(bundle: Bundle, packed: GradientGraph) -> LiteRtEngine:
    graph, classifier = bundle.read(GRADIENTS), Classifier(bundle)
    try:
        return LiteRtEngine(graph, packed, lambda inputs: np.stack([classifier.scores(each) for each in inputs]))
    except ValueError as error:
        raise InvalidBundle(f"{GRADIENTS} of bundle {bundle.folder} cannot be used: {error}; pack it again") from error


_UNITS: dict[Method, str] = {
    **dict.fromkeys(ACTIVATION_METHODS, "none; the map of the last convolution, enlarged"),
    "occlusion": "fall of the logarithm of the odds when the place is hidden",
    "rise": "covariance of the score with what is visible, from 0 up",
}


def kind_of(settings: ExplanationSettings, found: SaliencyMaps, name: str) -> MapKind:
    """The kind of the map that ``found`` holds under ``name``: an estimator of SmoothGrad, or another method."""
    update = {"estimator": name} if settings.method == "smoothgrad" else {}
    return MapKind.of(settings.model_copy(update=update), found.score)


def method_provenance(settings: ExplanationSettings, found: SaliencyMaps) -> dict[str, Any]:
    """How maps were made, as far as it must be known to make them again and to read them.

    ``score`` and ``sampling`` are those of the maps, whatever was asked for.
    """
    if settings.method == "integrated_gradients":
        return {
            "method": settings.method,
            "score": found.score,
            "sampling": found.sampling,
            **settings.model_dump(include={"samples", "noise_level", "seed"}),
            "units": "score that a pixel adds to that of the blurred image; absolute value of the sum over channels",
        }
    if settings.method != "smoothgrad":
        seed = {"seed": settings.seed} if settings.method == "rise" else {}
        return {"method": settings.method, "score": found.score, **seed, "units": _UNITS[settings.method]}
    return {
        "score": found.score,
        "sampling": found.sampling,
        **settings.model_dump(exclude={"top", "dicom"}),
        "units": "score per unit of preprocessed input, squared for squared and variance; maximum over channels",
    }
