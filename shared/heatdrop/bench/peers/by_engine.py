"""How both of Heatdrop's engines are asked for SmoothGrad; imports no TensorFlow."""

from typing import Any

import numpy as np

from heatdrop.bench.peers import Explain
from heatdrop.saliency import GradientEngine, smoothgrad


def explain_by(engine: GradientEngine, estimator: str = "mean_abs", **settings: Any) -> Explain:
    """``settings`` are passed on to ``smoothgrad``."""

    def explain(image: Any, classes: list[int], samples: int, sigma: float, noise: Any) -> Any:
        result = smoothgrad(
            engine,
            image[None],
            np.array([classes]),
            samples=samples,
            noise_level=sigma / float(image.max() - image.min()),
            estimators=(estimator,),  # type: ignore[arg-type]
            noise=None if noise is None else noise[:, None],
            **settings,
        )
        return result.maps[estimator][0]

    return explain
