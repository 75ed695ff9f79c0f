"""Draws maps: the overlay and the figure that a person looks at, and the NPZ with provenance that a program reads."""

import io
import json
import textwrap
import warnings
from typing import Any

import cv2
import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from heatdrop import images
from heatdrop.text import printable
from heatdrop.vocabulary import DISCLAIMER

OVERLAY_SIDE = 768
"""The longest side of a picture or overlay in pixels; a smaller image keeps its size."""

_CLIP_PERCENTILE = 99.5
_OPACITY = 0.8
_LABEL_LETTERS = 40
"""Letters of a label in the figure; a longer one is cut."""
_SURE_TO_FIT = 12
"""Letters of a label that fit above the map in the title's usual size."""
_PNG_LEVEL = 3
"""A third smaller than by OpenCV's own level, 1, for 15 ms a figure; higher levels take time and save little."""
_DPI = 110
_LINE_PIXELS = 16
_NOTE_LETTERS = 134
"""Letters of a line of the note below a figure."""
_HALVES = (0.01, 0.07, 0.485, 0.845), (0.505, 0.07, 0.485, 0.845)
"""Left, bottom, width and height of the figure's two pictures, as shares of its width and height."""


def has_signal(raw: NDArray[np.float32]) -> bool:
    """Whether a map tells pixels apart by more than rounding does."""
    return bool(np.ptp(raw) > 1e-6 * np.abs(raw).max())


def normalise(raw: NDArray[np.float32], percentile: float = 100) -> NDArray[np.float32]:
    """Scale a map (H, W) to 0..1 between its minimum and its ``percentile``; a map with no signal becomes zeros."""
    if not has_signal(raw):
        return np.zeros_like(raw)
    low, high = float(raw.min()), float(np.percentile(raw, percentile))
    if not high > low:
        # So few pixels carry the signal that the percentile lies below them.
        high = float(raw.max())
    return ((raw - low) / (high - low)).clip(0, 1)


def at_display_size(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The image (H, W, 3) at the size it is shown in, at most ``OVERLAY_SIDE``."""
    factor = min(1.0, OVERLAY_SIDE / max(pixels.shape[:2]))
    height, width = (max(1, round(side * factor)) for side in pixels.shape[:2])
    return images.resize(pixels, (height, width)) if factor < 1 else pixels


def picture(pixels: NDArray[np.uint8]) -> bytes:
    """A PNG of an image (H, W, 3)."""
    return _png(cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR))


def overlaid(pixels: NDArray[np.uint8], raw: NDArray[np.float32]) -> NDArray[np.uint8]:
    """The image (H, W, 3) with the map (h, w) over it in ``jet``, the more opaque the stronger the map is.

    The map is clipped at its 99.5th percentile, so that a few pixels do not hide the rest. A map with no signal
    leaves the image as it is.
    """
    pixels = at_display_size(pixels)
    height, width = pixels.shape[:2]
    strength = cv2.resize(normalise(raw, _CLIP_PERCENTILE), (width, height), interpolation=cv2.INTER_LINEAR)
    colours = cv2.applyColorMap((strength * 255).astype(np.uint8), cv2.COLORMAP_JET)
    opacity = (_OPACITY * strength)[..., None]
    blended = cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR) * (1 - opacity) + colours * opacity
    return np.asarray(cv2.cvtColor(blended.round().astype(np.uint8), cv2.COLOR_BGR2RGB), np.uint8)


def figure(
    pixels: NDArray[np.uint8], raw: NDArray[np.float32], label: str, score: float, note: str = DISCLAIMER
) -> bytes:
    """The tutorial's figure as a PNG: the input (H, W, 3) beside the map (H, W) in ``jet``, alpha 0.8, min to max.

    ``note`` stands below both; each of its lines but the first one makes the figure higher.
    """
    first_line, *more = note.splitlines() or [""]
    # Axes and titles have fixed places: laying them out takes matplotlib longer than drawing them.
    canvas = Figure(figsize=(8, 4.4), dpi=_DPI)
    left, right = (canvas.add_axes(place) for place in _HALVES)
    left.imshow(pixels)
    left.set_title("Input", y=1)
    right.imshow(normalise(raw), cmap="jet", alpha=0.8, vmin=0, vmax=1)
    text = printable(label)
    text = text if len(text) <= _LABEL_LETTERS else f"{text[: _LABEL_LETTERS - 1]}\N{HORIZONTAL ELLIPSIS}"
    # parse_math is off, since matplotlib would read $...$ in a label as a formula.
    title = right.set_title(f"Predicted(class={text}) = {score:.4f}", y=1, parse_math=False)
    if not has_signal(raw):
        right.text(0.5, 0.5, "no signal", transform=right.transAxes, ha="center", color="white")
    for axes in (left, right):
        axes.axis("off")
    canvas.text(0.5, 0.01, first_line, ha="center", fontsize=8, color="grey", parse_math=False)
    drawn = io.BytesIO()
    with warnings.catch_warnings():
        # A letter that matplotlib's font lacks is drawn as a box.
        warnings.filterwarnings("ignore", "Glyph")
        if len(text) > _SURE_TO_FIT:
            canvas.draw_without_rendering()
            room = right.get_window_extent().width / title.get_window_extent().width
            title.set_fontsize(float(title.get_fontsize()) * min(1.0, room))
        canvas.savefig(drawn, format="raw")
    width, height = (round(side) for side in canvas.bbox.size)
    shown = np.frombuffer(drawn.getvalue(), np.uint8).reshape(height, width, 4)[..., :3]
    return picture(np.vstack([shown, *(_line(text, width) for text in more)]))


def _line(text: str, width: int) -> NDArray[np.uint8]:
    """A line of a figure's note (h, ``width``, 3), to be put below it."""
    canvas = Figure(figsize=(width / _DPI, _LINE_PIXELS / _DPI), dpi=_DPI)
    canvas.text(0.5, 0.3, text, ha="center", fontsize=8, color="grey", parse_math=False)
    drawn = io.BytesIO()
    with warnings.catch_warnings():
        # A letter that matplotlib's font lacks is drawn as a box.
        warnings.filterwarnings("ignore", "Glyph")
        canvas.savefig(drawn, format="raw")
    return np.frombuffer(drawn.getvalue(), np.uint8).reshape(_LINE_PIXELS, width, 4)[..., :3]


def note(text: str) -> str:
    """A text broken into lines that fit below the pictures of a figure."""
    return "\n".join(textwrap.wrap(text, _NOTE_LETTERS))


def maps_file(arrays: dict[str, Any], provenance: dict[str, Any]) -> bytes:
    """An NPZ of raw arrays, with ``provenance`` as a JSON string; equal content gives equal bytes."""
    buffer = io.BytesIO()
    text = json.dumps(provenance, sort_keys=True, ensure_ascii=False)
    np.savez_compressed(buffer, provenance=np.array(text), **dict(sorted(arrays.items())))
    return buffer.getvalue()


def _png(bgr: NDArray[Any]) -> bytes:
    done, buffer = cv2.imencode(".png", bgr, [cv2.IMWRITE_PNG_COMPRESSION, _PNG_LEVEL])
    if not done:
        raise RuntimeError("OpenCV could not write a PNG")
    return buffer.tobytes()
