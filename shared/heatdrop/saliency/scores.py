"""The score of a class: what is differentiated."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from heatdrop.errors import InvalidRequest
from heatdrop.head import Head, Score
from heatdrop.saliency.grouped_convolution import GroupedConvolution
from heatdrop.saliency.network import Network, Node, Value, live_nodes
from heatdrop.saliency.noise import standard_normals
from heatdrop.saliency.operations import (
    Activation,
    Affine,
    Concatenate,
    Convolution,
    Dense,
    Function,
    Item,
    Opaque,
    Operation,
    Rearrangement,
    Squash,
)
from heatdrop.saliency.reading import read_network
from heatdrop.saliency.rewriting import simplify

_UNKNOWN_SIDE = 224
"""Height and width at which a model that takes any size is tried."""

_ROUNDING = 1e-4
"""How far rounding may take a probability, or a sum of them, above 1."""


@dataclass(frozen=True)
class ScoreNetworks:
    """The networks that compute the scores of a classifier.

    Attributes:
        networks: (B, H, W, C) to (B, outputs) for each score that can be differentiated.
        outputs: how many scores they give: one for two classes, where ``head.two_sided``.
        squashes: the functions that make the logits probabilities; empty if there are none.
    """

    networks: Mapping[Score, Network]
    outputs: int
    squashes: tuple[Squash, ...] = ()

    @property
    def head(self) -> Head:
        """What can be known of the scores without TensorFlow."""
        classes = max(self.outputs, 2)
        one_softmax = len(self.squashes) == 1 and self.squashes[0].name == "softmax" and self.squashes[0].size == 2
        return Head(classes, tuple(self.networks), self.outputs == 1, softmax_of_two=classes == 2 and one_softmax)

    def build(self, score: Score, dtype: Any = tf.float32) -> Function:
        """The scores as a function of the images, (B, H, W, C) to (B, classes)."""
        compute = self.networks[score].build(dtype)
        return compute if self.outputs > 1 else lambda images: both_sides(compute(images), score)


def both_sides(of_second: Any, score: Score) -> Any:
    """The scores (B, 2) of two classes from those of the second, (B, 1)."""
    of_first = -of_second if score == "logit" else 1 - of_second
    return tf.concat([of_first, of_second], axis=1)


def find_scores(model: keras.Model, keep: str | None = None) -> ScoreNetworks:
    """Find the logits of a Keras classifier: what goes into its last softmax or sigmoid, wherever that stands.

    Behind it there may be steps that only move values about (reshape, flatten, cast, slice), and there may be several
    beside each other, as when single sigmoids are concatenated.

    Args:
        model: a functional or sequential classifier.
        keep: the path of a layer whose result is wanted as well, see ``simplify``.

    Raises:
        InvalidRequest: the model cannot be read, its output is not (B, classes), or it ends in an activation that
            is none of softmax, sigmoid and linear. The message names the layer.
    """
    network = simplify(read_network(model), keep)
    shape = model.output_shape
    if not (isinstance(shape, tuple) and len(shape) == 2 and shape[1]):
        raise InvalidRequest(f"model gives {shape}; a classifier that gives (batch, classes) is needed")
    outputs = shape[1]
    sources, moved = _sources(network)
    for index in sources:
        _refuse_activation(network.nodes[index])
    ends = [network.nodes[index] for index in sorted(sources)]
    squashes = tuple(node.operation for node in ends if isinstance(node.operation, Squash))
    # One of several probabilities of a softmax says nothing of a logit: the others have theirs.
    if len(squashes) == len(ends) and (outputs > 1 or squashes[0].name == "sigmoid"):
        networks: dict[Score, Network] = {"logit": _without(network, sources, moved), "probability": network}
        return ScoreNetworks(networks, outputs, squashes)
    if _gives_probabilities(network, model.input_shape[1:]):
        return ScoreNetworks({"probability": network}, outputs)
    if outputs == 1:
        raise InvalidRequest("the model has one output without a sigmoid; it needs one, to be read as two classes")
    return ScoreNetworks({"logit": network}, outputs)


def _sources(network: Network) -> tuple[set[int], set[int]]:
    """Where the values of the output come from, and the nodes behind that only move them about."""
    sources: set[int] = set()
    moved: set[int] = set()
    unvisited = [len(network.nodes) - 1]
    while unvisited:
        index = unvisited.pop()
        if isinstance(network.nodes[index].operation, Rearrangement | Concatenate | Item):
            moved.add(index)
            unvisited += [value.index for value in network.nodes[index].inputs if value.index not in moved]
        else:
            sources.add(index)
    return sources, moved


def _refuse_activation(node: Node) -> None:
    if isinstance(node.operation, Activation):
        function = node.operation.layer
        name = getattr(function, "__name__", type(function).__name__)
        raise InvalidRequest(
            f"the layer {node.layer!r} ends the model in {name}; end it in softmax, sigmoid or its logits"
        )


def without_squash(network: Network) -> Network:
    """A network without the softmax or sigmoid that makes its output; ``find_scores`` says whether it has one."""
    return _without(network, *_sources(network))


def _without(network: Network, squashes: set[int], moved: set[int]) -> Network:
    """The network whose output is what goes into ``squashes``; other readers of theirs still get what comes out."""
    before = {index: network.nodes[index].inputs[0] for index in squashes}
    nodes = [
        replace(node, inputs=tuple(before.get(value.index, value) for value in node.inputs)) if index in moved else node
        for index, node in enumerate(network.nodes)
    ]
    last = len(nodes) - 1
    return Network(live_nodes(nodes, before.get(last, Value(last))))


def _gives_probabilities(network: Network, input_shape: tuple[int | None, ...]) -> bool:
    """Whether the outputs are probabilities though no logit can be found behind them.

    They lie in 0..1 for noise from faint to strong, and either sum to 1 or are computed from something squashed.
    """
    shape = tuple(side or _UNKNOWN_SIDE for side in input_shape)
    noise = standard_normals(shape, seed=0, key=0, first=0, count=4, sampling="independent")
    strengths = np.array([0.1, 1, 10, 100], np.float32).reshape(-1, *(1 for _ in shape))
    outputs = network.build()(tf.constant(noise * strengths)).numpy()
    if not ((outputs >= 0) & (outputs <= 1 + _ROUNDING)).all():
        return False
    sum_to_one = outputs.shape[1] > 1 and bool(np.allclose(outputs.sum(axis=1), 1, atol=_ROUNDING))
    return sum_to_one or _comes_from_squashed(network)


def _comes_from_squashed(network: Network) -> bool:
    """Whether there are no weights between the output and an activation or exponential."""
    unvisited, visited = [len(network.nodes) - 1], set[int]()
    while unvisited:
        index = unvisited.pop()
        operation = network.nodes[index].operation
        if isinstance(operation, Squash | Activation) or _is_exponential(operation):
            return True
        # A scale for each class, as of a calibration, leaves a probability what it is.
        if index not in visited and (isinstance(operation, Affine) or not _has_weights(operation)):
            unvisited += [value.index for value in network.nodes[index].inputs]
        visited.add(index)
    return False


def _is_exponential(operation: Operation | None) -> bool:
    return isinstance(operation, Opaque) and type(operation.layer).__name__ == "Exp"


def _has_weights(operation: Operation | None) -> bool:
    if isinstance(operation, Opaque):
        return bool(getattr(operation.layer, "weights", None))
    return isinstance(operation, Affine | Convolution | Dense | GroupedConvolution)
