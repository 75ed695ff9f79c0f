"""Do all maps point at one spot near the border? Then the model may read a marker instead of the picture."""

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from heatdrop.trust.measures import Map

GRID = 8
"""A map is divided into GRID x GRID tiles, of which the outermost ring is the border."""
THRESHOLD = 4.0
"""The alarm: a border tile that holds this many times the share of the map that its area would give it."""

_ROWS = ("top", *["upper"] * 3, *["lower"] * 3, "bottom")
_COLUMNS = ("left", *["left half"] * 3, *["right half"] * 3, "right")


def concentration(maps: Sequence[Map]) -> NDArray[np.float64]:
    """(GRID, GRID): how many times its area's share of the maps each tile holds, averaged over images."""
    tiles = [cv2.resize(m.astype(np.float32), (GRID, GRID), interpolation=cv2.INTER_AREA) for m in maps]
    shares = [tile / tile.mean() for tile in tiles if tile.mean() > 0]
    return np.mean(shares, axis=0, dtype=np.float64) if shares else np.ones((GRID, GRID))


def shortcut_alarms(maps: Sequence[Map]) -> tuple[str, ...]:
    """A sentence about the border tile that the maps agree on far too well; none for a sound model."""
    tiles = concentration(maps)
    tiles[1:-1, 1:-1] = 0
    row, column = np.unravel_index(tiles.argmax(), tiles.shape)
    if tiles[row, column] < THRESHOLD:
        return ()
    return (
        f"The maps hold {tiles[row, column]:.1f} times their share in a spot at the {_ROWS[row]} {_COLUMNS[column]}: "
        "look there for a marker that gives the class away.",
    )
