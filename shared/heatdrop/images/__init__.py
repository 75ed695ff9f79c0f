"""Bytes of a dropped file to checked, decoded, resized pixels."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from heatdrop.errors import DamagedImage, EmptyFile, FileTooLarge, TooManyPixels
from heatdrop.images.formats import Format, sniff, too_many_pixels
from heatdrop.images.headers import read_header
from heatdrop.images.raster import decode_raster, resize
from heatdrop.quiet import native_output_hidden

__all__ = ["DecodedImage", "Format", "Limits", "decode", "resize"]


@dataclass(frozen=True, slots=True)
class Limits:
    """The largest file and picture that are decoded."""

    max_bytes: int = 50_000_000
    max_pixels: int = 100_000_000


@dataclass(frozen=True, slots=True)
class DecodedImage:
    """An upright picture.

    ``pixels`` is (H, W, 3) uint8 RGB. ``width`` and ``height`` are those of the whole picture, upright; ``pixels`` may
    be smaller where ``at_least`` allowed it.
    """

    pixels: NDArray[np.uint8]
    format: Format
    width: int
    height: int


_DEFAULT_LIMITS = Limits()


def decode(data: bytes, *, at_least: tuple[int, int] | None = None, limits: Limits = _DEFAULT_LIMITS) -> DecodedImage:
    """Decode a file of any of the six formats, told by its content.

    Cheap checks come first: bytes, format, the size that the header announces, completeness; only then is it decoded.

    Args:
        at_least: (height, width) that the pixels must not fall below; a JPEG or a DICOM in JPEG 2000 that is larger by
            far is then decoded at 1/2, 1/4 or 1/8 of its size, several times faster. None: full size.
        limits: what is refused.

    Raises:
        EmptyFile, FileTooLarge, UnknownFormat, TooManyPixels, DamagedImage, UnsupportedImage: with a message that says
            what is wrong and what to do. Nothing else leaves this function, whatever the bytes.
    """
    if not data:
        raise EmptyFile("The file is empty (0 bytes); upload it again.")
    if len(data) > limits.max_bytes:
        size = f"{len(data) / 1e6:.1f} MB, more than the limit of {limits.max_bytes / 1e6:g} MB"
        raise FileTooLarge(f"The file has {size}; upload a smaller one.")
    format_ = sniff(data)
    if format_ == "DICOM":
        # pydicom takes longer to import than most images take to decode.
        from heatdrop.images.dicom import decode_dicom

        with native_output_hidden():
            pixels, (height, width) = decode_dicom(
                data, at_least=at_least, max_bytes=limits.max_bytes, max_pixels=limits.max_pixels
            )
        return DecodedImage(pixels, format_, width, height)
    header = read_header(data, format_)
    if header.width * header.height > limits.max_pixels:
        raise TooManyPixels(too_many_pixels(format_, header.width, header.height, limits.max_pixels))
    if header.width < 1 or header.height < 1:
        raise DamagedImage(f"The {format_} says that its picture has no pixels; export it again.")
    with native_output_hidden():
        pixels = decode_raster(data, format_, header, at_least)
    width, height = (header.height, header.width) if header.orientation > 4 else (header.width, header.height)
    return DecodedImage(pixels, format_, width, height)
