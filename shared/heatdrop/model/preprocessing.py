"""uint8 pixels to the float32 input a model was trained on, and nothing else.

The first four conventions are those of ``keras.applications.imagenet_utils.preprocess_input``; they are
repeated here in NumPy because the inference container holds no Keras. A test keeps them equal.
"""

import json
from pathlib import Path
from typing import Annotated, Any, Literal, Self, get_args

import numpy as np
from numpy.typing import NDArray
from pydantic import Discriminator, Field, Tag, ValidationError, model_validator

from heatdrop.errors import InvalidBundle, InvalidRequest
from heatdrop.text import first_problem
from heatdrop.vocabulary import FrozenModel

Convention = Literal["densenet", "imagenet", "scale01", "none", "torchvision", "plusminus1", "torchxrayvision", "raw"]
CONVENTIONS: tuple[Convention, ...] = get_args(Convention)

Fit = Literal["stretch", "crop", "letterbox"]
Resampling = Literal["area", "bilinear", "antialias"]
Positive = Annotated[float, Field(gt=0, lt=1e9)]
PerChannel = Annotated[tuple[Annotated[float, Field(allow_inf_nan=False)], ...], Field(max_length=3)]

_TORCH_MEAN = (0.485, 0.456, 0.406)
_TORCH_DEVIATION = (0.229, 0.224, 0.225)
_CAFFE_MEAN_BGR = (103.939, 116.779, 123.68)

_LUMA = np.array([19595, 38470, 7471], np.uint32)
"""Shares of red, green and blue in grey, of 65536: those of ITU-R BT.601, rounded as Pillow rounds them."""


class Preprocessing(FrozenModel):
    """How a model's input is made of the pixels of an image: ``(pixels / divide_by - mean) / deviation``.

    ``mean`` and ``deviation`` hold a number for each channel, or one for all.
    """

    divide_by: Positive = 1.0
    """What the pixels, 0 to 255, are divided by first."""
    mean: PerChannel = (0.0,)
    deviation: Annotated[tuple[Positive, ...], Field(max_length=3)] = (1.0,)
    order: Literal["rgb", "bgr"] = "rgb"
    """The order of the channels; mean and deviation are in this order too."""
    grey: Literal["luma", "mean"] = "luma"
    """What a model of one channel gets of a colour image: its brightness (ITU-R BT.601), or the mean of the three."""
    fit: Fit = "stretch"
    """How an image of another shape is fitted: stretched to the input; its middle cut out; or whole, with a border."""
    crop: Annotated[float, Field(gt=0, le=1)] = 1.0
    """With ``crop``: the side of the input as a share of what the image's shorter side is resized to (224 of 256)."""
    border: Annotated[int, Field(ge=0, le=255)] = 0
    """With ``letterbox``: the pixel value around the image."""
    resize: Resampling = "area"
    """How pixels are averaged or interpolated: ``area`` when shrinking (OpenCV), ``bilinear`` between the four nearest
    (OpenCV), ``antialias`` with a triangle as wide as the shrinking (Pillow's and torchvision's bilinear)."""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        for name in ("mean", "deviation"):
            if len(getattr(self, name)) not in (1, 3):
                raise ValueError(f"{name} has {len(getattr(self, name))} numbers; one for each channel is needed")
        return self


_KNOWN: dict[Convention, Preprocessing] = {
    "densenet": Preprocessing(divide_by=255, mean=_TORCH_MEAN, deviation=_TORCH_DEVIATION),
    # Caffe's order and means, as ResNet and VGG of Keras were trained on.
    "imagenet": Preprocessing(mean=_CAFFE_MEAN_BGR, order="bgr"),
    "scale01": Preprocessing(divide_by=255),
    "none": Preprocessing(),
    "torchvision": Preprocessing(divide_by=255, mean=_TORCH_MEAN, deviation=_TORCH_DEVIATION),
    "plusminus1": Preprocessing(divide_by=127.5, mean=(1.0,)),
    # -1024 to 1024; of a colour image, the mean of the channels.
    "torchxrayvision": Preprocessing(divide_by=255, mean=(0.5,), deviation=(1 / 2048,), grey="mean"),
    "raw": Preprocessing(),
}


HowToPreprocess = Annotated[
    Annotated[Convention, Tag("convention")] | Annotated[Preprocessing, Tag("own")],
    Discriminator(lambda given: "convention" if isinstance(given, str) else "own"),
]
"""As it stands in a bundle's description: a convention by name, or a preprocessing of its own."""


def preprocessing_of(how: Convention | Preprocessing) -> Preprocessing:
    """What a convention stands for; a preprocessing itself.

    Raises:
        InvalidRequest: there is no such convention.
    """
    if isinstance(how, Preprocessing):
        return how
    if how not in _KNOWN:
        raise InvalidRequest(f"preprocess is {how!r}; choose one of {', '.join(CONVENTIONS)}, or a JSON file")
    return _KNOWN[how]


def read_preprocessing(given: str) -> Convention | Preprocessing:
    """The convention of that name, or what a JSON file of that name says.

    Raises:
        InvalidBundle: there is neither, or the file does not hold a preprocessing.
    """
    convention = next((known for known in CONVENTIONS if known == given), None)
    if convention is not None:
        return convention
    if not given.endswith(".json"):
        raise InvalidBundle(f"preprocess is {given!r}; choose one of {', '.join(CONVENTIONS)}, or a JSON file")
    try:
        return Preprocessing.model_validate(json.loads(Path(given).read_text(encoding="utf-8-sig")))
    except ValidationError as error:
        raise InvalidBundle(f"{given} is no preprocessing: {first_problem(error)}") from error
    except (OSError, ValueError, RecursionError) as error:
        raise InvalidBundle(f"{given} cannot be read: {error}") from error


def preprocess(pixels: NDArray[np.uint8], how: Convention | Preprocessing, channels: int = 3) -> NDArray[np.float32]:
    """Turn (..., H, W, 3) RGB bytes into the (..., H, W, channels) float32 input of a model.

    Raises:
        InvalidRequest: there is no such convention, or it is for another number of channels.
    """
    steps = preprocessing_of(how)
    if channels not in (1, 3) or max(len(steps.mean), len(steps.deviation)) > channels:
        raise InvalidRequest(f"preprocess has numbers for three channels; the model takes {channels}")
    x: NDArray[Any] = to_grey(pixels, steps.grey) if channels == 1 else pixels.astype(np.float32)
    if steps.order == "bgr":
        x = x[..., ::-1]
    if steps.divide_by != 1:
        x = x / np.float32(steps.divide_by)
    if any(steps.mean):
        x = x - np.array(steps.mean, np.float32)
    if set(steps.deviation) != {1.0}:
        x = x / np.array(steps.deviation, np.float32)
    return np.ascontiguousarray(x)


def to_grey(pixels: NDArray[np.uint8], how: Literal["luma", "mean"]) -> NDArray[np.float32]:
    """(..., 3) RGB bytes as (..., 1) shades of 0 to 255; a grey image keeps its values exactly."""
    if how == "mean":
        return np.asarray(pixels.mean(axis=-1, keepdims=True, dtype=np.float32), np.float32)
    rounded = (pixels @ _LUMA + 0x8000) >> 16
    return rounded[..., None].astype(np.float32)
