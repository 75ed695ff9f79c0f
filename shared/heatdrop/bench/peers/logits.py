"""A Keras classifier without its final activation, as a user of these libraries would prepare it."""

from typing import Any

import keras


def logits_model(model: Any) -> Any:
    """A model with a linear end and the same weights."""
    copy = keras.models.clone_model(model)
    copy.set_weights(model.get_weights())
    copy.layers[-1].activation = keras.activations.linear
    return copy
