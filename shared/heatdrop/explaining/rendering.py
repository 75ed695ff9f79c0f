"""Draws maps: the overlay and the figure that a person looks at, and the NPZ with provenance that a program reads."""

import io
import json
import textwrap
from functools import cache
from typing import Any

import cv2
import numpy as np
from matplotlib import colormaps
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, findfont, get_font
from matplotlib.text import Text
from numpy.typing import NDArray

from heatdrop import images
from heatdrop.model.fitting import WHOLE, Place
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
_PNG = [
    *(cv2.IMWRITE_PNG_COMPRESSION, 1),
    *(cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_RLE),
    *(cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FILTER_UP),
]
"""As large as zlib's third level makes pictures and maps of this kind, in a third of its time."""
_DPI = 110
_SIZE = 880, 484
"""Width and height in pixels of the figure with a note of one line."""
_LINE_PIXELS = 16
_NOTE_LETTERS = 134
"""Letters of a line of the note below a figure."""
_TITLE_POINTS = 12
_HALVES = (9, 41, 427, 409), (444, 41, 427, 409)
"""Left, top, width and height of the figure's two pictures in pixels."""


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
    """A PNG of an image (H, W, 3); a grey one where its channels are all the same."""
    blue, green, red = (np.ascontiguousarray(pixels[..., channel]) for channel in (2, 1, 0))
    grey = np.array_equal(blue, green) and np.array_equal(green, red)
    done, buffer = cv2.imencode(".png", blue if grey else cv2.merge([blue, green, red]), _PNG)
    if not done:
        raise RuntimeError("OpenCV could not write a PNG")
    return buffer.tobytes()


def overlaid(pixels: NDArray[np.uint8], raw: NDArray[np.float32], place: Place = WHOLE) -> NDArray[np.uint8]:
    """The image (H, W, 3) with the map (h, w) over it in ``jet``, the more opaque the stronger the map is.

    ``place`` is where in the image the map lies; what lies outside of it stays as it is.

    The map is clipped at its 99.5th percentile, so that a few pixels do not hide the rest. A map with no signal
    leaves the image as it is.
    """
    pixels = at_display_size(pixels)
    strength = _laid_out(normalise(raw, _CLIP_PERCENTILE), (pixels.shape[0], pixels.shape[1]), place)
    colours = cv2.applyColorMap((strength * 255).astype(np.uint8), cv2.COLORMAP_JET)
    opacity = _OPACITY * strength
    blended = cv2.blendLinear(cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR), colours, 1 - opacity, opacity)
    return np.asarray(cv2.cvtColor(blended, cv2.COLOR_BGR2RGB), np.uint8)


def _laid_out(strength: NDArray[np.float32], size: tuple[int, int], place: Place) -> NDArray[np.float32]:
    """A map enlarged to its place in an image of this size (height, width); zeros where there is none."""
    height, width = size
    if place.is_whole:
        return np.asarray(cv2.resize(strength, (width, height), interpolation=cv2.INTER_LINEAR), np.float32)
    # OpenCV counts from the middle of a pixel.
    across = (place.right - place.left) * width / strength.shape[1]
    down = (place.bottom - place.top) * height / strength.shape[0]
    left = place.left * width + across / 2 - 0.5
    top = place.top * height + down / 2 - 0.5
    move = np.array([[across, 0, left], [0, down, top]])
    moved = np.asarray(cv2.warpAffine(strength, move, (width, height), borderMode=cv2.BORDER_REPLICATE), np.float32)
    rows, columns = ((np.arange(side) + 0.5) / side for side in size)
    seen = np.outer((rows >= place.top) & (rows < place.bottom), (columns >= place.left) & (columns < place.right))
    return np.where(seen, moved, np.float32(0))


