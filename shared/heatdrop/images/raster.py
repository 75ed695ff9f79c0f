"""JPEG, PNG, BMP, TIFF and WebP to 8-bit RGB pixels."""

import cv2
import numpy as np
from numpy.typing import NDArray

from heatdrop.errors import DamagedImage, UnsupportedImage
from heatdrop.images import bmp
from heatdrop.images.formats import Format, Header
from heatdrop.images.tones import grey_to_rgb, over_black
from heatdrop.images.tones import stretch as stretch
from heatdrop.quiet import native_output_hidden

# A damaged file becomes a typed error; OpenCV's own complaint on the terminal adds nothing to it.
cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)

_REDUCED = {8: cv2.IMREAD_REDUCED_COLOR_8, 4: cv2.IMREAD_REDUCED_COLOR_4, 2: cv2.IMREAD_REDUCED_COLOR_2}

_TURNS = {3: cv2.ROTATE_180, 6: cv2.ROTATE_90_CLOCKWISE, 8: cv2.ROTATE_90_COUNTERCLOCKWISE}
_FLIPS = {2: 1, 4: 0}
_JPEG_END = b"\xff\xd9"


def decode_raster(data: bytes, format_: Format, header: Header, at_least: tuple[int, int] | None) -> NDArray[np.uint8]:
    """Decode a file whose header was read and judged.

    Args:
        at_least: (height, width) that the result must not fall below when a large JPEG is decoded at 1/2, 1/4 or 1/8
            of its size; None for full size.

    Returns:
        (H, W, 3) uint8 RGB, upright. 16-bit colour is divided by 257; grey of more than 8 bits, whose range is seldom
        used in full (12-bit X-rays), and all floating point is stretched from its least to its greatest value; what
        is transparent lies over black.

    Raises:
        DamagedImage: the file is not all there, or makes no sense.
        UnsupportedImage: a sound file of a kind that is not read.
    """
    if header.damage and header.unended_at is None:
        raise DamagedImage(header.damage)
    reduction = 1
    if format_ == "JPEG":
        reduction = _reduction(header, at_least)
        pixels = _decode_jpeg(data, header, reduction)
    elif format_ == "BMP":
        pixels = bmp.decode_bmp(data)
    elif format_ == "TIFF":
        # tifffile takes longer to import than most images take to decode.
        from heatdrop.images.tiff_pixels import decode_tiff

        pixels = decode_tiff(data, header)
    else:
        pixels = _to_rgb8(_imdecode(data, format_, cv2.IMREAD_UNCHANGED), header)
    expected = (-(-header.height // reduction), -(-header.width // reduction))
    if pixels.shape[:2] != expected:
        raise DamagedImage(f"The {format_} contradicts itself about its size; export it again.")
    return _upright(pixels, header.orientation)


def resize(pixels: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """Resize (H, W, 3) pixels to ``size`` (height, width).

    A side that shrinks is averaged (INTER_AREA), a side that grows is interpolated (INTER_LINEAR).
    """
    height, width = size
    # Two steps, since OpenCV averages only when both sides shrink, and would alias the one that does.
    smaller = (min(height, pixels.shape[0]), min(width, pixels.shape[1]))
    for (rows, columns), method in ((smaller, cv2.INTER_AREA), (size, cv2.INTER_LINEAR)):
        if pixels.shape[:2] != (rows, columns):
            pixels = np.asarray(cv2.resize(pixels, (columns, rows), interpolation=method), np.uint8)
    return pixels


def _reduction(header: Header, at_least: tuple[int, int] | None) -> int:
    """Choose by how much the decoder may divide both sides."""
    if at_least is None:
        return 1
    least_height, least_width = reversed(at_least) if header.orientation > 4 else at_least
    return next((n for n in _REDUCED if header.height // n >= least_height and header.width // n >= least_width), 1)


def _imdecode(data: bytes, format_: str, flags: int) -> NDArray[np.unsignedinteger]:
    reason: cv2.error | None = None
    try:
        decoded = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error as error:
        decoded, reason = None, error
    if decoded is None:
        message = (
            f"The {format_} cannot be decoded: it is damaged or of a rare kind; upload it again or save it as PNG."
        )
        raise DamagedImage(message) from reason
    return np.asarray(decoded)


def _decode_jpeg(data: bytes, header: Header, reduction: int) -> NDArray[np.uint8]:
    if header.bits != 8:
        raise UnsupportedImage(f"The JPEG has {header.bits} bits a sample, and only 8 are read; save it as PNG.")
    if header.coding:
        raise UnsupportedImage(f"JPEG files with {header.coding} coding are not read; save it as PNG.")
    if header.unended_at is not None and _lacks_only_its_end(data, header.unended_at):
        lost = "its last bytes were lost or replaced; upload it again"
        message = f"The JPEG has all its scan lines but no end marker: {lost}."
        raise DamagedImage(message)
    if header.damage:
        raise DamagedImage(header.damage)
    flags = _REDUCED.get(reduction, cv2.IMREAD_COLOR) | cv2.IMREAD_IGNORE_ORIENTATION
    return np.asarray(cv2.cvtColor(_imdecode(data, "JPEG", flags), cv2.COLOR_BGR2RGB), np.uint8)


def _lacks_only_its_end(data: bytes, at: int) -> bool:
    """Tell whether a JPEG whose data end at ``at`` lacks nothing but its end marker.

    What follows the data tells: behind the last scan line it is passed over, and anywhere else it becomes part of the
    picture.
    """
    data = data[:at].rstrip(b"\xff")
    flags = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
    with native_output_hidden():
        ended, *others = (
            _imdecode(data + more + _JPEG_END, "JPEG", flags) for more in (b"", b"\0" * 256, b"\xaa" * 256)
        )
    return all(np.array_equal(ended, other) for other in others)


def _to_rgb8(decoded: NDArray[np.unsignedinteger], header: Header) -> NDArray[np.uint8]:
    """Bring what OpenCV decoded ((H, W) or (H, W, 3 or 4) BGR, 8 or 16 bits) to (H, W, 3) uint8 RGB."""
    opacity = None
    if decoded.ndim == 3 and decoded.shape[2] == 4:
        decoded, opacity = decoded[..., :3], _high_bits(decoded[..., 3])
    if header.grey and decoded.ndim == 3:
        decoded = decoded[..., 0]
    if header.clear_grey is not None and opacity is None:
        # OpenCV overlooks it, and has already spread fewer bits than 8 over 8.
        clear = header.clear_grey if header.bits >= 8 else header.clear_grey * 255 // (2**header.bits - 1)
        opacity = np.where(decoded == clear, 0, 255).astype(np.uint8)
    pixels = _high_bits(decoded) if decoded.ndim == 3 or decoded.dtype == np.uint8 else stretch(decoded)
    if opacity is not None:
        pixels = over_black(pixels, opacity)
    return grey_to_rgb(pixels) if pixels.ndim == 2 else np.asarray(cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB), np.uint8)


def _high_bits(values: NDArray[np.unsignedinteger]) -> NDArray[np.uint8]:
    """Divide 16-bit values by 257; 8-bit ones are returned as they are."""
    values = np.ascontiguousarray(values)
    return np.asarray(cv2.convertScaleAbs(values, alpha=1 / 257) if values.dtype == np.uint16 else values, np.uint8)


def _upright(pixels: NDArray[np.uint8], orientation: int) -> NDArray[np.uint8]:
    """Turn (H, W, 3) pixels as their EXIF orientation says."""
    if orientation in _TURNS:
        pixels = np.asarray(cv2.rotate(pixels, _TURNS[orientation]), np.uint8)
    elif orientation in _FLIPS:
        pixels = np.asarray(cv2.flip(pixels, _FLIPS[orientation]), np.uint8)
    elif orientation in (5, 7):
        pixels = np.asarray(cv2.transpose(pixels), np.uint8)
        pixels = np.asarray(cv2.rotate(pixels, cv2.ROTATE_180), np.uint8) if orientation == 7 else pixels
    return pixels
