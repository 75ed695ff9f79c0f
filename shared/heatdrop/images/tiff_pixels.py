"""The pixels of a TIFF whose header was read and judged.

tifffile and imagecodecs take the samples out of the file; what they mean is read here. (OpenCV scrambles deep samples
in separate planes, and shows compressions that it does not know as if there were none.)
"""

import io
import logging
import math
from typing import Any

import cv2
import imagecodecs
import numpy as np
import tifffile
from numpy.typing import NDArray

from heatdrop.errors import DamagedImage, UnsupportedImage
from heatdrop.images import tiff
from heatdrop.images.formats import Header, cut_short
from heatdrop.images.tones import over_black, scale, stretch

# What is wrong with a file becomes a typed error; its complaints would only go to the terminal.
logging.getLogger("tifffile").addHandler(logging.NullHandler())
logging.getLogger("tifffile").propagate = False

_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB, _PALETTE, _INKS, _YCBCR = 0, 1, 2, 3, 5, 6
_CHANNELS = {_WHITE_IS_ZERO: 1, _BLACK_IS_ZERO: 1, _RGB: 3, _PALETTE: 1, _INKS: 4, _YCBCR: 3}
"""Photometric interpretation -> channels of colour; others are not read."""
_NAMES = {4: "a mask", 8: "CIE L*a*b*", 9: "ICC L*a*b*", 10: "ITU L*a*b*", 32803: "a colour filter array", 34892: "raw"}
_NAMES |= {32844: "CIE Log2 L", 32845: "CIE Log2 Luv"}

_UNCOMPRESSED, _FAXES, _LZW, _OLD_JPEG, _JPEG, _DEFLATE, _PACK_BITS = 1, (2, 3, 4), 5, 6, 7, (8, 32946), 32773
_LZMA, _ZSTD, _WEBP, _JPEG_2000 = 34925, (50000, 34926), 50001, (33003, 33004, 33005, 34712)
_COMPRESSIONS = {
    _UNCOMPRESSED,
    *_FAXES,
    _LZW,
    _OLD_JPEG,
    _JPEG,
    *_DEFLATE,
    _PACK_BITS,
    _LZMA,
    *_ZSTD,
    _WEBP,
    *_JPEG_2000,
}
_JPEGS = {_OLD_JPEG, _JPEG}
_COMPRESSIONS_OF_OPENCV = {_UNCOMPRESSED, _LZW, *_DEFLATE, _PACK_BITS}
_UNSIGNED, _SIGNED, _FLOAT, _UNDEFINED = 1, 2, 3, 4
_FORMATS = {_UNSIGNED, _SIGNED, _FLOAT, _UNDEFINED}
"""Sample formats that are read, the undefined one as unsigned (TIFF 6.0, page 80)."""
_OPACITY = 2
"""The kind of extra sample that is an opacity not yet multiplied into the colours."""
_BAND = 256
"""Rows that are brought to 8 bits at a time."""


def decode_tiff(data: bytes, header: Header) -> NDArray[np.uint8]:
    """Decode the page of a TIFF that ``header`` names.

    Returns:
        (H, W, 3) uint8 RGB, not yet turned.

    Raises:
        DamagedImage: strips or tiles are missing or make no sense.
        UnsupportedImage: colours, a compression or a kind of sample that is not read, by name.
    """
    page = tiff.read_directory(data, header.page_at)
    _refuse_what_is_not_read(page)
    file = tiff.alone(data, header.page_at)
    photometric = page.first(tiff.PHOTOMETRIC, _BLACK_IS_ZERO)
    if photometric == _YCBCR and page.first(tiff.COMPRESSION, _UNCOMPRESSED) not in _JPEGS:
        # tifffile does not undo the subsampling of colours, and libtiff, through OpenCV, does.
        return _decode_with_opencv(file)
    samples = _samples(file, page)
    # In bands, since whole copies of 100 megapixels would not fit into the memory that decoding may take. What is
    # spread from its least to its greatest value has to be seen as a whole.
    rows = len(samples) if _is_spread(page) else _BAND
    pixels = np.empty((*samples.shape[:2], 3), np.uint8)
    for top in range(0, len(samples), rows):
        pixels[top : top + rows] = _shown(samples[top : top + rows], page)
    return pixels


def _shown(samples: NDArray[Any], page: tiff.Directory) -> NDArray[np.uint8]:
    """Show (H, W, channels) samples as (H, W, 3), or (H, W, 1) where they are grey, over black."""
    channels = _CHANNELS[page.first(tiff.PHOTOMETRIC, _BLACK_IS_ZERO)]
    colours, extra = samples[..., :channels], samples[..., channels:]
    pixels = _colours(colours, page)
    kinds = page.values.get(tiff.EXTRA, np.empty(0, int)).tolist()[: extra.shape[-1]]
    if _OPACITY in kinds:
        opacity = _depth_to_8(extra[..., kinds.index(_OPACITY)], page)
        pixels = over_black(pixels, np.ascontiguousarray(opacity))
    return pixels[..., None] if pixels.ndim == 2 else pixels


