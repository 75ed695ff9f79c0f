"""Heatdrop by LiteRT, as it explains on a CPU."""

from pathlib import Path

import numpy as np

from heatdrop.bench.peers import Explain
from heatdrop.bench.peers.by_engine import explain_by
from heatdrop.head import GradientGraph
from heatdrop.saliency import LiteRtEngine

_GRAPH, _DESCRIPTION = "gradients.tflite", "gradients.json"


def load(folder: Path) -> Explain:
    """The model's gradients are exported to ``folder`` if they are not there."""
    if not (folder / _DESCRIPTION).exists():
        _export(folder)
    description = GradientGraph.model_validate_json((folder / _DESCRIPTION).read_text())
    count = description.head.classes
    # What the model predicts is not asked: the classes are given.
    engine = LiteRtEngine(
        (folder / _GRAPH).read_bytes(), description, lambda images: np.zeros((len(images), count), np.float32)
    )
    return explain_by(engine)


def _export(folder: Path) -> None:
    # Only to write the files; what is measured needs neither.
    import keras

    from heatdrop.saliency.gradient_graph import export_gradients
    from heatdrop.saliency.scores import find_scores

    model = keras.models.load_model(folder / "model.keras", compile=False)
    graph, description = export_gradients(find_scores(model), model.input_shape[1:])
    (folder / _GRAPH).write_bytes(graph)
    (folder / _DESCRIPTION).write_text(description.model_dump_json())
