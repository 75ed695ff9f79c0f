"""The method that the settings ask for, and what its maps say about how they were made."""

from typing import Any

import keras

from heatdrop.model.certificate import MapKind
from heatdrop.saliency import MakeMaps, SaliencyMaps, engine_of, maps_by
from heatdrop.vocabulary import ESTIMATORS, ExplanationSettings, Method


def method_of(model: keras.Model, settings: ExplanationSettings) -> MakeMaps:
    """The method that ``settings`` ask for, ready to explain ``model``. SmoothGrad makes all its estimators at once.

    Raises:
        InvalidRequest: the method cannot explain this model.
    """
    return maps_by(settings, model, engine_of(model), ESTIMATORS)


_ENLARGED = "none; the map of the last convolution, enlarged"
_UNITS: dict[Method, str] = {
    "gradcam": _ENLARGED,
    "gradcam++": _ENLARGED,
    "layercam": _ENLARGED,
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
