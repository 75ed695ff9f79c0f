"""Do maps point at what the score depends on?

Insertion and deletion (Petsiuk, Das, Saenko, "RISE", BMVC 2018): the image is revealed, or hidden, cell by cell in the
order of the map, and the probability of the class is followed. The area under that curve is compared, image by image,
with that of maps that know nothing of the model. What stands in the place of hidden pixels is one of ``BASELINES``.
"""

from collections.abc import Callable, Mapping, Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from heatdrop.model.grading import RIVALS, Interval
from heatdrop.trust.baselines import BASELINES, Hide, Pixels
from heatdrop.trust.measures import Map, with_interval

CELLS = 20
"""An image is revealed in CELLS x CELLS cells: a model was not trained on single sharp pixels among hidden ones."""
STEPS = 8
"""How many equal steps there are from the wholly hidden image to the whole one."""

WAYS = ("insertion", "deletion")

Score = Callable[[Sequence[Pixels]], NDArray[np.float32]]
"""(H, W, 3) images to the (B,) probabilities of one class."""

Areas = NDArray[np.float64]
"""(baselines, 2): the areas of insertion and of deletion over each of ``BASELINES``."""


def measure_areas(image: Pixels, rankings: Mapping[str, Map], score: Score) -> dict[str, Areas]:
    """The areas under the curves of each of several maps (H, W) of one image, 0 to 1."""
    hides = [baseline(image) for baseline in BASELINES.values()]
    whole, *nothing = score([image, *(hide(np.ones(image.shape[:2], np.bool_)) for hide in hides)])
    found = {}
    for name, ranking in rankings.items():
        rank = _rank(ranking, image.shape[:2])
        found[name] = np.array(
            [_areas(rank, score, hide, float(whole), float(empty)) for hide, empty in zip(hides, nothing, strict=True)]
        )
    return found


def perturbation_figures(areas: Sequence[Areas], rivals: Mapping[str, Sequence[Areas]]) -> dict[str, float | Interval]:
    """The figures of one kind of map: its areas, and its gains over ``rivals``, paired by image.

    More area is better for insertion, less for deletion; a gain is above 0 where the map is better. The figures without
    the name of a baseline are means over the baselines.
    """
    own = np.array(areas)
    figures: dict[str, float | Interval] = {}
    for position, way in enumerate(WAYS):
        figures[f"{way}_map"] = with_interval(own[..., position].mean(1))
        for name in RIVALS:
            other = np.array(rivals[name])[..., position]
            gain = (own[..., position] - other) * (1 if way == "insertion" else -1)
            figures[f"{way}_{name}"] = with_interval(other.mean(1))
            figures[f"{way}_gain_over_{name}"] = with_interval(gain.mean(1))
            for column, baseline in enumerate(BASELINES):
                figures[f"{way}_gain_over_{name}_from_{baseline}"] = with_interval(gain[:, column])
    return figures


def faithfulness(areas: Sequence[Areas]) -> NDArray[np.float64]:
    """(N,): insertion less deletion for each image, the mean over the baselines."""
    found = np.array(areas)
    difference: NDArray[np.float64] = (found[..., 0] - found[..., 1]).mean(1)
    return difference


def rival_maps(image: Pixels, random: np.random.Generator) -> dict[str, Map]:
    """Maps (H, W) that know nothing of any model: random, the middle of the picture, its edges."""
    height, width = image.shape[:2]
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32)
    edges = np.hypot(cv2.Sobel(grey, cv2.CV_32F, 1, 0), cv2.Sobel(grey, cv2.CV_32F, 0, 1))
    return {
        "random": random.random((height, width), np.float32),
        "centre": np.exp(-(x**2 + y**2) / 0.5).astype(np.float32),
        "edges": edges.astype(np.float32),
    }


def _areas(rank: Map, score: Score, hide: Hide, whole: float, empty: float) -> tuple[float, float]:
    """The areas of insertion and deletion. The scores of the whole and of the hidden image are known."""
    shares = np.linspace(0, 1, STEPS + 1)
    revealed = [hide(rank >= share) for share in shares[1:-1]]
    hidden = [hide(rank < share) for share in shares[1:-1]]
    rising, falling = np.split(score(revealed + hidden), 2)
    insertion = np.trapezoid([empty, *rising, whole], shares)
    deletion = np.trapezoid([whole, *falling, empty], shares)
    return float(insertion), float(deletion)


def _rank(ranking: Map, size: tuple[int, ...]) -> Map:
    """How early each pixel comes, from 0 to just under 1, in whole cells."""
    height, width = size
    cells = cv2.resize(ranking, (CELLS, CELLS), interpolation=cv2.INTER_AREA)
    place = np.empty(CELLS * CELLS, np.int64)
    place[np.argsort(-cells.ravel(), kind="stable")] = np.arange(CELLS * CELLS)
    early = (place.reshape(CELLS, CELLS) / place.size).astype(np.float32)
    return np.asarray(cv2.resize(early, (width, height), interpolation=cv2.INTER_NEAREST), np.float32)
