"""Stored values of a DICOM image to 8 bits, in the way that the file says they are to be shown.

Grey passes through the modality transformation (PS3.3 C.11.1), then the VOI transformation (C.11.2); where there is
none, the least value becomes black and the greatest white. Padding (C.7.5.1.1.2) takes no part in this and is black.
"""

import math
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from pydicom.config import disable_value_validation
from pydicom.dataset import Dataset, FileDataset
from pydicom.pixels.processing import apply_windowing, convert_color_space

from heatdrop.errors import UnsupportedImage
from heatdrop.images.dicom_elements import integer, items, number, numbers, text
from heatdrop.images.dicom_pixels import Layout
from heatdrop.images.dicom_tables import LookupTable, palette_bits, read_table

_PALETTE = [f"{colour}PaletteColorLookupTable" for colour in ("Red", "Green", "Blue")]
_PER_FRAME, _SHARED = "PerFrameFunctionalGroupsSequence", "SharedFunctionalGroupsSequence"
_PADDING = {
    "PixelData": "PixelPadding",
    "FloatPixelData": "FloatPixelPadding",
    "DoubleFloatPixelData": "DoubleFloatPixelPadding",
}

DISPLAY_KEYWORDS = (
    *("ModalityLUTSequence", "RescaleSlope", "RescaleIntercept"),
    *("VOILUTSequence", "WindowCenter", "WindowWidth", "VOILUTFunction"),
    *(f"{name}{part}" for name in _PADDING.values() for part in ("Value", "RangeLimit")),
    *(f"{table}{part}" for table in _PALETTE for part in ("Descriptor", "Data")),
    *(f"Segmented{table}Data" for table in _PALETTE),
    *(_PER_FRAME, _SHARED),
)
"""The elements that say how a picture is to be shown."""

_Transformation = Callable[[NDArray[Any]], NDArray[Any]]


def to_rgb8(values: NDArray[Any], photometric: str, dataset: FileDataset, layout: Layout) -> NDArray[np.uint8]:
    """Bring stored values, (H, W) or (H, W, 3), to (H, W, 3) uint8 RGB.

    Raises:
        UnsupportedImage: the palette of a palette colour image is missing.
    """
    if values.ndim == 3:
        colour = _scaled(values, layout.bits_stored)
        if photometric.startswith("YBR_FULL"):
            colour = np.asarray(convert_color_space(colour, "YBR_FULL", "RGB"), np.uint8)
        return np.ascontiguousarray(colour)
    if photometric == "PALETTE COLOR":
        tables = _palette(dataset, layout)
        bits = palette_bits(max(table.bits for table in tables), max(int(table.entries.max()) for table in tables))
        return np.stack([_scaled(table(values), bits) for table in tables], axis=-1)
    return np.asarray(cv2.cvtColor(_grey8(values, photometric, dataset, layout), cv2.COLOR_GRAY2RGB), np.uint8)


def shows_averages(dataset: FileDataset, layout: Layout) -> bool:
    """Whether averages of stored values can be shown without knowing the values themselves.

    Not with a palette or with padding, whose values stand for themselves, nor where grey is stretched between the
    least and the greatest of all values.
    """
    if layout.samples > 1:
        return True
    padded = integer(dataset, f"{_PADDING[layout.keyword]}Value") is not None
    return (
        layout.photometric != "PALETTE COLOR"
        and not padded
        and _voi(dataset, layout, _modality(dataset, layout)) is not None
    )


def _scaled(values: NDArray[Any], bits: int) -> NDArray[np.uint8]:
    """Bring whole numbers of so many bits to 8."""
    if bits == 8:
        return values.astype(np.uint8, copy=False)
    return _whole(values.astype(np.float32) * (255 / (2**bits - 1)))


def _whole(shown: NDArray[Any]) -> NDArray[np.uint8]:
    rounded: NDArray[np.uint8] = np.clip(np.rint(shown), 0, 255).astype(np.uint8)
    return rounded


def _palette(dataset: FileDataset, layout: Layout) -> list[LookupTable]:
    tables = [
        read_table(
            dataset,
            f"{table}Descriptor",
            f"{table}Data",
            segmented=f"Segmented{table}Data",
            negative=layout.signed,
            little_endian=layout.syntax.is_little_endian,
        )
        for table in _PALETTE
    ]
    found = [table for table in tables if table is not None]
    if len(found) < len(_PALETTE):
        raise UnsupportedImage("The DICOM lacks the palette of its colours; export it again as grey or RGB.")
    return found


def _grey8(stored: NDArray[Any], photometric: str, dataset: FileDataset, layout: Layout) -> NDArray[np.uint8]:
    show = partial(_shown, dataset=dataset, layout=layout, inverted=photometric == "MONOCHROME1")
    if stored.dtype.kind == "f":
        return show(stored, np.isfinite(stored))
    low, high = int(stored.min()), int(stored.max())
    if high - low > 0xFFFF:
        return show(stored, np.ones(stored.shape, bool))
    # A table of all values, since a large picture in float64 would take gigabytes.
    index = np.subtract(stored, low, dtype=np.int32, casting="unsafe")
    occurs = np.zeros(high - low + 1, bool)
    occurs[index] = True
    table: NDArray[np.uint8] = show(np.arange(low, high + 1), occurs)[index]
    return table


