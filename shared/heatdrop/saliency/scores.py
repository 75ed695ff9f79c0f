"""The score of a class: what is differentiated."""

from dataclasses import dataclass
from typing import Any, Literal, get_args

import keras
import tensorflow as tf

from heatdrop.errors import InvalidRequest
from heatdrop.saliency.network import Network, live_nodes, read_network
from heatdrop.saliency.operations import Activation, Function, Squash
from heatdrop.saliency.rewriting import simplify

Score = Literal["logit", "probability"]
SCORES: tuple[Score, ...] = get_args(Score)


@dataclass(frozen=True)
class Head:
    """A classifier in two parts.

    Attributes:
        logits: (B, H, W, C) to (B, outputs), before the squashing function.
        squash: that function; None for a model that ends in logits.
        classes: how many classes the scores are for. A single sigmoid output z is read as two, with logits (-z, z).
    """

    logits: Network
    squash: Squash | None
    classes: int
    two_sided: bool = False

    def mirrored(self, score: Score) -> bool:
        """Whether the two classes' gradients are each other's negative, so that one backward pass serves both."""
        softmax = self.squash is not None and self.squash.name == "softmax"
        return self.two_sided or (self.classes == 2 and score == "probability" and softmax)

    def build(self, score: Score, dtype: Any = tf.float32) -> Function:
        """The scores as a function of the images, (B, H, W, C) to (B, classes)."""
        logits = self.logits.build(dtype)
        squash = None if self.squash is None or score == "logit" else self.squash.build(tf.float32)

        def scores(images: Any) -> Any:
            values = logits(images)
            if self.two_sided:
                values = tf.concat([-values, values], axis=1)
            return values if squash is None else squash(values)

        return scores


def find_head(model: keras.Model) -> Head:
    """Split a Keras classifier into its logits and its squashing function.

    Raises:
        InvalidRequest: the model cannot be read, its output is not (B, classes), or it ends in an activation that
            is none of softmax, sigmoid and linear.
    """
    network = read_network(model)
    shape = model.output_shape
    if not (isinstance(shape, tuple) and len(shape) == 2 and shape[1]):
        raise InvalidRequest(f"model gives {shape}; a classifier that gives (batch, classes) is needed")
    last = network.nodes[-1]
    if isinstance(last.operation, Activation):
        raise InvalidRequest(f"model ends in {last.operation.layer}; it must end in softmax, sigmoid or its logits")
    squash = last.operation if isinstance(last.operation, Squash) else None
    logits = network if squash is None else Network(live_nodes(network.nodes, last.inputs[0]))
    if shape[1] > 1:
        return Head(simplify(logits), squash, shape[1])
    if squash is None or squash.name != "sigmoid":
        raise InvalidRequest("model has one output without a sigmoid; one output needs one, to be read as two classes")
    return Head(simplify(logits), squash, 2, two_sided=True)
