"""uint8 pixels to the float32 input a model was trained on, and nothing else.

The conventions are those of ``keras.applications.imagenet_utils.preprocess_input``; they are
repeated here in NumPy because the inference container holds no Keras. A test keeps them equal.
"""

from collections.abc import Callable
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from heatdrop.errors import InvalidRequest

Convention = Literal["densenet", "imagenet", "scale01", "none"]
CONVENTIONS: tuple[Convention, ...] = get_args(Convention)

_TORCH_MEAN = np.array([0.485, 0.456, 0.406], np.float32)
_TORCH_STD = np.array([0.229, 0.224, 0.225], np.float32)
_CAFFE_MEAN_BGR = np.array([103.939, 116.779, 123.68], np.float32)


def _densenet(x: NDArray[np.float32]) -> NDArray[np.float32]:
    return (x / np.float32(255) - _TORCH_MEAN) / _TORCH_STD


def _imagenet(x: NDArray[np.float32]) -> NDArray[np.float32]:
    """Caffe's order and means, as ResNet and VGG of Keras were trained on."""
    return x[..., ::-1] - _CAFFE_MEAN_BGR


def _scale01(x: NDArray[np.float32]) -> NDArray[np.float32]:
    return x / np.float32(255)


def _none(x: NDArray[np.float32]) -> NDArray[np.float32]:
    return x


_FUNCTIONS: dict[Convention, Callable[[NDArray[np.float32]], NDArray[np.float32]]] = {
    "densenet": _densenet,
    "imagenet": _imagenet,
    "scale01": _scale01,
    "none": _none,
}


def preprocess(pixels: NDArray[np.uint8], convention: Convention) -> NDArray[np.float32]:
    """Turn (..., H, W, 3) RGB bytes into the (..., H, W, 3) float32 input of a model.

    Raises:
        InvalidRequest: ``convention`` is not one of ``CONVENTIONS``.
    """
    if convention not in _FUNCTIONS:
        raise InvalidRequest(f"preprocess is {convention!r}; choose one of {', '.join(CONVENTIONS)}")
    return np.ascontiguousarray(_FUNCTIONS[convention](pixels.astype(np.float32)))
