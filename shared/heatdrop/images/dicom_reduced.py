"""DICOM pictures in JPEG 2000, decoded at 1/2, 1/4 or 1/8 of each side where that shows the same as the whole picture.

A quarter of each side takes less than a tenth of the time. It does not always show the same: a window makes everything
beyond its limits black or white, which for the average of two pixels is not the average of what is shown for each; and
thin lines become a little softer or sharper. How much this matters is estimated from the small picture, by halving it
once more: what changes little then has changed little before.

A regular pattern of single pixels beyond the limits of a window escapes this: the small picture has no trace of it.
"""

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from openjpeg.utils import decode
from pydicom.dataset import FileDataset
from pydicom.encaps import get_frame
from pydicom.uid import JPEG2000, JPEG2000Lossless

from heatdrop.images.dicom_display import shows_averages, to_rgb8
from heatdrop.images.dicom_pixels import Layout
from heatdrop.images.jpeg2000 import NotReducible, is_reversible, reduced, sample_bits
from heatdrop.images.tones import grey_to_rgb

_CODESTREAM = 0
"""What the decoder calls data without the boxes of a JP2 file."""
_MOST_HALVINGS = 3
_MARGIN, _LEAST_SHRINKING = 1.5, 6
"""By how much both sides of the small picture, and of the whole one, must exceed what is asked for. With less, a speck
of one white pixel may already count for more than 3 grey levels."""
_MOST_DETAIL, _MOST_CHANGE_AT_HALF, _MOST_CHANGE_UNCUT, _MOST_CHANGE_CUT = 1.5, 2.5, 8.0, 4.0
"""Grey levels, see ``_excess``. These limits were found with 810 ways to decode and show radiographs, noise, edges,
specks, hairlines and text, with wide and narrow windows, two thirds of which differ from the whole picture by more than
3 grey levels in some pixel of the size that is asked for. 199 are within these limits; two of them, with drawn specks
and hairlines of one pixel, differ by 5, all others by 3 at most."""
_HOPELESS = 5.0
"""How often the limits are exceeded where a picture of twice the size will exceed them as well."""
_LOW_PASS = np.array([-1, 2, 6, 2, -1], np.float32) / 8
"""What halves a picture in JPEG 2000's reversible transform (ISO/IEC 15444-1 F.4.8.2)."""


def decode_reduced(dataset: FileDataset, layout: Layout, at_least: tuple[int, int]) -> NDArray[np.uint8] | None:
    """Decode a picture in JPEG 2000 at a lower resolution.

    Args:
        at_least: (height, width) for which the picture is needed.

    Returns:
        (h, w, 3) uint8 RGB, h and w larger than ``at_least``. Resized to ``at_least`` it differs from the whole
        picture, resized likewise, by 3 grey levels at most. None where that is not certain, or cannot be done.
    """
    shrinking = min(layout.rows / at_least[0], layout.columns / at_least[1])
    if shrinking < _LEAST_SHRINKING or layout.syntax not in (JPEG2000Lossless, JPEG2000):
        return None
    codestream = get_frame(dataset.PixelData, 0, number_of_frames=1)
    try:
        bits, signed = sample_bits(codestream)
        # Else some of the bits are not the picture's, or the values wrap round.
        as_stored = bits <= min(layout.bits_stored, 16) and (layout.samples == 3 or signed == layout.signed)
        if not as_stored or not shows_averages(dataset, layout):
            return None
        reversible = is_reversible(codestream)
        # Half of a lossy picture takes as long as the whole one.
        for halvings in range(_MOST_HALVINGS, 0 if reversible else 1, -1):
            if shrinking < _MARGIN * 2**halvings:
                continue
            stored = decode(reduced(codestream, halvings), _CODESTREAM)
            # What a decoder does where all detail is 0: exactly, or nearly so for the other transform.
            method = cv2.INTER_LINEAR if reversible else cv2.INTER_CUBIC
            picture, half = _shown(stored, dataset, layout), _shown(_halved(stored), dataset, layout)
            half = _interpolated(half, (0.5, 0.5), (0, 0), picture.shape[:2], method)
            excess = _excess(picture, half, at_least)
            if excess <= 1:
                return _in_place(picture, layout, 1 << halvings, method)
            if excess > _HOPELESS:
                return None
    except NotReducible:
        pass
    return None


