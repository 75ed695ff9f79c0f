"""The DenseNets that ``heatdrop train`` builds."""

import keras

from heatdrop.errors import InvalidRequest
from heatdrop.vocabulary import Architecture

_BUILDERS = {
    "densenet121": keras.applications.DenseNet121,
    "densenet169": keras.applications.DenseNet169,
    "densenet201": keras.applications.DenseNet201,
}


def build(
    architecture: Architecture,
    classes: int,
    *,
    weights: str | None,
    size: int | None = None,
    standardise: bool = True,
    dropout: float = 0.0,
) -> keras.Model:
    """A DenseNet with a softmax head over ``classes``; input (size, size, 3) preprocessed, any size when None.

    ``standardise`` subtracts each image's mean and divides by its deviation first, so that the scores do not change
    with the exposure or contrast of a scanner. ``weights`` is what Keras takes: None, "imagenet" or a file.

    Raises:
        InvalidRequest: an unknown architecture.
    """
    if architecture not in _BUILDERS:
        raise InvalidRequest(f"architecture is {architecture!r}; choose one of {', '.join(_BUILDERS)}")
    inputs = keras.Input((size, size, 3), name="image")
    stem = inputs
    if standardise:
        stem = keras.layers.GroupNormalization(1, epsilon=1e-4, center=False, scale=False, name="standardise")(inputs)
    base = _BUILDERS[architecture](include_top=False, weights=weights, input_tensor=stem)
    pooled = keras.layers.GlobalAveragePooling2D(name="pooled")(base.output)
    dropped = keras.layers.Dropout(dropout, name="dropout")(pooled)
    scores = keras.layers.Dense(classes, activation="softmax", dtype="float32", name="scores")(dropped)
    return keras.Model(inputs, scores, name=architecture)
