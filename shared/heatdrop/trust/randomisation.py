"""Do maps depend on what the model has learnt?

The parameter randomisation test of Adebayo, Gilmer, Muelly, Goodfellow, Hardt, Kim, "Sanity checks for saliency maps"
(NeurIPS 2018): the weights are destroyed from the top downwards, and maps that hardly change are edge detectors.
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise

import keras
import numpy as np

from heatdrop.model.certificate import Check
from heatdrop.trust.measures import Map, pairs_of_images, rank_correlation, similarity, with_interval

STEPS = 5
PAIRS = 50

Explain = Callable[[keras.Model], Sequence[Map]]
"""Maps of the same images, of the same classes, by another model."""


def check_randomisation(model: keras.Model, intact: Sequence[Map], explain: Explain, seed: int) -> Check:
    """Compare each image's map with that of models whose weights were shuffled in ``STEPS`` steps from the top.

    Passes when, by rank correlation and by SSIM, the map of the wholly shuffled model is on average less like the
    intact one than the intact maps of two different images are like each other (``PAIRS`` random pairs).
    """
    figures: dict[str, float | tuple[float, float, float]] = {}
    passed = True
    pairs = pairs_of_images(intact, PAIRS, seed)
    cascade = {count: list(explain(shuffled)) for count, shuffled in cascading_shuffle(model, STEPS, seed)}
    for name, measure in (("rank_correlation", rank_correlation), ("ssim", similarity)):
        unrelated = with_interval([measure(*pair) for pair in pairs])
        figures[f"{name}_of_two_images"] = unrelated
        for count, maps in cascade.items():
            randomised = with_interval([measure(a, b) for a, b in zip(intact, maps, strict=True)])
            figures[f"{name}_with_{count}_of_{max(cascade)}_layers_shuffled"] = randomised
        passed = passed and randomised[0] < unrelated[0]
    verdict = "depend on what it has learnt" if passed else "hardly depend on what it has learnt"
    return Check(
        name="parameter randomisation", passed=passed, statement=f"The model's maps {verdict}.", figures=figures
    )


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
