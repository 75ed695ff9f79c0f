"""Shifts of the noisy copies by a few pixels, which average out the grid that strided layers leave in gradients.

A layer that takes every second pixel treats even and odd ones differently, and so do the gradients of all that come
before it. Each copy is shifted by another amount before the noise is added, and its gradient is shifted back, so that
each pixel of the image takes every place on the grid.
"""

import numpy as np

from heatdrop.saliency.gradient_engine import Float

Shift = tuple[int, int]
"""Rows and columns: the copy shows at (y, x) what the image shows at (y + rows, x + columns)."""


def shift_of(index: int, period: int) -> Shift:
    """The shift of a sample, for a grid that repeats every ``period`` pixels.

    Of ``period`` consecutive samples each axis takes every residue once; ``period`` squared of them take all pairs. The
    first sample is not shifted.
    """
    return _centred(index % period, period), _centred((index + index // period) % period, period)


def reach(period: int) -> int:
    """The longest shift along an axis, in pixels; 0 without jitter."""
    return period // 2


def shifted(image: Float, shift: Shift) -> Float:
    """The image (H, W, C) seen from elsewhere; beyond its border, its border pixels are repeated."""
    rows, columns = (
        np.clip(np.arange(size) + by, 0, size - 1) for size, by in zip(image.shape[:2], shift, strict=True)
    )
    seen: Float = image[rows][:, columns]
    return seen


def shifted_back(values: Float, shift: Shift) -> Float:
    """Values (..., H, W, C) of a shifted copy at the places of the image; 0 where the copy did not show it."""
    result = np.zeros_like(values)
    (to_rows, from_rows), (to_columns, from_columns) = (
        _places(size, by) for size, by in zip(values.shape[-3:-1], shift, strict=True)
    )
    result[..., to_rows, to_columns, :] = values[..., from_rows, from_columns, :]
    return result


def shown(size: tuple[int, int], shift: Shift) -> Float:
    """(H, W): 1 for the pixels of the image that a shifted copy shows, else 0."""
    return shifted_back(np.ones((*size, 1), np.float32), shift)[..., 0]


def _centred(residue: int, period: int) -> int:
    return residue if residue < (period + 1) // 2 else residue - period


def _places(size: int, by: int) -> tuple[slice, slice]:
    """Along an axis: the pixels of the image that the copy shows, and where it shows them."""
    return slice(max(0, by), size + min(0, by)), slice(max(0, -by), size + min(0, -by))
