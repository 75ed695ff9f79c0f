"""The method that the settings ask for, and what its maps say about how they were made."""

from collections.abc import Callable
from functools import partial
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from heatdrop.model.certificate import MapKind
from heatdrop.saliency import ActivationMaps, SaliencyMaps, engine_of, smoothgrad
from heatdrop.vocabulary import ESTIMATORS, ExplanationSettings

MakeMaps = Callable[[NDArray[np.float32], NDArray[np.int64]], SaliencyMaps]
"""Makes the maps of preprocessed images (B, H, W, C) for class indices (B, K)."""


def method_of(model: keras.Model, settings: ExplanationSettings) -> MakeMaps:
    """The method that ``settings`` ask for, ready to explain ``model``. SmoothGrad makes all its estimators at once.

    Raises:
        InvalidRequest: the method cannot explain this model.
    """
    if settings.method != "smoothgrad":
        return ActivationMaps(model, settings.method).maps
    return partial(
        smoothgrad,
        engine_of(model),
        samples=settings.samples,
        noise_level=settings.noise_level,
        estimators=ESTIMATORS,
        seed=settings.seed,
    )


def kind_of(settings: ExplanationSettings, found: SaliencyMaps, name: str) -> MapKind:
    """The kind of the map that ``found`` holds under ``name``: an estimator of SmoothGrad, or another method."""
    update = {"estimator": name} if settings.method == "smoothgrad" else {}
    return MapKind.of(settings.model_copy(update=update), found.score)


def method_provenance(settings: ExplanationSettings, found: SaliencyMaps) -> dict[str, Any]:
    """How maps were made, as far as it must be known to make them again and to read them.

    ``score`` and ``sampling`` are those of the maps, whatever was asked for.
    """
    if settings.method != "smoothgrad":
        return {
            "method": settings.method,
            "score": found.score,
            "units": "none; the map of the last convolution, enlarged",
        }
    return {
        "score": found.score,
        "sampling": found.sampling,
        **settings.model_dump(exclude={"top", "dicom"}),
        "units": "score per unit of preprocessed input, squared for squared and variance; maximum over channels",
    }
