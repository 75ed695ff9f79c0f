"""Do maps depend on what the model has learnt?

The parameter randomisation test of Adebayo, Gilmer, Muelly, Goodfellow, Hardt, Kim, "Sanity checks for saliency maps"
(NeurIPS 2018): the weights are destroyed from the top downwards, and maps that hardly change are edge detectors. How
much more complex maps become without any learnt weight is asked by Hedstrom, Weber, Lapuschkin, Hohne, "Sanity checks
revisited" (2024) in its efficient variant, which needs no layer in between.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise

import keras
import numpy as np

from heatdrop.model.grading import Interval
from heatdrop.trust.measures import Map, complexity, pairs_of_images, rank_correlation, similarity, with_interval

STEPS = 5
PAIRS = 50


def randomisation_figures(
    intact: Sequence[Map], cascade: Mapping[int, Sequence[Map]], seed: int
) -> dict[str, float | Interval]:
    """How alike the maps of one kind are to those of models that were shuffled.

    Args:
        intact: maps of the model itself, of all images.
        cascade: how many layers were shuffled, to the maps of the first few of these images; the greatest count is
            that of all layers.
        seed: of the random pairs of images (``PAIRS``) that show how alike maps of different things are.
    """
    figures: dict[str, float | Interval] = {}
    pairs = pairs_of_images(intact, PAIRS, seed)
    layers = max(cascade)
    for name, measure in (("rank_correlation", rank_correlation), ("ssim", similarity)):
        figures[f"{name}_of_two_images"] = with_interval([measure(*pair) for pair in pairs])
        for count, maps in cascade.items():
            alike = [measure(one, other) for one, other in zip(intact, maps, strict=False)]
            figures[f"{name}_with_{count}_of_{layers}_layers_shuffled"] = with_interval(alike)
    pairs_of_models = zip(intact, cascade[layers], strict=False)
    rise = [complexity(shuffled) / max(complexity(own), 1e-9) - 1 for own, shuffled in pairs_of_models]
    figures["rise_of_complexity_with_all_layers_shuffled"] = with_interval(rise)
    return figures


def cascading_shuffle(model: keras.Model, steps: int, seed: int) -> Iterator[tuple[int, keras.Model]]:
    """One copy of ``model`` with more and more layers shuffled, and how many: first the head, in the end all of them.

    Each tensor keeps its values in a random order, so that its scale stays what it was.
    """
    random = np.random.default_rng(seed)
    broken = keras.models.clone_model(model)
    broken.set_weights(model.get_weights())
    layers = list(weighted_layers(broken))[::-1]
    bounds = sorted({1, *np.linspace(0, len(layers), steps).round().astype(int).tolist()[1:]})
    for start, end in pairwise([0, *bounds]):
        for layer in layers[start:end]:
            layer.set_weights(
                [random.permutation(values.ravel()).reshape(values.shape) for values in layer.get_weights()]
            )
        yield end, broken


def weighted_layers(model: keras.Model) -> Iterator[keras.Layer]:
    """The layers that hold weights, nested models opened, from the input to the output."""
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            yield from weighted_layers(layer)
        elif layer.weights:
            yield layer
