"""What stands in the place of pixels that are hidden from the model. Which one is chosen favours some maps over others.

A blurred picture keeps its large shapes, and to reveal edges in it changes the score most, so it favours edge maps; a
grey area has borders of its own; an area that is continued from what surrounds it has neither.
"""

from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from scipy.sparse.linalg import spsolve

Pixels = NDArray[np.uint8]
Hide = Callable[[NDArray[np.bool_]], Pixels]
"""Which pixels (H, W) of an image to hide, to the image (H, W, 3) with others in their place."""

_COARSE = 40
"""The side of the grid on which hidden areas are continued: two points for each of the cells that are hidden."""
_NOISE = 0.1
"""Standard deviation of the noise on what is continued, as a share of the visible pixels' own."""
_NEIGHBOURS = ((0, 1, 1 / 6), (1, 0, 1 / 6), (1, 1, 1 / 12), (1, -1, 1 / 12))
"""Rows down, columns right, and weight, of half of a pixel's neighbours; the other half mirrors them."""


def blurred(image: Pixels) -> Hide:
    """Hides pixels behind those of the blurred picture (Petsiuk, Das, Saenko, "RISE", BMVC 2018)."""
    soft = cv2.GaussianBlur(image, (0, 0), max(image.shape[:2]) / 10)
    return lambda hidden: np.where(hidden[..., None], soft, image)


def levelled(image: Pixels) -> Hide:
    """Hides pixels behind the picture's mean colour."""
    colour = image.mean(axis=(0, 1)).round().astype(np.uint8)
    return lambda hidden: np.where(hidden[..., None], colour, image)


def continued(image: Pixels) -> Hide:
    """Hides pixels by continuing what is visible around them, with a little noise.

    This is the noisy linear imputation of ROAD (Rong, Leemann, Borisov, Kasneci, Kasneci, "A consistent and efficient
    evaluation strategy for attribution methods", ICML 2022): each hidden pixel is the weighted mean of its neighbours,
    which is a system of linear equations. It is solved on a coarse grid: what is continued is smooth anyhow.
    """
    coarse = cv2.resize(image, (_COARSE, _COARSE), interpolation=cv2.INTER_AREA).astype(np.float64)
    return lambda hidden: _continued(image, coarse, hidden)


def _continued(image: Pixels, coarse: NDArray[np.float64], hidden: NDArray[np.bool_]) -> Pixels:
    if not hidden.any():
        return image
    if hidden.all():
        return levelled(image)(hidden)
    away = cv2.resize(hidden.astype(np.float32), (_COARSE, _COARSE), interpolation=cv2.INTER_AREA) >= 0.5
    if away.any() and not away.all():
        coarse = coarse.copy()
        coarse[away] = spsolve(*_equations(coarse, away)).reshape(-1, coarse.shape[-1])
    height, width = image.shape[:2]
    smooth = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_LINEAR)
    spread = float(image[~hidden].std()) * _NOISE
    # Always the same noise: two maps must be compared on equal terms.
    noise = np.random.default_rng(0).normal(0, spread, (height, width, 1))
    return np.where(hidden[..., None], (smooth + noise).clip(0, 255), image).astype(np.uint8)


def _equations(coarse: NDArray[np.float64], away: NDArray[np.bool_]) -> tuple[csr_matrix, NDArray[np.float64]]:
    """The matrix, and the right side for each channel, of the equations for the pixels that are ``away``."""
    height, width = away.shape
    number = np.full(away.shape, -1)
    number[away] = np.arange(away.sum())
    right = np.zeros((int(away.sum()), coarse.shape[-1]))
    rows, columns, weights = [], [], []
    total = np.zeros(len(right))
    ys, xs = np.nonzero(away)
    for down, along, weight in (*_NEIGHBOURS, *((-d, -a, w) for d, a, w in _NEIGHBOURS)):
        y, x = ys + down, xs + along
        inside = (y >= 0) & (y < height) & (x >= 0) & (x < width)
        mine, y, x = np.flatnonzero(inside), y[inside], x[inside]
        np.add.at(total, mine, weight)
        other = number[y, x]
        is_away = other >= 0
        rows.append(mine[is_away])
        columns.append(other[is_away])
        weights.append(np.full(int(is_away.sum()), -weight))
        np.add.at(right, mine[~is_away], weight * coarse[y[~is_away], x[~is_away]])
    rows.append(np.arange(len(right)))
    columns.append(np.arange(len(right)))
    weights.append(total)
    size = (len(right), len(right))
    return csr_matrix((np.concatenate(weights), (np.concatenate(rows), np.concatenate(columns))), size), right


BASELINES: dict[str, Callable[[Pixels], Hide]] = {"blur": blurred, "grey": levelled, "continued": continued}