def figure(
    pixels: NDArray[np.uint8], raw: NDArray[np.float32], label: str, score: float, note: str = DISCLAIMER
) -> bytes:
    """The tutorial's figure as a PNG: the input (H, W, 3) beside the map (H, W) in ``jet``, alpha 0.8, min to max.

    ``note`` stands below both; each of its lines but the first one makes the figure higher.
    """
    first_line, *more = note.splitlines() or [""]
    # matplotlib only writes the words: it takes longer to place pictures than to do all the rest.
    canvas = Figure(figsize=(_SIZE[0] / _DPI, _SIZE[1] / _DPI), dpi=_DPI)
    _write(canvas, "Input", _HALVES[0])
    text = printable(label)
    text = text if len(text) <= _LABEL_LETTERS else f"{text[: _LABEL_LETTERS - 1]}\N{HORIZONTAL ELLIPSIS}"
    title = _write(canvas, f"Predicted(class={_drawable(text)}) = {score:.4f}", _HALVES[1])
    left, top, width, height = _HALVES[1]
    if not has_signal(raw):
        at = (left + width / 2) / _SIZE[0], 1 - (top + height / 2) / _SIZE[1]
        canvas.text(*at, "no signal", ha="center", fontsize=_TITLE_POINTS)
    canvas.text(0.5, 0.01, _drawable(first_line), ha="center", fontsize=8, color="grey", parse_math=False)
    agg = FigureCanvasAgg(canvas)
    if len(text) > _SURE_TO_FIT:
        extent = title.get_window_extent(agg.get_renderer())  # type: ignore[no-untyped-call]
        room = min(width, height) / extent.width
        title.set_fontsize(_TITLE_POINTS * min(1.0, room))
    agg.draw()  # type: ignore[no-untyped-call]
    drawn = np.asarray(agg.buffer_rgba())[..., :3].copy()  # type: ignore[no-untyped-call]
    colours = _jet()[(normalise(raw) * 255).astype(np.uint8)]
    for shown, half in zip((pixels, colours), _HALVES, strict=True):
        _place(drawn, shown, half)
    return picture(np.vstack([drawn, *map(_line, more)]))


def _line(text: str) -> NDArray[np.uint8]:
    """A line of a figure's note, to be put below it."""
    canvas = Figure(figsize=(_SIZE[0] / _DPI, _LINE_PIXELS / _DPI), dpi=_DPI)
    canvas.text(0.5, 0.3, _drawable(text), ha="center", fontsize=8, color="grey", parse_math=False)
    agg = FigureCanvasAgg(canvas)
    agg.draw()  # type: ignore[no-untyped-call]
    return np.asarray(agg.buffer_rgba())[..., :3].copy()  # type: ignore[no-untyped-call]


def note(text: str) -> str:
    """A text broken into lines that fit below the pictures of a figure."""
    return "\n".join(textwrap.wrap(text, _NOTE_LETTERS))


def _place(drawn: NDArray[np.uint8], pixels: NDArray[np.uint8], half: tuple[int, int, int, int]) -> None:
    """Put a picture (H, W, 3) into the middle of a half, as large as it fits there; black words on it become white."""
    left, top, width, height = half
    factor = min(height / pixels.shape[0], width / pixels.shape[1])
    rows, columns = (max(1, round(side * factor)) for side in pixels.shape[:2])
    # Enlarged that much, pixels are shown as what they are.
    method = cv2.INTER_AREA if factor < 1 else cv2.INTER_LINEAR if factor < 3 else cv2.INTER_NEAREST
    top, left = top + (height - rows) // 2, left + (width - columns) // 2
    place = drawn[top : top + rows, left : left + columns]
    place[:] = cv2.add(cv2.resize(pixels, (columns, rows), interpolation=method), 255 - place)


def _write(canvas: Figure, text: str, half: tuple[int, int, int, int]) -> Text:
    """Write a title above a half of the figure."""
    left, top, width, _ = half
    at = (left + width / 2) / _SIZE[0], 1 - (top - 9) / _SIZE[1]
    # parse_math is off, since matplotlib would read $...$ in a label as a formula.
    return canvas.text(*at, text, ha="center", va="baseline", fontsize=_TITLE_POINTS, parse_math=False)


def _drawable(text: str) -> str:
    """Text with a box for each letter that matplotlib's font lacks."""
    font = get_font(findfont(FontProperties()))
    return "".join(letter if font.get_char_index(ord(letter)) else "\N{WHITE SQUARE}" for letter in text)


@cache
def _jet() -> NDArray[np.uint8]:
    """The colours of ``jet``, (256, 3) RGB, with an opacity of 0.8 over white."""
    colours = colormaps["jet"](np.arange(256))[:, :3]
    return np.rint(255 * (_OPACITY * colours + 1 - _OPACITY)).astype(np.uint8)


def maps_file(arrays: dict[str, Any], provenance: dict[str, Any]) -> bytes:
    """An NPZ of raw arrays, with ``provenance`` as a JSON string; equal content gives equal bytes."""
    buffer = io.BytesIO()
    text = json.dumps(provenance, sort_keys=True, ensure_ascii=False)
    # Not compressed: of floating point it would take off a tenth, for as much time as a picture takes.
    np.savez(buffer, allow_pickle=False, provenance=np.array(text), **dict(sorted(arrays.items())))
    return buffer.getvalue()