def _refuse_what_is_not_read(page: tiff.Directory) -> None:
    """Name what is sound and not read.

    Raises:
        UnsupportedImage
    """
    photometric = page.first(tiff.PHOTOMETRIC, _BLACK_IS_ZERO)
    compression = page.first(tiff.COMPRESSION, _UNCOMPRESSED)
    samples, bits = page.first(tiff.SAMPLES, 1), page.first(tiff.BITS, 1)
    depths = set(page.values.get(tiff.BITS, np.ones(1)).tolist()[:samples])
    formats = set(page.values.get(tiff.SAMPLE_FORMAT, np.ones(1)).tolist()[:samples])
    extra = samples - _CHANNELS.get(photometric, samples)
    if photometric not in _CHANNELS:
        what = f"whose colours are {_NAMES.get(photometric, f'of kind {photometric}')}"
    elif photometric == _INKS and page.first(tiff.INKS, 1) != 1:
        what = "of other inks than cyan, magenta, yellow and black"
    elif compression not in _COMPRESSIONS:
        what = f"compressed by method {compression}"
    elif page.first(tiff.PREDICTOR, 1) not in (1, 2, 3):
        what = f"with predictor {page.first(tiff.PREDICTOR, 1)}"
    elif len(depths) > 1:
        what = "whose channels differ in bits"
    elif len(formats) > 1 or not formats <= _FORMATS:
        what = f"whose samples are of format {', '.join(map(str, sorted(formats)))}"
    elif (formats == {_FLOAT} and bits not in (16, 24, 32, 64)) or (
        formats == {_SIGNED} and bits not in (8, 16, 32, 64)
    ):
        what = f"with {'floating-point' if formats == {_FLOAT} else 'signed'} numbers of {bits} bits"
    elif not 1 <= bits <= 32 and bits != 64:
        what = f"of {bits} bits a sample"
    elif page.first(tiff.DEPTH, 1) > 1:
        what = "of several layers"
    elif extra < 0 or samples > 8 or (extra > 1 and _CHANNELS[photometric] == 1):
        what = f"with {samples} channels of this kind"
    elif photometric == _PALETTE and bits > 16:
        what = f"with a palette and {bits} bits"
    elif photometric == _YCBCR and (bits != 8 or extra):
        what = f"in YCbCr of {samples} channels and {bits} bits"
    elif photometric == _YCBCR and compression not in _JPEGS | _COMPRESSIONS_OF_OPENCV:
        what = f"in YCbCr compressed by method {compression}"
    elif photometric == _YCBCR and compression in _JPEGS and page.first(tiff.PLANES, 1) != 1:
        what = "in YCbCr compressed as JPEGs of one channel"
    else:
        return
    raise UnsupportedImage(f"TIFF files {what} are not read; save it as PNG.")


def _samples(file: bytes, page: tiff.Directory) -> NDArray[Any]:
    """Take the samples, (H, W, channels) in the type of the file, out of a file with one page.

    Raises:
        DamagedImage, UnsupportedImage
    """
    if page.first(tiff.PLANES, 1) not in (1, 2):
        raise UnsupportedImage("The TIFF keeps its channels in an unknown order; save it as PNG.")
    height, width, channels = page.first(tiff.HEIGHT, 0), page.first(tiff.WIDTH, 0), page.first(tiff.SAMPLES, 1)
    apart = page.first(tiff.PLANES, 1) == 2
    _check_pieces(page, height, width, channels if apart else 1)
    try:
        with tifffile.TiffFile(io.BytesIO(file)) as opened:
            _check_lzw(opened.pages.first, file)
            # Threads would only take memory, and there is one processor.
            array = opened.pages.first.asarray(squeeze=False, maxworkers=1)
    except (NotImplementedError, ImportError) as error:
        message = "The TIFF is of a rare kind that is not read; save it as PNG."
        raise UnsupportedImage(message) from error
    except MemoryError:
        raise
    except Exception as error:
        # Decoders have errors of their own each, and a file at fault also makes them divide by zero or index too far.
        raise DamagedImage("The pixels of the TIFF make no sense; upload it again, or save it as PNG.") from error
    # What it knows no type for comes back empty.
    if array.shape != ((channels, 1, height, width, 1) if apart else (1, 1, height, width, channels)):
        raise DamagedImage("The TIFF contradicts itself about its size; export it again.")
    return np.moveaxis(array[:, 0, ..., 0], 0, -1) if apart else array[0, 0]


