"""The gradients of a model for its bundle: exported to LiteRT, and compared with those of TensorFlow."""

import logging

import keras
import numpy as np

from heatdrop.head import GradientGraph
from heatdrop.model.explainability import SAMPLES, Trial
from heatdrop.saliency import LiteRtEngine, smoothgrad
from heatdrop.saliency.activations import last_convolution
from heatdrop.saliency.gradient_graph import export_gradients
from heatdrop.saliency.reading import read_network
from heatdrop.saliency.scores import find_scores
from heatdrop.text import first_line

logger = logging.getLogger(__name__)

TOLERANCE = 2e-3
"""The greatest difference from the maps of TensorFlow: relative L2, of each map."""


def gradients_of(model: keras.Model, trial: Trial) -> tuple[bytes, GradientGraph] | None:
    """Export the gradients of a model.

    Args:
        model: that can be explained.
        trial: what TensorFlow made of it.

    Returns:
        A LiteRT file and what it computes; None where that cannot be, which is logged with the reason: LiteRT lacks
        what a layer's gradient takes, or computes other maps than TensorFlow.
    """
    layer = last_convolution(read_network(model))
    try:
        graph, description = export_gradients(find_scores(model, layer), model.input_shape[1:], layer)
        difference = _difference(LiteRtEngine(graph, description, trial.engine.predict), trial)
    except Exception as error:
        # TensorFlow and its converter raise errors of many kinds, some of them a page long.
        reason = first_line(error)
    else:
        if difference <= TOLERANCE:
            return graph, description
        reason = f"LiteRT's maps differ from TensorFlow's by {difference:.2g}"
    logger.warning("the model is explained by TensorFlow, which takes seconds to start: %s", reason)
    return None


def _difference(engine: LiteRtEngine, trial: Trial) -> float:
    found = smoothgrad(engine, trial.inputs, trial.maps.classes, samples=SAMPLES).maps["mean_abs"]
    wanted = trial.maps.maps["mean_abs"]
    axes = (2, 3)
    norms = np.linalg.norm(wanted, axis=axes)
    return float((np.linalg.norm(found - wanted, axis=axes) / np.where(norms > 0, norms, 1)).max())
