"""BMP: what its headers say, and its pixels.

The headers are Microsoft's BITMAPCOREHEADER (12 bytes), BITMAPINFOHEADER (40) and its undocumented extensions (52, 56),
BITMAPV4HEADER (108), BITMAPV5HEADER (124), and those of OS/2 2.x (16 and 64).
"""

import struct
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from heatdrop.errors import DamagedImage, UnsupportedImage
from heatdrop.images.formats import Header, cut_short
from heatdrop.images.tones import over_black, scale

_OS2_HEADERS = {16, 64}
_RAW, _RLE8, _RLE4, _MASKS, _JPEG, _PNG, _MASKS_AND_OPACITY = range(7)
_BITS = {_RAW: {1, 2, 4, 8, 16, 24, 32}, _RLE8: {8}, _RLE4: {4}, _MASKS: {16, 32}, _MASKS_AND_OPACITY: {16, 32}}
"""Compression -> bits a pixel that are read."""
_MASKS_AT = 54
"""Where masks stand, inside a header of 52 bytes or more, behind one of 40."""
_DEFAULT_MASKS = {16: (0x7C00, 0x03E0, 0x001F, 0), 32: (0xFF0000, 0x00FF00, 0x0000FF, 0)}
_ENTRY = 4


@dataclass(frozen=True, slots=True)
class _Bmp:
    """What the headers say."""

    header_size: int
    width: int
    height: int
    top_down: bool
    bits: int
    compression: int
    colours: int
    """Entries of the palette, 0 for as many as the bits can number."""
    start: int
    """Where the pixels begin."""

    @property
    def row_bytes(self) -> int:
        """A row fills whole 32-bit words."""
        return (self.width * self.bits + 31) // 32 * 4

    @property
    def behind_header(self) -> int:
        """Where the palette begins, behind masks that do not fit into the header."""
        masks = {_MASKS: 12, _MASKS_AND_OPACITY: 16}.get(self.compression, 0) if self.header_size == 40 else 0
        return 14 + self.header_size + masks


def read_bmp(data: bytes) -> Header:
    """Read the header of a BMP file.

    Raises:
        UnsupportedImage: the pixels are stored in a way that is not read.
        struct.error: the header is cut short.
    """
    bmp = _read(data)
    # In the headers of OS/2 the numbers 3 and 4 stand for a fax code and for run lengths of 24 bits.
    os2 = bmp.header_size in _OS2_HEADERS and bmp.compression > _RLE4
    if bmp.compression in (_JPEG, _PNG) and not os2:
        raise UnsupportedImage("The BMP wraps another format; upload that picture itself.")
    if os2 or bmp.bits not in _BITS.get(bmp.compression, ()):
        kind = f"{bmp.bits} bits a pixel and compression {bmp.compression}{' of OS/2' * os2}"
        raise UnsupportedImage(f"BMP files of {kind} are not read; save it as PNG.")
    size = bmp.row_bytes * bmp.height
    if bmp.compression in (_RLE8, _RLE4):
        (size,) = struct.unpack_from("<I", data, 34) if bmp.header_size > 16 else (0,)
        if bmp.top_down:
            raise UnsupportedImage("The BMP is compressed and stored from the top, which is not read; save it as PNG.")
    return Header(bmp.width, bmp.height, damage=cut_short("BMP") if bmp.start + size > len(data) else "")


def decode_bmp(data: bytes) -> NDArray[np.uint8]:
    """Decode a complete BMP whose header was read and judged.

    Returns:
        (H, W, 3) uint8 RGB. What is transparent lies over black; an opacity that is 0 everywhere is an unused byte.

    Raises:
        DamagedImage: the masks or the compressed data make no sense.
        UnsupportedImage: the masks are scattered.
    """
    bmp = _read(data)
    if bmp.compression in (_RLE8, _RLE4):
        return _decode_run_lengths(data, bmp)
    stored = np.frombuffer(data, np.uint8, bmp.row_bytes * bmp.height, bmp.start).reshape(bmp.height, bmp.row_bytes)
    rows = stored if bmp.top_down else stored[::-1]
    if bmp.bits == 24:
        bgr = rows[:, : bmp.width * 3].reshape(bmp.height, bmp.width, 3)
        return np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), np.uint8)
    if bmp.bits <= 8:
        return _palette(data, bmp)[_indices(rows, bmp)]
    words = np.ascontiguousarray(rows).view(f"<u{bmp.bits // 8}")[:, : bmp.width]
    return _unmask(words, _masks(data, bmp))


