"""Do maps point at what people have marked? Beside them stand maps that know nothing of the model.

A model may be right for other reasons than those that people mark, so this is no verdict on a map by itself.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from heatdrop.model.grading import LOCALISATION_MEASURES, RIVALS, Interval
from heatdrop.trust.measures import Map, with_interval

Masks = NDArray[np.bool_]
"""(N, H, W): which pixels of each image lie in a box."""

_SHARES = np.linspace(0.005, 0.5, 100)
"""The shares of an image that a map's strongest pixels are cut to, to look for the best one."""


def localisation_figures(
    maps: Sequence[Map], rivals: Mapping[str, Sequence[Map]], masks: Masks
) -> dict[str, float | Interval]:
    """How well maps (H, W) find what is in the boxes, and by how much better than ``rivals``, paired by image."""
    own = _measures(maps, masks)
    figures: dict[str, float | Interval] = {"share_of_the_picture_in_the_box": with_interval(masks.mean(axis=(1, 2)))}
    others = {name: _measures(rivals[name], masks) for name in RIVALS}
    for measure in LOCALISATION_MEASURES:
        figures[f"{measure}_map"] = with_interval(own[measure])
        for name, other in others.items():
            figures[f"{measure}_{name}"] = with_interval(other[measure])
            figures[f"{measure}_gain_over_{name}"] = with_interval(own[measure] - other[measure])
    return figures


def _measures(maps: Sequence[Map], masks: Masks) -> dict[str, NDArray[np.float64]]:
    """Each of ``LOCALISATION_MEASURES`` for each image; the overlap only for the images that did not choose its cut."""
    pairs = list(zip(maps, masks, strict=True))
    return {
        "pointing": np.array([points_into(raw, mask) for raw, mask in pairs], np.float64),
        "share_in_box": np.array([share_within(raw, mask) for raw, mask in pairs]),
        "overlap": overlap_at_best_cut(maps, masks),
    }


def points_into(raw: Map, mask: NDArray[np.bool_]) -> bool:
    """Whether the strongest pixel lies in the box: the pointing game (Zhang, Bargal, Lin, Brandt, Shen, Sclaroff,
    "Top-down neural attention by excitation backprop", IJCV 2018), without a margin.
    """
    return bool(mask[np.unravel_index(raw.argmax(), raw.shape)])


def share_within(raw: Map, mask: NDArray[np.bool_]) -> float:
    """The share of the map in the box: the energy-based pointing game (Wang et al., "Score-CAM", CVPRW 2020)."""
    total = float(raw.sum(dtype=np.float64))
    return float(raw[mask].sum(dtype=np.float64)) / total if total > 0 else 0.0


def overlap_at_best_cut(maps: Sequence[Map], masks: Masks) -> NDArray[np.float64]:
    """Intersection over union of the box and the strongest pixels of each map, for every second image.

    How many pixels count as strong is chosen on the other half of the images, where it makes the mean greatest: chosen
    on the same images, it would flatter the map.
    """
    overlaps = np.array([_overlaps(raw, mask) for raw, mask in zip(maps, masks, strict=True)])
    best = overlaps[::2].mean(0).argmax()
    chosen: NDArray[np.float64] = overlaps[1::2, best]
    return chosen


def _overlaps(raw: Map, mask: NDArray[np.bool_]) -> NDArray[np.float64]:
    """The intersection over union with the strongest pixels, for each of ``_SHARES``."""
    order = np.argsort(-raw, axis=None, kind="stable")
    hits = np.cumsum(mask.ravel()[order])
    counts = np.maximum(1, (_SHARES * raw.size).round().astype(np.int64))
    inside = hits[counts - 1]
    found: NDArray[np.float64] = inside / (mask.sum() + counts - inside)
    return found