def _shown(
    stored: NDArray[Any], occurs: NDArray[np.bool_], *, dataset: FileDataset, layout: Layout, inverted: bool
) -> NDArray[np.uint8]:
    """Bring stored values of any shape to displayed ones.

    Args:
        occurs: which of them are in the picture, and are numbers.
    """
    is_picture = occurs & ~_padding(stored, dataset, layout)
    modality = _modality(dataset, layout)
    values = modality(stored)
    voi = _voi(dataset, layout, modality)
    shown = voi(values) if voi else _stretched(values, is_picture)
    shown8 = _whole(np.nan_to_num(255 - shown if inverted else shown))
    shown8[occurs & ~is_picture] = 0
    return shown8


def _stretched(values: NDArray[Any], used: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Spread values over 0 to 255, from the least to the greatest of those used; all 0 when these are all the same."""
    if not used.any():
        return np.zeros(values.shape)
    least, greatest = float(values[used].min()), float(values[used].max())
    if least == greatest:
        return np.zeros(values.shape)
    return np.asarray(np.interp(values, [least, greatest], [0.0, 255.0]), np.float64)


def _padding(stored: NDArray[Any], dataset: FileDataset, layout: Layout) -> NDArray[np.bool_]:
    """Which stored values stand for no part of the picture."""
    name = _PADDING[layout.keyword]
    # Padding of floating point is often the greatest number that there is.
    whole = stored.dtype.kind != "f"
    read = partial(_stored_integer, layout=layout) if whole else partial(number, greatest=math.inf)
    value = read(dataset, f"{name}Value")
    if value is None:
        return np.zeros(stored.shape, bool)
    limit = read(dataset, f"{name}RangeLimit")
    least, greatest = sorted((value, value if limit is None else limit))
    covered: NDArray[np.bool_] = (stored >= least) & (stored <= greatest)
    return covered


def _stored_integer(dataset: Dataset, keyword: str, *, layout: Layout) -> int | None:
    """Read a stored value from an attribute, which may hold it without its sign or with one that it has not."""
    found = integer(dataset, keyword)
    if found is None or layout.lowest <= found <= layout.highest:
        return found
    for bits in (layout.bits_stored, 16):
        wrapped = found - (1 << bits) if layout.signed else found + (1 << bits)
        if layout.lowest <= wrapped <= layout.highest:
            return wrapped
    return found


def _sources(dataset: FileDataset, macro: str) -> Iterator[Dataset]:
    """Where the attributes of a functional group may stand: for the frame, for all frames, in the data set itself."""
    for groups in (_PER_FRAME, _SHARED):
        for group in items(dataset, groups)[:1]:
            yield from items(group, macro)[:1]
    yield dataset


def _tables(source: Dataset, keyword: str, layout: Layout, *, negative: bool) -> Iterator[LookupTable]:
    for item in items(source, keyword):
        table = read_table(
            item, "LUTDescriptor", "LUTData", negative=negative, little_endian=layout.syntax.is_little_endian
        )
        if table:
            yield table


def _modality(dataset: FileDataset, layout: Layout) -> _Transformation:
    """How stored values become what was measured: by a table, or by slope and intercept."""
    for source in _sources(dataset, "PixelValueTransformationSequence"):
        for table in _tables(source, "ModalityLUTSequence", layout, negative=layout.signed):
            return table
        # A slope of 0 would make all values the same.
        slope, intercept = number(source, "RescaleSlope") or None, number(source, "RescaleIntercept")
        if slope is not None or intercept is not None:
            return partial(_rescaled, slope=1.0 if slope is None else slope, intercept=intercept or 0.0)
    return lambda values: values


def _rescaled(values: NDArray[Any], *, slope: float, intercept: float) -> NDArray[np.float64]:
    rescaled: NDArray[np.float64] = values.astype(np.float64) * slope + intercept
    return rescaled


def _voi(dataset: FileDataset, layout: Layout, modality: _Transformation) -> _Transformation | None:
    """How what was measured becomes 0 to 255: by the first table or window that makes sense; None where none does."""
    negative = layout.keyword != "PixelData" or bool(modality(np.array([layout.lowest, layout.highest])).min() < 0)
    for source in _sources(dataset, "FrameVOILUTSequence"):
        for table in _tables(source, "VOILUTSequence", layout, negative=negative):
            return partial(_looked_up, table=table)
        function = text(source, "VOILUTFunction")
        function = function if function in ("LINEAR_EXACT", "SIGMOID") else "LINEAR"
        for center, width in zip(numbers(source, "WindowCenter"), numbers(source, "WindowWidth"), strict=False):
            # PS3.3 C.11.2.1.2.1 and C.11.2.1.3: other widths are not allowed.
            if center is not None and width is not None and (width >= 1 if function == "LINEAR" else width > 0):
                return partial(_windowed, center=center, width=width, function=function)
    return None


def _looked_up(values: NDArray[Any], *, table: LookupTable) -> NDArray[np.float64]:
    shown: NDArray[np.float64] = table(values) * (255 / (2**table.bits - 1))
    return shown


def _windowed(values: NDArray[Any], *, center: float, width: float, function: str) -> NDArray[np.float64]:
    window = Dataset()
    # Makes 0 to 255 the range of the result.
    window.BitsStored, window.PixelRepresentation, window.PhotometricInterpretation = 8, 0, "MONOCHROME2"
    # A decimal string may have 16 characters; what was read may have more.
    with disable_value_validation():
        window.WindowCenter, window.WindowWidth, window.VOILUTFunction = center, width, function
        return np.asarray(apply_windowing(values, window), np.float64)
