"""Do maps point at what the score depends on?

Insertion and deletion (Petsiuk, Das, Saenko, "RISE", BMVC 2018): the image is revealed out of a blur, or blurred away,
cell by cell in the order of the map, and the probability of the class is followed. The area under that curve is
compared, image by image, with that of maps that know nothing of the model.
"""

from collections.abc import Callable, Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from heatdrop.model.certificate import Check
from heatdrop.trust.measures import Map, with_interval

CELLS = 20
"""An image is revealed in CELLS x CELLS cells: a model was not trained on single sharp pixels among blurred ones."""
FRACTIONS = 20
"""How many equal steps there are from the blurred image to the whole one."""

Pixels = NDArray[np.uint8]
Score = Callable[[Sequence[Pixels]], NDArray[np.float32]]
"""(H, W, 3) images to the (B,) probabilities of one class."""


def check_perturbation(images: Sequence[Pixels], maps: Sequence[Map], scorers: Sequence[Score], seed: int) -> Check:
    """Insertion and deletion areas of ``maps`` against random, centred and edge maps, paired by image.

    Passes when the maps are better than random ones at both: more area on insertion, less on deletion, each with a
    95 % interval that excludes 0.
    """
    random = np.random.default_rng(seed)
    areas: dict[str, list[tuple[float, float]]] = {}
    for image, raw, score in zip(images, maps, scorers, strict=True):
        for name, ranking in (("smoothgrad", raw), *rivals(image, random).items()):
            areas.setdefault(name, []).append(insertion_and_deletion(image, ranking, score))
    columns = {name: np.array(values) for name, values in areas.items()}
    figures: dict[str, float | tuple[float, float, float]] = {}
    for position, kind in enumerate(("insertion", "deletion")):
        for name, values in columns.items():
            figures[f"{kind}_{name}"] = with_interval(values[:, position])
        for name in columns.keys() - {"smoothgrad"}:
            figures[f"{kind}_gain_over_{name}"] = with_interval(
                (columns["smoothgrad"] - columns[name])[:, position] * (1 if kind == "insertion" else -1)
            )
    gains = [figures[f"{kind}_gain_over_random"] for kind in ("insertion", "deletion")]
    passed = all(isinstance(gain, tuple) and gain[1] > 0 for gain in gains)
    verdict = "point" if passed else "do not point"
    statement = f"The model's maps {verdict} at what its score depends on better than random maps do."
    return Check(name="insertion and deletion", passed=passed, statement=statement, figures=figures)


def rivals(image: Pixels, random: np.random.Generator) -> dict[str, Map]:
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


def insertion_and_deletion(image: Pixels, ranking: Map, score: Score) -> tuple[float, float]:
    """The areas under both curves, 0 to 1, for one image and one map."""
    height, width = image.shape[:2]
    blurred = cv2.GaussianBlur(image, (0, 0), max(height, width) / 10)
    cells = cv2.resize(ranking, (CELLS, CELLS), interpolation=cv2.INTER_AREA)
    place = np.empty(CELLS * CELLS, np.int64)
    place[np.argsort(-cells.ravel(), kind="stable")] = np.arange(CELLS * CELLS)
    # How early each pixel comes, 0 to just under 1.
    rank = cv2.resize(
        (place.reshape(CELLS, CELLS) / place.size).astype(np.float32), (width, height), interpolation=cv2.INTER_NEAREST
    )
    shares = np.linspace(0, 1, FRACTIONS + 1)
    revealed = [np.where((rank < share)[..., None], image, blurred) for share in shares]
    hidden = [np.where((rank < share)[..., None], blurred, image) for share in shares]
    curve = score(revealed + hidden)
    return tuple(float(np.trapezoid(part, shares)) for part in np.split(curve, 2))  # type: ignore[return-value]
