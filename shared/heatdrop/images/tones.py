"""Sample values of any kind to the 8 bits that are shown."""

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray


def stretch(values: NDArray[Any]) -> NDArray[np.uint8]:
    """Spread values of any number type over 0 to 255, least to greatest; all 0 when they are all the same."""
    # A damaged float may be a NaN of the kind whose conversion NumPy warns about.
    with np.errstate(invalid="ignore"):
        numbers = values if values.dtype in (np.uint8, np.int8, np.uint16, np.int16) else values.astype(np.float64)
    finite = np.isfinite(numbers) if numbers.dtype == np.float64 else None
    if finite is not None and not finite.all():
        # What is no number is drawn as the least that is one.
        numbers = np.where(finite, numbers, numbers.min(initial=np.inf, where=finite) if finite.any() else 0.0)
    stretched = np.empty(values.shape, np.uint8)
    cv2.normalize(numbers, stretched, 0, 255, cv2.NORM_MINMAX, cv2.CV_8U)
    return stretched


def scale(values: NDArray[Any], most: int) -> NDArray[np.uint8]:
    """Map unsigned values from 0 to ``most`` to 0 to 255; greater ones, which only a flawed file has, become 255."""
    if most == 255:
        return np.ascontiguousarray(values, np.uint8)
    if most <= 65_535:
        table = np.rint(np.arange(most + 1) * (255 / most)).astype(np.uint8)
        return np.asarray(np.take(table, values, mode="clip"), np.uint8)
    return np.asarray(np.rint(np.minimum(values, most) * (255 / most)), np.uint8)


def over_black(pixels: NDArray[np.uint8], opacity: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Lay (H, W) or (H, W, 3) pixels with an (H, W) opacity over black."""
    layers = opacity if pixels.ndim == 2 else cv2.merge([opacity] * pixels.shape[2])
    return np.asarray(cv2.multiply(pixels, layers, scale=1 / 255), np.uint8)


def grey_to_rgb(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Repeat (H, W) pixels in three channels; (H, W, 3) are returned as they are."""
    return np.asarray(cv2.cvtColor(pixels, cv2.COLOR_GRAY2RGB), np.uint8) if pixels.ndim == 2 else pixels