def _read(data: bytes) -> _Bmp:
    start, header_size = struct.unpack_from("<II", data, 10)
    compression = colours = 0
    if header_size == 12:
        width, height, _, bits = struct.unpack_from("<HHHH", data, 18)
    else:
        width, height, _, bits = struct.unpack_from("<iiHH", data, 18)
    if header_size > 16:
        (compression,) = struct.unpack_from("<I", data, 30)
        (colours,) = struct.unpack_from("<I", data, 46)
        if bits <= 8 and start <= 14 + header_size:
            # The pixels cannot begin where the palette does: the palette is there, and the number is wrong.
            start = 14 + header_size + _ENTRY * (min(colours, 2**bits) or 2**bits)
    # A negative height means that the rows are stored from the top.
    return _Bmp(header_size, width, abs(height), height < 0, bits, compression, colours, start)


def _indices(rows: NDArray[np.uint8], bmp: _Bmp) -> NDArray[np.uint8]:
    """Take the numbers of palette entries out of the bytes of each row, the first in the highest bits."""
    if bmp.bits == 8:
        return rows[:, : bmp.width]
    shifts = np.arange(8 - bmp.bits, -1, -bmp.bits, dtype=np.uint8)
    numbers = rows[..., None] >> shifts & np.uint8(2**bmp.bits - 1)
    return numbers.reshape(bmp.height, -1)[:, : bmp.width]


def _palette(data: bytes, bmp: _Bmp) -> NDArray[np.uint8]:
    """Read the palette as (2 ** bits, 3) RGB; entries that the file does not have are black."""
    palette = np.zeros((2**bmp.bits, 3), np.uint8)
    entry = 3 if bmp.header_size == 12 else _ENTRY
    # Some writers give fewer entries than they say, and let the pixels begin where the palette ends.
    room = max(0, min(bmp.start, len(data)) - bmp.behind_header) // entry
    count = min(bmp.colours or len(palette), len(palette), room)
    stored = np.frombuffer(data, np.uint8, count * entry, bmp.behind_header).reshape(count, entry)
    palette[:count] = stored[:, 2::-1]
    return palette


def _masks(data: bytes, bmp: _Bmp) -> tuple[int, int, int, int]:
    """Say which bits of a pixel hold red, green, blue and opacity (0 for none)."""
    if bmp.compression == _RAW:
        return _DEFAULT_MASKS[bmp.bits]
    red, green, blue = struct.unpack_from("<III", data, _MASKS_AT)
    with_opacity = bmp.header_size >= 56 or bmp.compression == _MASKS_AND_OPACITY
    (opacity,) = struct.unpack_from("<I", data, _MASKS_AT + 12) if with_opacity else (0,)
    return red, green, blue, opacity


def _unmask(words: NDArray[np.unsignedinteger], masks: tuple[int, int, int, int]) -> NDArray[np.uint8]:
    if not any(masks[:3]):
        raise DamagedImage("The BMP does not say where its colours are; export it again.")
    *colours, opacity = (_channel(words, mask) for mask in masks)
    pixels = np.dstack(colours)
    return over_black(pixels, opacity) if opacity.any() else pixels


def _channel(words: NDArray[np.unsignedinteger], mask: int) -> NDArray[np.uint8]:
    """Take one channel out of (H, W) pixels and scale it from its own bits to 8; all 0 where the mask is 0.

    Raises:
        UnsupportedImage: the bits of the mask do not stand side by side.
    """
    lowest = (mask & -mask).bit_length() - 1
    most = mask >> max(lowest, 0)
    if most & (most + 1):
        raise UnsupportedImage("The bits of a colour are scattered over the pixels of the BMP; save it as PNG.")
    if not mask:
        return np.zeros(words.shape, np.uint8)
    # Of a channel of more than 16 bits the others are below what 8 bits can show.
    surplus = max(0, most.bit_length() - 16)
    return scale((words & words.dtype.type(mask & int(np.iinfo(words.dtype).max))) >> lowest + surplus, most >> surplus)


def _decode_run_lengths(data: bytes, bmp: _Bmp) -> NDArray[np.uint8]:
    """Let OpenCV undo the run-length code, of numbers that are shown as greys, and look the colours up afterwards."""
    greys = np.arange(2**bmp.bits, dtype=np.uint8).repeat(_ENTRY).tobytes()
    start = 14 + 40 + len(greys)
    header = struct.pack("<IiiHHIIiiII", 40, bmp.width, bmp.height, 1, bmp.bits, bmp.compression, 0, 0, 0, 0, 0)
    body = data[bmp.start :]
    file = b"BM" + struct.pack("<IHHI", start + len(body), 0, 0, start) + header + greys + body
    indices = cv2.imdecode(np.frombuffer(file, np.uint8), cv2.IMREAD_GRAYSCALE)
    if indices is None or indices.shape != (bmp.height, bmp.width):
        raise DamagedImage("The compressed pixels of the BMP make no sense; upload it again.")
    return _palette(data, bmp)[indices.astype(np.uint8)]