def _shown(values: NDArray[Any], dataset: FileDataset, layout: Layout) -> NDArray[np.uint8]:
    """Show stored values, (h, w) or (h, w, 3), as (h, w) grey levels or (h, w, 3) RGB."""
    # The decoder has undone the component transformation of JPEG 2000.
    photometric = "RGB" if layout.photometric in ("YBR_ICT", "YBR_RCT") else layout.photometric
    shown = to_rgb8(values, photometric, dataset, layout)
    return shown if layout.samples > 1 else np.ascontiguousarray(shown[..., 0])


def _halved(values: NDArray[Any]) -> NDArray[Any]:
    """Halve both sides as JPEG 2000 does."""
    low = cv2.sepFilter2D(values.astype(np.float32), -1, _LOW_PASS, _LOW_PASS, borderType=cv2.BORDER_REFLECT_101)
    halved: NDArray[Any] = np.rint(np.clip(low[::2, ::2], values.min(), values.max())).astype(values.dtype)
    return halved


def _in_place(picture: NDArray[np.uint8], layout: Layout, unit: int, method: int) -> NDArray[np.uint8]:
    """Put each pixel of a small picture, of which the whole one has ``unit`` in a row, where it lies in the whole one.

    Returns:
        (h, w, 3), twice as large as the small picture, since resizing it to any other size cuts pixels up.
    """
    size = 2 * (layout.rows // unit), 2 * (layout.columns // unit)
    apart = layout.rows / size[0], layout.columns / size[1]
    steps, starts = zip(*((pixels / unit, (pixels - 1) / 2 / unit) for pixels in apart), strict=True)
    return grey_to_rgb(_interpolated(picture, steps, starts, size, method))


def _interpolated(
    picture: NDArray[np.uint8], step: tuple[float, ...], start: tuple[float, ...], size: tuple[int, ...], method: int
) -> NDArray[np.uint8]:
    """Interpolate at so many places (height, width), a ``step`` apart from ``start`` on, both in (rows, columns).

    In JPEG 2000 a pixel of the halved picture lies where every second one of the larger picture does, beginning with
    the first; not in the middle between two, where ``cv2.resize`` would put it.
    """
    places = np.array([[step[1], 0, start[1]], [0, step[0], start[0]]], np.float64)
    height, width = size
    flags = method | cv2.WARP_INVERSE_MAP
    return np.asarray(
        cv2.warpAffine(picture, places, (width, height), flags=flags, borderMode=cv2.BORDER_REPLICATE), np.uint8
    )


def _excess(picture: NDArray[np.uint8], half: NDArray[np.uint8], at_least: tuple[int, int]) -> float:
    """By how much a picture exceeds the limits of what may change where its sides are halved once more; 1
    or less where it does not.

    The mean difference, leaving out what is black or white, is mostly noise. A window would cut its peaks off in the
    whole picture, and in the small one they are gone. The greatest difference is looked at in two sizes. At half the
    size that is asked for, an edge differs by about as much as it does between the whole picture and this one at the
    full size, since both are the same comparison, one step apart. At the full size specks and hairlines count, more so
    where a window may have cut them off.
    """
    shown = (picture > 0) & (picture < 255)
    detail = float(cv2.absdiff(picture, half)[shown].mean()) if shown.any() else 0.0
    if detail > _MOST_DETAIL:
        return detail / _MOST_DETAIL
    at_half = max(1, at_least[0] // 2), max(1, at_least[1] // 2)
    most = _MOST_CHANGE_UNCUT if shown.all() else _MOST_CHANGE_CUT
    return max(_change(picture, half, at_half) / _MOST_CHANGE_AT_HALF, _change(picture, half, at_least) / most)


def _change(one: NDArray[np.uint8], other: NDArray[np.uint8], size: tuple[int, int]) -> float:
    """Grey levels by which two pictures differ at most when both are resized to (height, width)."""
    averages = (cv2.resize(p.astype(np.float32), size[::-1], interpolation=cv2.INTER_AREA) for p in (one, other))
    return float(np.abs(np.subtract(*averages)).max())
