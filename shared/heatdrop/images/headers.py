"""What the header of a JPEG, PNG, BMP, TIFF or WebP file says, and whether the file is all there; nothing is decoded.

Every reader walks the file's own structure, so that a bomb is known by its size and a truncated file by what is
missing, before a decoder (which would fill the gap with grey) sees a byte of it.
"""

import re
import struct
import zlib
from collections.abc import Callable

from heatdrop.errors import DamagedImage, UnsupportedImage
from heatdrop.images import bmp, tiff
from heatdrop.images.formats import Format, Header, cut_short

_JPEG_MARKER = re.compile(rb"\xff+([\xc0-\xcf\xd8-\xfe])")
"""A marker that begins a segment or ends entropy-coded data: not a stuffed zero, a restart or a fill byte."""
_JPEG_FRAMES = {*range(0xC0, 0xD0), 0xF7} - {0xC4, 0xC8, 0xCC}
"""The SOF markers, JPEG-LS (found inside DICOM) among them."""
_JPEG_CODINGS = {0xF7: "JPEG-LS", **dict.fromkeys((0xC3, 0xCB), "lossless")}
_JPEG_CODINGS |= dict.fromkeys((0xC5, 0xC6, 0xC7, 0xCD, 0xCE, 0xCF), "hierarchical")
"""SOF markers of what is not read -> how it is coded (ITU T.81, table B.1)."""
_JPEG_SOI, _JPEG_EOI, _JPEG_SOS, _JPEG_APP1 = 0xD8, 0xD9, 0xDA, 0xE1
_JPEG_MOST_SCANS = 32
"""Encoders write about 10. A file of a few megabytes can hold thousands, each as slow as a whole picture."""


def read_header(data: bytes, format_: Format) -> Header:
    """Read what a raster file says of itself.

    Raises:
        DamagedImage: the header itself is cut short or makes no sense. (Data missing behind a sound header is told by
            ``Header.damage``, so that the size can be judged first.)
        UnsupportedImage: the file holds several pictures, or a kind of picture that is not read.
    """
    try:
        return _READERS[format_](data)
    except struct.error as error:
        raise DamagedImage(cut_short(format_)) from error


def _read_jpeg(data: bytes) -> Header:
    size: tuple[int, int] | None = None
    bits, coding, orientation, scans, at = 8, "", 1, 0, 2
    drawn = _DrawnBits()
    damage = "The JPEG ends before its last scan line: the upload was probably cut short; upload it again."
    end = len(data)
    while marker := _JPEG_MARKER.search(data, at):
        code, at = marker[1][0], marker.end()
        if code == _JPEG_EOI:
            damage = "" if scans else "The JPEG holds no picture data; export it again."
            break
        length = int.from_bytes(data[at : at + 2], "big")
        if code == _JPEG_SOI or length < 2 or at + length > len(data):
            # Another picture, or nothing that is a segment: this one ends here without an end marker.
            end = marker.start()
            break
        if code in _JPEG_FRAMES and size is None:
            bits, height, width = struct.unpack_from(">BHH", data, at + 2)
            size = (width, height)
            coding = _JPEG_CODINGS.get(code, "")
            drawn.expect(data[at : at + length])
        elif code == _JPEG_APP1 and data.startswith(b"Exif\0\0", at + 2) and orientation == 1:
            orientation = tiff.exif_orientation(data[at + 8 : at + length])
        elif code == _JPEG_SOS:
            scans += 1
            if scans > _JPEG_MOST_SCANS:
                message = f"The JPEG draws itself in more than {_JPEG_MOST_SCANS} scans; save it as an ordinary JPEG."
                raise UnsupportedImage(message)
            drawn.note(data[at : at + length])
        at += length
    if size is None:
        raise DamagedImage(cut_short("JPEG"))
    unended_at = end if damage and drawn.complete else None
    return Header(*size, bits, orientation, coding=coding, damage=damage, unended_at=unended_at)


