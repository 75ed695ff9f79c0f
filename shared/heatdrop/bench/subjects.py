"""The model and images of a measurement, written to files that all contenders read."""

import json
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import cv2
import keras
import numpy as np
from keras.src.applications.densenet import DenseNet
from numpy.typing import NDArray

from heatdrop import images
from heatdrop.errors import InvalidRequest
from heatdrop.model.architectures import build
from heatdrop.model.bundle import open_bundle
from heatdrop.model.loading import load_keras_model
from heatdrop.model.preprocessing import Convention, Preprocessing, preprocess

Float = NDArray[np.float32]

SMALL = "small"
ARCHITECTURES = (SMALL, "densenet121", "densenet169", "densenet201")

_RADIOGRAPHS = ("RG1_J2KI.dcm", "RG3_J2KI.dcm")


@dataclass(frozen=True)
class Subject:
    """A model in ``model.keras``, its weights by layer in ``weights.npz``, and images in ``images.npy``."""

    name: str
    folder: Path
    images: Float
    classes: int


def prepare(architecture: str, size: int, bundle: Path | None, count: int, folder: Path) -> Subject:
    """Write what the contenders need to ``folder``.

    Args:
        architecture: one of ``ARCHITECTURES``; gets fixed random weights.
        size: height and width of its input in pixels.
        bundle: a bundle to measure instead, at its own size.
        count: number of images, real radiographs in different crops.
        folder: where to write.

    Raises:
        InvalidRequest: an unknown architecture.
        InvalidBundle: the bundle cannot be used.
    """
    convention: Convention | Preprocessing = "densenet"
    if bundle is not None:
        opened = open_bundle(bundle)
        model, name, convention = load_keras_model(opened), opened.model.name, opened.description.preprocess
    elif architecture not in ARCHITECTURES:
        raise InvalidRequest(f"architecture is {architecture!r}; choose one of {', '.join(ARCHITECTURES)}")
    else:
        model, name = fixed_model(architecture, size), f"{architecture} {size} px, fixed random weights"
    folder.mkdir(parents=True, exist_ok=True)
    model.save(folder / "model.keras", include_optimizer=False)
    weights: dict[str, Any] = layer_weights(model)
    np.savez(folder / "weights.npz", **weights)
    batch = radiographs(tuple(model.input_shape[1:3]), count, convention)
    np.save(folder / "images.npy", batch)
    return Subject(name, folder, batch, max(model.output_shape[-1], 2))


@cache
def fixed_model(architecture: str, size: int = 64, classes: int = 3) -> keras.Model:
    """A DenseNet with weights that depend only on its shape, and normalisations as uneven as trained ones."""
    if architecture == SMALL:
        model = DenseNet([2, 2, 2, 2], weights=None, input_shape=(size, size, 3), classes=classes)
    else:
        model = build(architecture, classes, weights=None, size=size)  # type: ignore[arg-type]
    random = np.random.Generator(np.random.Philox(key=7))
    model.set_weights([_fixed_weights(variable, random) for variable in model.weights])
    return model


def _fixed_weights(variable: Any, random: np.random.Generator) -> Float:
    kind, shape = variable.path.rsplit("/", 1)[1], tuple(variable.shape)
    normals: Float = random.standard_normal(shape, np.float32)
    if kind == "kernel":
        return normals * np.float32(np.sqrt(2 / np.prod(shape[:-1])))
    centre, spread = {"gamma": (1.0, 0.3), "moving_variance": (1.0, 0.0)}.get(kind, (0.0, 0.2))
    values: Float = np.float32(centre) + np.float32(spread) * normals
    return values


def layer_weights(model: keras.Model) -> dict[str, NDArray[Any]]:
    """What another framework needs to build the same DenseNet: weights by layer/name, and a description."""
    arrays: dict[str, NDArray[Any]] = {}
    for layer in model.layers:
        for variable in layer.weights:
            arrays[f"{layer.name}/{variable.path.rsplit('/', 1)[1]}"] = np.asarray(variable)
    named = {layer.name for layer in model.layers}
    blocks = [sum(f"conv{stage}_block{number}_1_conv" in named for number in range(1, 99)) for stage in range(2, 6)]
    standardise = any(isinstance(layer, keras.layers.GroupNormalization) for layer in model.layers)
    description = {"blocks": blocks, "standardise": standardise, "head": model.layers[-1].name}
    return {**arrays, "description": np.array(json.dumps(description))}


def radiographs(size: tuple[int, int], count: int, convention: Convention | Preprocessing = "densenet") -> Float:
    """Radiographs of the pydicom-data package as model input (count, H, W, 3); each is cropped a little more."""
    folder = files("data_store") / "data"
    batch = []
    for index in range(count):
        data = (folder / _RADIOGRAPHS[index % len(_RADIOGRAPHS)]).read_bytes()
        pixels = images.decode(data).pixels
        margin = index // len(_RADIOGRAPHS) * 7
        height, width = pixels.shape[:2]
        crop = pixels[margin : height - margin, margin : width - margin]
        batch.append(cv2.resize(crop, size[::-1], interpolation=cv2.INTER_AREA))
    return preprocess(np.stack(batch), convention)
