"""Heatdrop itself, as the heatmap job runs it."""

from pathlib import Path
from typing import Any

import keras
import numpy as np

from heatdrop.bench.peers import Explain
from heatdrop.saliency import smoothgrad
from heatdrop.saliency.parallelism import run_batches_in_parallel
from heatdrop.saliency.tensorflow_engine import TensorFlowEngine


def load(folder: Path, estimator: str = "mean_abs", **settings: Any) -> Explain:
    """``settings`` are passed on to ``smoothgrad``."""
    run_batches_in_parallel()
    engine = TensorFlowEngine(keras.models.load_model(folder / "model.keras", compile=False))

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