def _check_lzw(page: Any, file: bytes) -> None:
    """Undo LZW once without a buffer given: imagecodecs 2026.3 finds flawed codes only so, and crashes on them else.

    Raises:
        imagecodecs.ImcdError: the codes are flawed.
    """
    if page.compression == _LZW and page.fillorder == 1:
        for start, size in zip(page.dataoffsets, page.databytecounts, strict=True):
            imagecodecs.lzw_decode(file[start : start + size])


def _check_pieces(page: tiff.Directory, height: int, width: int, planes: int) -> None:
    """See that the page lists as many strips or tiles as it needs: what is missing would be left undrawn.

    Raises:
        DamagedImage
    """
    if tiff.TILES in page.values:
        across, down = page.first(tiff.TILE_WIDTH, 0), page.first(tiff.TILE_HEIGHT, 0)
        if not across or not down:
            raise DamagedImage("The TIFF does not say how large its tiles are; export it again.")
        needed, listed, counts = math.ceil(width / across) * math.ceil(height / down), tiff.TILES, tiff.TILE_BYTES
    else:
        rows = min(page.first(tiff.ROWS_PER_STRIP, height), height) or height
        needed, listed, counts = math.ceil(height / rows), tiff.STRIPS, tiff.STRIP_BYTES
    needed *= planes
    sizes = page.values.get(counts, np.ones(needed))
    places = page.values.get(listed, np.empty(0))
    if len(places) < needed or len(sizes) < needed or not (np.all(sizes[:needed]) and np.all(places[:needed])):
        raise DamagedImage(cut_short("TIFF"))


def _decode_with_opencv(file: bytes) -> NDArray[np.uint8]:
    try:
        decoded = cv2.imdecode(np.frombuffer(file, np.uint8), cv2.IMREAD_COLOR_RGB)
    except cv2.error as error:
        raise DamagedImage("The pixels of the TIFF make no sense; upload it again, or save it as PNG.") from error
    if decoded is None:
        raise DamagedImage("The pixels of the TIFF make no sense; upload it again, or save it as PNG.")
    return np.asarray(decoded, np.uint8)


def _colours(samples: NDArray[Any], page: tiff.Directory) -> NDArray[np.uint8]:
    """Show the colour channels of (H, W, channels) samples, as (H, W) or (H, W, 3)."""
    photometric = page.first(tiff.PHOTOMETRIC, _BLACK_IS_ZERO)
    if photometric == _PALETTE:
        return _look_up(samples[..., 0], page)
    if photometric == _INKS:
        rest = 255 - _depth_to_8(samples, page)
        return over_black(np.ascontiguousarray(rest[..., :3]), np.ascontiguousarray(rest[..., 3]))
    if photometric in (_RGB, _YCBCR):
        return np.ascontiguousarray(_depth_to_8(samples, page))
    grey = np.ascontiguousarray(samples[..., 0])
    shown = stretch(grey) if _is_spread(page) else _depth_to_8(grey, page)
    return 255 - shown if photometric == _WHITE_IS_ZERO else shown


def _is_spread(page: tiff.Directory) -> bool:
    """Whether samples are shown from their least to their greatest value instead of by what their bits could hold.

    Signed and floating-point ones are, and grey of more than 8 bits, whose range is seldom used in full (12-bit
    X-rays).
    """
    grey = page.first(tiff.PHOTOMETRIC, _BLACK_IS_ZERO) in (_WHITE_IS_ZERO, _BLACK_IS_ZERO)
    signed = page.first(tiff.SAMPLE_FORMAT, _UNSIGNED) in (_SIGNED, _FLOAT)
    return signed or (grey and page.first(tiff.BITS, 1) > 8)


def _depth_to_8(samples: NDArray[Any], page: tiff.Directory) -> NDArray[np.uint8]:
    """Bring samples to 8 bits: unsigned ones by what their bits can hold, others from their least to their greatest."""
    if samples.dtype.kind in "bu":
        return scale(samples.astype(np.uint8) if samples.dtype == bool else samples, 2 ** page.first(tiff.BITS, 1) - 1)
    return stretch(np.ascontiguousarray(samples))


def _look_up(numbers: NDArray[Any], page: tiff.Directory) -> NDArray[np.uint8]:
    """Look colours up in the palette. Of its 16 bits some writers fill the upper 8, some all, and some the lower 8."""
    bits = page.first(tiff.BITS, 1)
    palette = page.values.get(tiff.COLOUR_MAP, np.empty(0))
    if len(palette) < 3 * 2**bits:
        raise DamagedImage("The TIFF lacks its palette; export it again.")
    colours = palette[: 3 * 2**bits].reshape(3, -1).T
    table = (colours // 256 if colours.max() > 255 else colours).astype(np.uint8)
    return np.asarray(np.take(table, numbers.astype(np.uint16), axis=0, mode="clip"), np.uint8)
