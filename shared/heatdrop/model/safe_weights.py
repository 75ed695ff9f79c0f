"""Weights in a safetensors file, for an architecture that comes with Keras."""

from pathlib import Path

import keras
from safetensors import SafetensorError
from safetensors.numpy import load_file

from heatdrop.errors import InvalidBundle

ARCHITECTURES = tuple(name for name in dir(keras.applications) if name[0].isupper())
"""Those of ``keras.applications``, by name."""


def load_safetensors(
    path: Path, architecture: str | None, classes: int, size: tuple[int, int] | None = None
) -> keras.Model:
    """Build an architecture and give it the weights in a file, each under its path in the Keras model.

    ``safetensors.numpy.save_file({weight.path: weight.numpy() for weight in model.weights}, path)`` writes such a file.

    Args:
        path: the file.
        architecture: one of ``ARCHITECTURES``.
        classes: how many the model tells apart.
        size: (height, width) of its input; the architecture's own by default.

    Raises:
        InvalidBundle: there is no such architecture, or the file is missing, damaged or of another model.
    """
    if architecture not in ARCHITECTURES:
        raise InvalidBundle(
            f"{path} holds weights alone; say of what with --architecture: {', '.join(ARCHITECTURES[:4])}, ... "
            "(the models of keras.applications)"
        )
    shape = {} if size is None else {"input_shape": (*size, 3)}
    try:
        model = getattr(keras.applications, architecture)(weights=None, classes=classes, **shape)
    except ValueError as error:
        raise InvalidBundle(f"{architecture} cannot be built: {str(error).strip().partition('. ')[0]}") from error
    try:
        arrays = load_file(path)
    except (OSError, SafetensorError) as error:
        raise InvalidBundle(f"{path} is missing, damaged, or no safetensors file") from error
    for weight in model.weights:
        found = arrays.get(weight.path)
        if found is None or found.shape != tuple(weight.shape):
            have = "has none" if found is None else f"has {found.shape}"
            raise InvalidBundle(f"{architecture} needs {weight.path} of {tuple(weight.shape)}; {path} {have}")
        weight.assign(found)
    return model
