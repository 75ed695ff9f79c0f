"""Heatdrop by TensorFlow, as the heatmap job runs on a GPU."""

from pathlib import Path
from typing import Any

import keras

from heatdrop.bench.peers import Explain
from heatdrop.bench.peers.by_engine import explain_by
from heatdrop.saliency.parallelism import run_batches_in_parallel
from heatdrop.saliency.tensorflow_engine import TensorFlowEngine


def load(folder: Path, estimator: str = "mean_abs", **settings: Any) -> Explain:
    """``settings`` are passed on to ``smoothgrad``."""
    run_batches_in_parallel()
    model = keras.models.load_model(folder / "model.keras", compile=False)
    return explain_by(TensorFlowEngine(model), estimator, **settings)
