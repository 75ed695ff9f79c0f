"""JPEG, PNG, BMP, TIFF and WebP to 8-bit RGB pixels, decoded by OpenCV."""

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from heatdrop.errors import DamagedImage, UnsupportedImage
from heatdrop.images.formats import Format, Header

# A damaged file becomes a typed error; OpenCV's own complaint on the terminal adds nothing to it.
cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)

_REDUCED = {8: cv2.IMREAD_REDUCED_COLOR_8, 4: cv2.IMREAD_REDUCED_COLOR_4, 2: cv2.IMREAD_REDUCED_COLOR_2}

_TURNS = {3: cv2.ROTATE_180, 6: cv2.ROTATE_90_CLOCKWISE, 8: cv2.ROTATE_90_COUNTERCLOCKWISE}
_FLIPS = {2: 1, 4: 0}


def decode_raster(data: bytes, format_: Format, header: Header, at_least: tuple[int, int] | None) -> NDArray[np.uint8]:
    """Decode a complete file whose header was read and judged.

    Args:
        at_least: (height, width) that the result must not fall below when a large JPEG is decoded at 1/2, 1/4 or 1/8
            of its size; None for full size.

    Returns:
        (H, W, 3) uint8 RGB, upright. 16-bit colour is divided by 257; grey of more than 8 bits, whose range is seldom
        used in full (12-bit X-rays), and all floating point is stretched from its least to its greatest value; what
        is transparent lies over black.

    Raises:
        DamagedImage: OpenCV cannot make sense of the data.
        UnsupportedImage: a sound JPEG of more than 8 bits.
    """
    if format_ == "JPEG":
        if header.bits != 8:
            raise UnsupportedImage(f"The JPEG has {header.bits} bits a sample, and only 8 are read; save it as PNG.")
        reduction = _reduction(header, at_least)
        decoded = _imdecode(data, format_, _REDUCED.get(reduction, cv2.IMREAD_COLOR) | cv2.IMREAD_IGNORE_ORIENTATION)
    else:
        reduction = 1
        if header.orientation_at is not None and header.orientation != 1:
            data = _without_orientation(data, header.orientation_at)
        decoded = _imdecode(data, format_, cv2.IMREAD_UNCHANGED)
    expected = (-(-header.height // reduction), -(-header.width // reduction))
    if decoded.shape[:2] != expected:
        raise DamagedImage(f"The {format_} contradicts itself about its size; export it again.")
    return _upright(_to_rgb8(decoded, header), header.orientation)


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


def stretch(values: NDArray[Any]) -> NDArray[np.uint8]:
    """Spread values of any number type over 0 to 255, least to greatest; all 0 when they are all the same."""
    # A damaged float may be a NaN of the kind whose conversion NumPy warns about.
    with np.errstate(invalid="ignore"):
        numbers = values if values.dtype in (np.uint8, np.int8, np.uint16, np.int16) else values.astype(np.float64)
    finite = np.isfinite(numbers) if numbers.dtype == np.float64 else None
    if finite is not None and not finite.all():
        # What is no number is drawn as the least that is one.
        numbers = np.where(finite, numbers, numbers.min(initial=np.inf, where=finite) if finite.any() else 0.0)
    stretched = np.empty(values.shape, np.uint8)
    cv2.normalize(numbers, stretched, 0, 255, cv2.NORM_MINMAX, cv2.CV_8U)
    return stretched


def _reduction(header: Header, at_least: tuple[int, int] | None) -> int:
    """Choose by how much the decoder may divide both sides."""
    if at_least is None:
        return 1
    least_height, least_width = reversed(at_least) if header.orientation > 4 else at_least
    return next((n for n in _REDUCED if header.height // n >= least_height and header.width // n >= least_width), 1)


def _imdecode(data: bytes, format_: str, flags: int) -> NDArray[np.generic]:
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
    return decoded


def _without_orientation(data: bytes, at: int) -> bytes:
    """Return a TIFF whose orientation says upright."""
    patched = bytearray(data)
    patched[at : at + 2] = b"\1\0" if data.startswith(b"II") else b"\0\1"
    return bytes(patched)


def _to_rgb8(decoded: NDArray[np.generic], header: Header) -> NDArray[np.uint8]:
    """Bring what OpenCV decoded ((H, W) or (H, W, 3 or 4) BGR, any number type) to (H, W, 3) uint8 RGB."""
    alpha = None
    if decoded.ndim == 3 and decoded.shape[2] == 4:
        alpha = decoded[..., 3] if header.transparent else None
        decoded = decoded[..., :3]
    if header.grey and decoded.ndim == 3:
        decoded = decoded[..., 0]
    if decoded.dtype == np.uint8:
        pixels = np.ascontiguousarray(decoded, np.uint8)
    else:
        pixels = _high_bits(decoded) if decoded.ndim == 3 and decoded.dtype == np.uint16 else stretch(decoded)
        # OpenCV inverts 8-bit pictures of this kind, and no others.
        pixels = 255 - pixels if header.white_is_zero else pixels
    if alpha is not None:
        opacity = _high_bits(alpha) if alpha.dtype == np.uint16 else np.ascontiguousarray(alpha, np.uint8)
        layers = opacity if pixels.ndim == 2 else cv2.merge([opacity] * 3)
        pixels = np.asarray(cv2.multiply(pixels, layers, scale=1 / 255), np.uint8)
    code = cv2.COLOR_GRAY2RGB if pixels.ndim == 2 else cv2.COLOR_BGR2RGB
    return np.asarray(cv2.cvtColor(pixels, code), np.uint8)


def _high_bits(values: NDArray[np.generic]) -> NDArray[np.uint8]:
    return np.asarray(cv2.convertScaleAbs(np.ascontiguousarray(values), alpha=1 / 257), np.uint8)


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