class _DrawnBits:
    """Which bits of which coefficients the scans of a JPEG draw (ITU T.81, B.2.3 and G.1): are there scans missing?"""

    def __init__(self) -> None:
        # Component -> for each of the 64 coefficients the lowest bit that was drawn.
        self._lowest: dict[int, list[int]] = {}

    def expect(self, frame: bytes) -> None:
        """Take the components of a frame header, which begins with its length."""
        self._lowest = {component: [16] * 64 for component in frame[8::3]}

    def note(self, scan: bytes) -> None:
        """Take what a scan header, which begins with its length, says that the scan draws."""
        count = scan[2] if len(scan) > 2 else 0
        if len(scan) < 6 + 2 * count:
            return
        first, last, bits = scan[3 + 2 * count : 6 + 2 * count]
        for component in scan[3 : 3 + 2 * count : 2]:
            lowest = self._lowest.get(component, [])
            lowest[first : last + 1] = [bits & 15] * len(lowest[first : last + 1])

    @property
    def complete(self) -> bool:
        """Whether every bit of every coefficient is drawn by some scan."""
        return bool(self._lowest) and not any(map(any, self._lowest.values()))


def _read_png(data: bytes) -> Header:
    width, height, bits, colour = struct.unpack_from(">IIBB", data, 16)
    if data[12:16] != b"IHDR":
        raise DamagedImage("The PNG does not begin with its header; export it again.")
    orientation, damage, at = 1, cut_short("PNG"), 8
    clear_grey: int | None = None
    view = memoryview(data)
    while at + 12 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, at)
        end = at + 12 + length
        if end > len(data):
            break
        if kind == b"acTL" and length >= 4 and struct.unpack_from(">I", data, at + 8)[0] > 1:
            raise UnsupportedImage("The PNG is an animation; upload a single still image.")
        if kind == b"eXIf":
            orientation = tiff.exif_orientation(data[at + 8 : end - 4])
        if kind == b"tRNS" and colour == 0 and length >= 2:
            # Only the bits that a sample has count.
            clear_grey = struct.unpack_from(">H", data, at + 8)[0] & (2**bits - 1)
        critical = kind[:1].isupper()
        if critical and zlib.crc32(view[at + 4 : end - 4]) != struct.unpack_from(">I", data, end - 4)[0]:
            damage = "The PNG was changed on its way (a checksum is wrong); upload it again."
            break
        if kind == b"IEND":
            damage = ""
            break
        at = end
    grey = colour in (0, 4)
    return Header(width, height, bits, orientation, grey=grey, clear_grey=clear_grey, damage=damage)


def _read_webp(data: bytes) -> Header:
    (riff_size,) = struct.unpack_from("<I", data, 4)
    stop = min(riff_size + 8, len(data))
    damage = cut_short("WebP") if riff_size + 8 > len(data) else ""
    size: tuple[int, int] | None = None
    orientation, has_picture, at = 1, False, 12
    while at + 8 <= stop:
        kind, length = struct.unpack_from("<4sI", data, at)
        body = at + 8
        if kind == b"VP8X":
            flags, low_width, high_width, low_height, high_height = struct.unpack_from("<B3xHBHB", data, body)
            size = (low_width + (high_width << 16) + 1, low_height + (high_height << 16) + 1)
            if flags & 2:
                raise UnsupportedImage("The WebP is an animation; upload a single still image.")
        elif kind == b"VP8 ":
            has_picture = True
            width, height = struct.unpack_from("<HH", data, body + 6)
            size = size or (width & 0x3FFF, height & 0x3FFF)
        elif kind == b"VP8L":
            has_picture = True
            (packed,) = struct.unpack_from("<I", data, body + 1)
            size = size or ((packed & 0x3FFF) + 1, (packed >> 14 & 0x3FFF) + 1)
        elif kind == b"EXIF":
            orientation = tiff.exif_orientation(data[body : body + length])
        at = body + length + length % 2
    if size is None:
        raise DamagedImage(cut_short("WebP"))
    if not has_picture:
        damage = cut_short("WebP")
    return Header(*size, orientation=orientation, damage=damage)


_READERS: dict[str, Callable[[bytes], Header]] = {
    "JPEG": _read_jpeg,
    "PNG": _read_png,
    "BMP": bmp.read_bmp,
    "TIFF": tiff.read_tiff,
    "WebP": _read_webp,
}
