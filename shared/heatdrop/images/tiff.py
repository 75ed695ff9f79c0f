"""TIFF's directory of tags: the header of TIFF files, and the form in which EXIF keeps an orientation."""

import struct
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from heatdrop.errors import DamagedImage, TooManyPixels, UnsupportedImage
from heatdrop.images.formats import Header, cut_short

_TYPES = {1: "u1", 3: "u2", 4: "u4", 13: "u4", 16: "u8", 18: "u8"}
"""The whole-number types, as NumPy names them."""

_WIDTH, _HEIGHT, _BITS, _PHOTOMETRIC, _ORIENTATION, _SAMPLES, _EXTRA = 256, 257, 258, 262, 274, 277, 338
_TILE_WIDTH, _TILE_HEIGHT = 322, 323
_DATA_OFFSETS_AND_COUNTS = ((273, 279), (324, 325))
"""Tags of strips and of tiles: where each lies, and how many bytes it has."""
_PLAIN_COLOURS = {0, 1, 2}
"""White is zero, black is zero, RGB: the colours that are decoded in more than 8 bits."""
_OPACITY = 2
"""The kind of extra sample that is an opacity not yet multiplied into the colours."""
_MOST_TILE_PIXELS = 100_000_000
_READ = {_WIDTH, _HEIGHT, _BITS, _PHOTOMETRIC, _ORIENTATION, _SAMPLES, _EXTRA, _TILE_WIDTH, _TILE_HEIGHT}
_READ.update(tag for tags in _DATA_OFFSETS_AND_COUNTS for tag in tags)


@dataclass(frozen=True, slots=True)
class _Directory:
    values: dict[int, NDArray[np.generic]]
    """Tag -> its whole numbers, at least one."""
    places: dict[int, int]
    """Tag -> where in the data its first value lies."""
    following: int
    """Where the next directory lies, 0 when there is none."""

    def first(self, tag: int, default: int) -> int:
        return int(self.values[tag].item(0)) if tag in self.values else default


def read_tiff(data: bytes) -> Header:
    """Read the header of a TIFF file.

    Raises:
        DamagedImage: there is no sound directory.
        TooManyPixels: one tile alone is enormous.
        UnsupportedImage: several pages, or colours that are not read.
        struct.error: the directory is cut short.
    """
    directory = _read_directory(data)
    values = directory.values
    if _WIDTH not in values or _HEIGHT not in values:
        raise DamagedImage("The TIFF does not say how large it is; export it again.")
    if directory.following:
        raise UnsupportedImage("The TIFF has several pages, and which one is meant is not clear; upload one page.")
    if directory.first(_TILE_WIDTH, 0) * directory.first(_TILE_HEIGHT, 0) > _MOST_TILE_PIXELS:
        raise TooManyPixels("The TIFF is made of enormous tiles; save it in strips or smaller tiles.")
    bits, samples = directory.first(_BITS, 1), directory.first(_SAMPLES, 1)
    photometric = directory.first(_PHOTOMETRIC, 1)
    if samples not in (1, 3, 4) or (bits > 8 and photometric not in _PLAIN_COLOURS):
        message = f"TIFF files with {samples} channels of {bits} bits in these colours are not read; save it as PNG."
        raise UnsupportedImage(message)
    return Header(
        directory.first(_WIDTH, 0),
        directory.first(_HEIGHT, 0),
        bits=bits,
        orientation=_valid_orientation(directory),
        orientation_at=directory.places.get(_ORIENTATION),
        white_is_zero=photometric == 0,
        # The decoder multiplies 8-bit colours by their opacity itself, and hands out 16-bit ones as they are.
        transparent=bits > 8 and directory.first(_EXTRA, 0) == _OPACITY,
        damage="" if _holds_its_pixels(directory, len(data)) else cut_short("TIFF"),
    )


def exif_orientation(exif: bytes) -> int:
    """Read the orientation (1 to 8) from an EXIF block; 1 when it has none, or makes no sense."""
    try:
        return _valid_orientation(_read_directory(exif))
    except (struct.error, DamagedImage):
        return 1


def _valid_orientation(directory: _Directory) -> int:
    orientation = directory.first(_ORIENTATION, 1)
    return orientation if 1 <= orientation <= 8 else 1


def _holds_its_pixels(directory: _Directory, length: int) -> bool:
    """Tell whether every strip or tile lies inside the file."""
    for offsets_tag, counts_tag in _DATA_OFFSETS_AND_COUNTS:
        if offsets_tag in directory.values:
            # In floating point hostile numbers cannot wrap around. Where the counts are missing, one byte is asked for.
            offsets = directory.values[offsets_tag].astype(np.float64)
            counts = directory.values.get(counts_tag, np.ones(1)).astype(np.float64)
            return bool((offsets + (counts if counts.size == offsets.size else 1.0)).max() <= length)
    return False


def _read_directory(data: bytes) -> _Directory:
    """Read the tags that are of use from the first directory; of a repeated tag the first one."""
    order = "<" if data.startswith(b"II") else ">"
    (version,) = struct.unpack_from(f"{order}H", data, 2)
    # BigTIFF has 8 bytes wherever TIFF has 4.
    big = version == 43
    pointer, width = ("Q", 8) if big else ("I", 4)
    (start,) = struct.unpack_from(order + pointer, data, 8 if big else 4)
    if start > len(data):
        raise DamagedImage(cut_short("TIFF"))
    (entries,) = struct.unpack_from(order + ("Q" if big else "H"), data, start)
    at = start + (8 if big else 2)
    values: dict[int, NDArray[np.generic]] = {}
    places: dict[int, int] = {}
    for _ in range(entries):
        tag, type_, count = struct.unpack_from(f"{order}HH{pointer}", data, at)
        if tag in _READ and tag not in values and type_ in _TYPES and count:
            kind = np.dtype(order + _TYPES[type_])
            place = at + 4 + width
            if count * kind.itemsize > width:
                (place,) = struct.unpack_from(order + pointer, data, place)
            if place + count * kind.itemsize > len(data):
                raise DamagedImage(cut_short("TIFF"))
            values[tag] = np.frombuffer(data, kind, count, place)
            places[tag] = place
        at += 4 + 2 * width
    following = struct.unpack_from(order + pointer, data, at)
    return _Directory(values, places, following[0])
