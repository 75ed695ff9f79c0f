"""Maps made without gradients: parts of the image are hidden, and the model says what it makes of the rest.

They need nothing but predictions, so they check all other maps: they cannot share a fault with the gradients.
"""

from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from heatdrop.saliency import checks
from heatdrop.saliency.gradient_engine import GradientEngine
from heatdrop.saliency.integrated import blurred
from heatdrop.saliency.maps import Float, SaliencyMaps, empty_invalid_of, of_one_method
from heatdrop.saliency.noise import image_key
from heatdrop.vocabulary import HidingMethod

GRID = 10
"""Occlusion hides GRID x GRID squares in turn, each twice as wide and high as its cell of that grid."""
MASKS = 200
CELLS = 7
"""RISE hides cells of a CELLS x CELLS grid, half of them each time, MASKS times."""
_AT_ONCE = 20
"""Pictures that are made before they are predicted: they take memory."""

Predict = Callable[[Float], Float]
"""Pictures (B, H, W, C) to what the model makes of them (B, classes)."""


def hiding_maps(
    engine: GradientEngine,
    images: ArrayLike,
    classes: ArrayLike | None = None,
    *,
    method: HidingMethod,
    top: int = 3,
    seed: int = 0,
) -> SaliencyMaps:
    """Explain images by what the model predicts when parts of them are hidden behind their blurred copies.

    Args:
        engine: of the model; only its predictions are used.
        images: (B, H, W, C) float32, already preprocessed.
        classes: (B, K) class indices to explain; the ``top`` best of each image by default.
        method: ``occlusion`` (Zeiler, Fergus, ECCV 2014): how much the logarithm of the odds falls when a square is
            hidden. ``rise`` (Petsiuk, Das, Saenko, BMVC 2018): how the probability goes together with what is visible,
            over random masks.
        top: how many classes to explain when ``classes`` is not given.
        seed: of the masks of ``rise``, which depend on (seed, image content) alone.

    Returns:
        Maps under the method's name, 0 or more.

    Raises:
        InvalidRequest: an argument has the wrong shape or is out of its range; the message names it.
    """
    batch = checks.images(images, engine.input_shape)
    checks.seed(seed)
    scores = engine.predict(batch)
    chosen = checks.classes(classes, scores, top)
    maps = np.zeros((*chosen.shape, *batch.shape[1:3]), np.float32)
    warnings = []
    ends_in_logits = "probability" not in engine.head.scores
    for index, image in enumerate(batch):
        if np.ptp(image):
            occluding = method == "occlusion"
            of_all = (
                _occlusion(engine.predict, image, ends_in_logits) if occluding else _rise(engine.predict, image, seed)
            )
            maps[index] = of_all[chosen[index]]
        # Of a constant image there is nothing to hide: its map stays empty, and is warned of.
        warnings.append(tuple(empty_invalid_of(method, maps[index], image, chosen[index])))
    scores = np.take_along_axis(scores, chosen, axis=1)
    return of_one_method(
        method, maps, chosen, scores, "logit" if ends_in_logits else "probability", warnings, seed=seed
    )


def _occlusion(predict: Predict, image: Float, ends_in_logits: bool) -> Float:
    """(classes, H, W): the fall of each class's evidence when the square around a place is hidden, never below 0."""
    height, width = image.shape[:2]
    soft = blurred(image)

    def hidden(cell: int) -> Float:
        row, column = divmod(cell, GRID)
        picture = image.copy()
        top, bottom = (round((row + step) * height / GRID) for step in (-0.5, 1.5))
        left, right = (round((column + step) * width / GRID) for step in (-0.5, 1.5))
        square = slice(max(0, top), bottom), slice(max(0, left), right)
        picture[square] = soft[square]
        return picture

    evidence = _evidence(_predicted(predict, hidden, GRID * GRID), ends_in_logits)
    falls = np.maximum(_evidence(predict(image[None]), ends_in_logits) - evidence, 0)
    cells = falls.T.reshape(-1, GRID, GRID).astype(np.float32)
    return np.stack([cv2.resize(each, (width, height), interpolation=cv2.INTER_LINEAR) for each in cells])


def _rise(predict: Predict, image: Float, seed: int) -> Float:
    """(classes, H, W): the covariance of each class's score with what is visible, from 0 up.

    Means are taken off scores and masks: with few masks, how often a place is visible would show in the map.
    """
    masks = _masks(image.shape[:2], np.random.Generator(np.random.Philox(key=[seed, image_key(image)])))
    soft = blurred(image)

    def partly_visible(number: int) -> Float:
        mask = masks[number][..., None]
        shown: Float = mask * image + (1 - mask) * soft
        return shown

    scores = _predicted(predict, partly_visible, MASKS)
    together = np.tensordot((scores - scores.mean(0)).T, masks - masks.mean(0), axes=1) / MASKS
    found: Float = (together - together.min(axis=(1, 2), keepdims=True)).astype(np.float32)
    return found


def _masks(size: tuple[int, ...], random: np.random.Generator) -> Float:
    """(MASKS, H, W), 0 to 1: grids of random cells, enlarged smoothly and shifted by a random part of a cell."""
    height, width = size
    cell = -(-height // CELLS), -(-width // CELLS)
    masks = np.empty((MASKS, height, width), np.float32)
    for mask in masks:
        cells = (random.random((CELLS, CELLS)) < 0.5).astype(np.float32)
        large = cv2.resize(cells, (width + cell[1], height + cell[0]), interpolation=cv2.INTER_LINEAR)
        down, along = random.integers(0, cell[0]), random.integers(0, cell[1])
        mask[:] = large[down : down + height, along : along + width]
    return masks


def _predicted(predict: Predict, picture: Callable[[int], Float], count: int) -> NDArray[np.float64]:
    """(count, classes): what the model makes of each of ``count`` pictures."""
    found = []
    for first in range(0, count, _AT_ONCE):
        found.append(predict(np.stack([picture(number) for number in range(first, min(count, first + _AT_ONCE))])))
    return np.concatenate(found).astype(np.float64)


def _evidence(scores: NDArray[np.floating], ends_in_logits: bool) -> NDArray[np.float64]:
    """Logits as they are, probabilities as the logarithm of their odds: those near 1 would hardly fall."""
    values = scores.astype(np.float64)
    if ends_in_logits:
        return values
    inside = values.clip(1e-6, 1 - 1e-6)
    found: NDArray[np.float64] = np.log(inside / (1 - inside))
    return found
