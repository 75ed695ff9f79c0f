"""Every method by its name, ready to explain one model."""

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
from numpy.typing import NDArray

from heatdrop.errors import InvalidRequest
from heatdrop.saliency.gradient_engine import GradientEngine
from heatdrop.saliency.hiding import hiding_maps
from heatdrop.saliency.integrated import integrated_gradients
from heatdrop.saliency.maps import SaliencyMaps
from heatdrop.saliency.smoothgrad import smoothgrad
from heatdrop.vocabulary import ActivationMethod, Estimator, ExplanationSettings

MakeMaps = Callable[[NDArray[np.float32], NDArray[np.int64]], SaliencyMaps]
"""Makes the maps of preprocessed images (B, H, W, C) for class indices (B, K)."""


def maps_by(
    settings: ExplanationSettings,
    engine: GradientEngine,
    activation_maps: Callable[[ActivationMethod], MakeMaps],
    estimators: Sequence[Estimator],
) -> MakeMaps:
    """The method that ``settings`` ask for; SmoothGrad makes all ``estimators`` at once.

    Args:
        settings: which method, and how.
        engine: of the model.
        activation_maps: makes a class activation map ready: each engine has its own way.
        estimators: of SmoothGrad.

    Raises:
        InvalidRequest: the method cannot explain this model.
    """
    method = settings.method
    if method == "smoothgrad":
        return partial(
            smoothgrad,
            engine,
            samples=settings.samples,
            noise_level=settings.noise_level,
            estimators=estimators,
            seed=settings.seed,
            jitter=settings.jitter,
        )
    if method == "integrated_gradients":
        if not settings.samples:
            raise InvalidRequest("samples is 0; integrated gradients take 1 step or more")
        return partial(
            integrated_gradients,
            engine,
            steps=settings.samples,
            noise_level=settings.noise_level,
            seed=settings.seed,
        )
    if method == "occlusion" or method == "rise":
        return partial(hiding_maps, engine, method=method, seed=settings.seed)
    return activation_maps(method)
