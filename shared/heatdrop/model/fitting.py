"""How an image of any shape becomes an input of a fixed one, and where in the image the input then lies.

Maps are made of the input; they are drawn where the input lies.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from heatdrop import images
from heatdrop.model.preprocessing import Preprocessing

Pixels = NDArray[np.uint8]
_STRIP = 256
"""Rows that are resampled at once."""

Size = tuple[int, int]
"""(height, width) in pixels."""


@dataclass(frozen=True)
class Place:
    """Where the input lies in its image, as shares of the image's height and width.

    A part of the image lies within 0..1; an input that has a border around the image reaches beyond.
    """

    top: float = 0.0
    left: float = 0.0
    bottom: float = 1.0
    right: float = 1.0

    @property
    def is_whole(self) -> bool:
        """Whether the input is the whole image, and nothing else."""
        return self == Place()


WHOLE = Place()


def place_of(image: Size, size: Size, how: Preprocessing) -> Place:
    """Where an input of ``size`` lies in an image of the size ``image``."""
    if how.fit == "stretch":
        return WHOLE
    resized, (top, left) = _layout(image, size, how)
    edges = [start / side for start, side in zip((top, left), resized, strict=True)]
    ends = [(start + side) / whole for start, side, whole in zip((top, left), size, resized, strict=True)]
    return Place(edges[0], edges[1], ends[0], ends[1])


def needed_size(size: Size, how: Preprocessing) -> Size:
    """The size that an image must at least be decoded at, so that its input of ``size`` loses nothing."""
    share = how.crop if how.fit == "crop" else 1.0
    return round(size[0] / share), round(size[1] / share)


def fitted(pixels: Pixels, size: Size, how: Preprocessing) -> Pixels:
    """An image (H, W, 3) as a model sees it: (*size, 3)."""
    if how.fit == "stretch":
        return resized(pixels, size, how)
    target, (top, left) = _layout((pixels.shape[0], pixels.shape[1]), size, how)
    whole = resized(pixels, target, how)
    if how.fit == "crop":
        return np.ascontiguousarray(whole[top : top + size[0], left : left + size[1]])
    framed = np.full((*size, pixels.shape[2]), how.border, np.uint8)
    framed[-top : target[0] - top, -left : target[1] - left] = whole
    return framed


def _layout(image: Size, size: Size, how: Preprocessing) -> tuple[Size, tuple[int, int]]:
    """The size that the whole image is resized to, and where in it the input begins; before it if negative."""
    factors = [side / have for side, have in zip(size, image, strict=True)]
    factor = max(factors) / how.crop if how.fit == "crop" else min(factors)
    # The longer side is rounded down and the middle to the even pixel, as torchvision does it.
    rows, columns = (max(1, int(have * factor + 1e-6)) for have in image)
    if how.fit == "crop":
        rows, columns = max(rows, size[0]), max(columns, size[1])
    return (rows, columns), (round((rows - size[0]) / 2), round((columns - size[1]) / 2))


def resized(pixels: Pixels, size: Size, how: Preprocessing) -> Pixels:
    """An image (H, W, 3) at another size, by the preprocessing's way of resampling."""
    if how.resize == "area":
        return images.resize(pixels, size)
    if pixels.shape[:2] == size:
        return pixels
    if how.resize == "bilinear":
        return np.asarray(cv2.resize(pixels, size[::-1], interpolation=cv2.INTER_LINEAR), np.uint8)
    rows, columns = (_triangles(have, want) for have, want in zip(pixels.shape[:2], size, strict=True))
    # One side after the other, each rounded to bytes, as Pillow does it; in strips, which take little memory.
    strips = [pixels[start : start + _STRIP] for start in range(0, len(pixels), _STRIP)]
    wide = np.concatenate([_to_bytes(np.einsum("xw,hwc->hxc", columns, strip, optimize=True)) for strip in strips])
    return _to_bytes(np.einsum("yh,hxc->yxc", rows, wide, optimize=True))


def _to_bytes(values: NDArray[np.float32]) -> Pixels:
    return (values + np.float32(0.5)).clip(0, 255).astype(np.uint8)


def _triangles(have: int, want: int) -> NDArray[np.float32]:
    """(want, have) weights of the old pixels in each new one: a triangle as wide as the shrinking."""
    scale = have / want
    reach = max(scale, 1.0)
    centres = (np.arange(want) + 0.5) * scale
    distance = np.abs(np.arange(have) + 0.5 - centres[:, None]) / reach
    weights = np.maximum(1 - distance, 0)
    shares: NDArray[np.float32] = (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)
    return shares
