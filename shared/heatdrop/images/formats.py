"""Which format a file has, told by its content alone: a name or suffix may say anything."""

import struct
from dataclasses import dataclass
from typing import Literal

from heatdrop.errors import UnknownFormat

Format = Literal["JPEG", "PNG", "BMP", "TIFF", "WebP", "DICOM"]

_BMP_HEADER_SIZES = {12, 16, 40, 52, 56, 64, 108, 124}
_DICOM_VRS = frozenset(
    b"AE AS AT CS DA DS DT FL FD IS LO LT OB OD OF OL OV OW PN SH SL SQ SS ST SV TM UC UI UL UN UR US UT UV".split()
)


@dataclass(frozen=True, slots=True)
class Header:
    """What a raster file says of itself before anything is decoded.

    ``width`` and ``height`` are as stored, before ``orientation`` (the EXIF value, 1 to 8) is applied.
    """

    width: int
    height: int
    bits: int = 8
    """Bits per sample."""
    orientation: int = 1
    grey: bool = False
    """Grey, perhaps with transparency, although the decoder may hand out colour."""
    coding: str = ""
    """The name of a way of coding JPEGs that is not read; empty for the others."""
    clear_grey: int | None = None
    """The one value of a grey PNG, in its own bits, that is transparent."""
    page_at: int = 0
    """Where the directory of the TIFF page that is meant begins."""
    damage: str = ""
    """What is missing from the file, as a sentence; empty when it is all there."""
    unended_at: int | None = None
    """Where the data of a JPEG end that has all its scans and no end marker. ``damage`` then still has to be judged
    by what they hold."""


def cut_short(format_: str) -> str:
    """Say that the end of a file is missing."""
    return f"The {format_} file ends too early: the upload was probably cut short; upload it again."


def too_many_pixels(format_: str, width: int, height: int, limit: int) -> str:
    """Say that a picture is larger than the limit, in pixels."""
    size = f"{width} x {height} pixels, more than the limit of {limit / 1e6:g} megapixels"
    return f"The {format_} has {size}; upload a smaller one."


def sniff(data: bytes) -> Format:
    """Name the format of a file.

    Raises:
        UnknownFormat: it is none of the six.
    """
    # A DICOM file may begin with the header of another format, usually TIFF, so its own mark counts first.
    if data[128:132] == b"DICM":
        return "DICOM"
    if data.startswith(b"\xff\xd8\xff"):
        return "JPEG"
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return "PNG"
    if data.startswith((b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")):
        return "TIFF"
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return "WebP"
    if data.startswith(b"BM") and int.from_bytes(data[14:18], "little") in _BMP_HEADER_SIZES:
        return "BMP"
    if _is_bare_dicom(data):
        return "DICOM"
    message = "This is not a JPEG, PNG, BMP, TIFF, WebP or DICOM image, whatever its name says; upload one of these."
    raise UnknownFormat(message)


def _is_bare_dicom(data: bytes) -> bool:
    """Tell whether the file is a DICOM data set without preamble: its first elements are of group 0002 or 0008."""
    if len(data) < 16:
        return False
    for order in "<>":
        group, element = struct.unpack_from(f"{order}HH", data)
        if group not in (0x0002, 0x0008):
            continue
        if data[4:6] in _DICOM_VRS:
            return True
        # Implicit VR: a short even length, and behind the value an element of the same group with a higher number.
        (length,) = struct.unpack_from(f"{order}I", data, 4)
        if length % 2 == 0 and 8 + length + 4 <= len(data):
            following = struct.unpack_from(f"{order}HH", data, 8 + length)
            if following[0] == group and following[1] > element:
                return True
    return False
