"""A model from whatever file a person has: ONNX, or one of Keras's formats. Nothing of a file is ever run."""

from collections.abc import Callable
from pathlib import Path
from typing import Literal, get_args

import keras

from heatdrop.errors import InvalidBundle
from heatdrop.model.loading import load_keras_file

Head = Literal["softmax", "sigmoid"]
HEADS: tuple[Head, ...] = get_args(Head)

_PICKLES = {".bin", ".ckpt", ".joblib", ".pickle", ".pkl", ".pt", ".pth"}


def load_model(
    path: Path, size: tuple[int, int] | None = None, *, architecture: str | None = None, classes: int = 1000
) -> keras.Model:
    """Load a model from a file of any known kind.

    Args:
        path: ``.onnx``, ``.keras``, ``.h5``, ``.safetensors``, or the folder of a SavedModel of Keras 2.
        size: (height, width) of its input in pixels, for a model that takes any.
        architecture: of a file that holds weights alone (``.safetensors``), one of ``keras.applications``.
        classes: how many such a model tells apart.

    Raises:
        InvalidBundle: it is missing, damaged, of no known kind, or could only be loaded by running code from it.
    """
    if path.is_dir():
        return _saved_model(path, size)
    suffix = path.suffix.lower()
    if suffix in _PICKLES:
        raise InvalidBundle(
            f"{path} is a pickle, which runs code when it is opened, and is left closed; "
            "export the model as ONNX (torch.onnx.export), or its weights as safetensors"
        )
    if suffix == ".safetensors":
        from heatdrop.model.safe_weights import load_safetensors

        return load_safetensors(path, architecture, classes, size)
    load = _LOADERS.get(suffix)
    if load is None:
        known = ", ".join((*_LOADERS, ".safetensors"))
        raise InvalidBundle(f"{path} is of no known kind; give a file that ends in {known}, or a SavedModel's folder")
    return load(path, size)


def with_head(model: keras.Model, head: Head) -> keras.Model:
    """The model with a softmax, or a sigmoid for each output, behind its logits.

    Raises:
        InvalidBundle: there is no such head, or the model has not one output.
    """
    if head not in HEADS:
        raise InvalidBundle(f"head is {head!r}; choose one of {', '.join(HEADS)}")
    if len(model.outputs) != 1:
        raise InvalidBundle(f"the model has {len(model.outputs)} outputs; one is needed")
    return keras.Model(model.inputs, keras.layers.Activation(head, name=f"head_{head}")(model.outputs[0]))


def _onnx(path: Path, size: tuple[int, int] | None) -> keras.Model:
    # Imported here: only those who pack an ONNX file need the package onnx.
    from heatdrop.model.onnx_reading import read_onnx

    return read_onnx(path, size)


def _keras(path: Path, size: tuple[int, int] | None) -> keras.Model:
    return _at_size(load_keras_file(path), size)


def _h5(path: Path, size: tuple[int, int] | None) -> keras.Model:
    from heatdrop.model.keras2 import load_h5

    return _at_size(load_h5(path), size)


def _saved_model(path: Path, size: tuple[int, int] | None) -> keras.Model:
    from heatdrop.model.keras2 import load_saved_model

    return _at_size(load_saved_model(path), size)


def _at_size(model: keras.Model, size: tuple[int, int] | None) -> keras.Model:
    """A Keras model that takes images of any size, as one that takes images of this size."""
    if size is None or len(model.inputs) != 1:
        return model
    given = tuple(model.inputs[0].shape[1:])
    if len(given) != 3 or any(side not in (None, wanted) for side, wanted in zip(given, size, strict=False)):
        raise InvalidBundle(f"the model takes {given} only; leave out --size")
    images = keras.Input((*size, given[2]), name="image")
    return keras.Model(images, model(images))


_LOADERS: dict[str, Callable[[Path, tuple[int, int] | None], keras.Model]] = {
    ".onnx": _onnx,
    ".keras": _keras,
    ".h5": _h5,
    ".hdf5": _h5,
}
