"""The score of a class: what is differentiated."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, get_args

import keras
import tensorflow as tf

from heatdrop.errors import InvalidRequest

Score = Literal["logit", "probability"]
SCORES: tuple[Score, ...] = get_args(Score)

Function = Callable[[Any], Any]
_SQUASHING: dict[str, Function] = {"softmax": tf.nn.softmax, "sigmoid": tf.nn.sigmoid}


@dataclass(frozen=True)
class Head:
    """``logits`` maps (B, H, W, C) to (B, classes) scores before the squashing function; ``squash`` is that function.

    A single sigmoid unit is read as two classes, with logits (-z, z).
    """

    logits: Function
    squash: Function
    classes: int

    def scores(self, images: Any, score: Score) -> Any:
        """(B, H, W, C) to (B, classes) scores of the kind asked for."""
        logits = self.logits(images)
        return logits if score == "logit" else self.squash(logits)


def find_head(model: keras.Model) -> Head:
    """Split a Keras classifier into its logits and its squashing function.

    Raises:
        InvalidRequest: the model's output is not (B, classes), or its last layer is none of Dense, Activation and
            Softmax.
    """
    shape = model.output_shape
    if not (isinstance(shape, tuple) and len(shape) == 2 and shape[1]):
        raise InvalidRequest(f"model gives {shape}; a classifier that gives (batch, classes) is needed")
    last = model.layers[-1]
    name = _activation_name(last)
    logits = _logits(model, last, name)
    if shape[1] > 1:
        return Head(logits, _SQUASHING.get(name, tf.identity), shape[1])
    if name != "sigmoid":
        raise InvalidRequest(f"model has one output with {name} activation; one output needs a sigmoid")
    return Head(lambda x: _two_sided(logits(x)), tf.nn.sigmoid, 2)


def _logits(model: keras.Model, last: keras.Layer, activation: str) -> Function:
    if activation == "linear":
        return lambda x: model(x, training=False)
    below = keras.Model(model.inputs, last.input)
    if not isinstance(last, keras.layers.Dense):
        return lambda x: below(x, training=False)
    bias = last.bias if last.use_bias else 0.0
    return lambda x: tf.matmul(below(x, training=False), last.kernel) + bias


def _two_sided(z: Any) -> Any:
    return tf.concat([-z, z], axis=1)


def _activation_name(layer: keras.Layer) -> str:
    if isinstance(layer, keras.layers.Softmax):
        return "softmax"
    activation = getattr(layer, "activation", None)
    name = getattr(activation, "__name__", None)
    if not isinstance(layer, keras.layers.Dense | keras.layers.Activation) or name not in {*_SQUASHING, "linear"}:
        raise InvalidRequest(
            f"model ends in {type(layer).__name__} ({name or 'no activation'}); "
            "it must end in Dense, Activation or Softmax with softmax, sigmoid or linear activation"
        )
    return str(name)
