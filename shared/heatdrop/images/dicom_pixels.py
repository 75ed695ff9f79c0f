"""From the pixel data of a DICOM file to the values that were stored in them.

The attributes that say how these lie there are judged one by one first: what has one obvious default may be missing,
what contradicts the compressed data gives way to them, and what cannot be read is refused by its name.
"""

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import FileDataset
from pydicom.encaps import encapsulate, get_frame
from pydicom.pixels.decoders.base import get_decoder
from pydicom.uid import (
    HTJ2K,
    JPEG2000,
    UID,
    JPEG2000TransferSyntaxes,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLSNearLossless,
    JPEGTransferSyntaxes,
    RLELossless,
)

from heatdrop.errors import DamagedImage, TooManyPixels, UnsupportedImage
from heatdrop.images.dicom_elements import integer, text, value
from heatdrop.images.formats import too_many_pixels
from heatdrop.images.headers import read_header

PIXELS = {"PixelData": None, "FloatPixelData": 32, "DoubleFloatPixelData": 64}
"""The elements that can hold pixels, with the bits that a value of each has by definition."""

_GREY = ("MONOCHROME1", "MONOCHROME2", "PALETTE COLOR")
_COLOUR = ("RGB", "YBR_FULL", "YBR_FULL_422")
_JPEG_2000_COLOUR = ("YBR_ICT", "YBR_RCT")
_LOSSY = (JPEGBaseline8Bit, JPEGExtended12Bit, JPEGLSNearLossless, JPEG2000, HTJ2K)
_KNOWN_BUT_NOT_READ = ("HSV", "ARGB", "CMYK", "YBR_PARTIAL_422", "YBR_PARTIAL_420", "XYB")

_JPEG_2000_START = b"\xff\x4f\xff\x51"
_JPEG_2000_CODING_STYLE, _JPEG_2000_TILE = b"\xff\x52", b"\xff\x90"
_JPEG_2000_BOXES = b"\0\0\0\x0cjP"
_JPEG_MARKER = re.compile(rb"\xff+([\xc0-\xcf\xd9-\xfe])")
_SEQUENTIAL, _PROGRESSIVE, _LOSSLESS = (0xC0, 0xC1), 0xC2, 0xC3
_FRAMES = {*range(0xC0, 0xD0), 0xF7} - {0xC4, 0xC8, 0xCC}
_SCAN, _END, _ADOBE = 0xDA, 0xD9, 0xEE


@dataclass(frozen=True, slots=True)
class Codestream:
    """What compressed data say of their picture."""

    width: int
    height: int
    bits: int
    samples: int
    signed: bool
    colour: str
    """What three samples mean; empty where the stream does not say."""


@dataclass(frozen=True, slots=True)
class Layout:
    """How the values of a picture lie in its pixel data."""

    keyword: str
    syntax: UID
    rows: int
    columns: int
    samples: int
    photometric: str
    bits_allocated: int
    bits_stored: int
    high_bit: int
    """The highest of the stored bits, counted from 0; bits_stored - 1 unless the value lies higher in its word."""
    signed: bool
    planar: int
    """1 where each colour lies by itself."""

    @property
    def lowest(self) -> int:
        """The least value that can be stored."""
        return -(1 << self.bits_stored - 1) if self.signed else 0

    @property
    def highest(self) -> int:
        """The greatest value that can be stored."""
        return (1 << self.bits_stored - self.signed) - 1


def check_size(dataset: FileDataset, max_pixels: int) -> None:
    """Refuse a picture that announces more pixels than the limit, or none.

    Raises:
        TooManyPixels, DamagedImage, UnsupportedImage
    """
    columns, rows = _required(dataset, "Columns"), _required(dataset, "Rows")
    if rows * columns > max_pixels:
        raise TooManyPixels(too_many_pixels("DICOM", columns, rows, max_pixels))
    if rows * columns == 0:
        raise DamagedImage("The DICOM says that its picture has no pixels; export it again.")


def read_layout(dataset: FileDataset) -> Layout:
    """Judge the attributes that say how the pixel data are to be read.

    Raises:
        UnsupportedImage: one that is needed is missing, or says what is not read.
        DamagedImage: the compressed data are of another size than announced, or are cut short.
    """
    keyword = next(keyword for keyword in PIXELS if value(dataset, keyword))
    syntax = dataset.file_meta.TransferSyntaxUID
    columns, rows = _required(dataset, "Columns"), _required(dataset, "Rows")
    codestream = None
    if syntax.is_encapsulated:
        for codestream in _codestreams(get_frame(dataset.PixelData, 0, number_of_frames=1)):
            if (codestream.width, codestream.height) != (columns, rows):
                raise DamagedImage("The DICOM contradicts itself about its size; export it again.")
    samples, photometric = _colours(dataset, syntax, codestream)
    allocated = PIXELS[keyword] or _allocated(dataset, codestream, encapsulated=syntax.is_encapsulated)
    stored, high = _bits(dataset, allocated, syntax, codestream)
    signed = integer(dataset, "PixelRepresentation")
    if signed not in (0, 1):
        signed = int(codestream is not None and codestream.signed)
        # pydicom cannot read the elements that have the sign of the pixels, unless this is there.
        dataset.PixelRepresentation = signed
    # PS3.5 8.2: compressed data say themselves how the colours lie in them.
    planar = 0 if syntax.is_encapsulated else integer(dataset, "PlanarConfiguration") or 0
    if planar not in (0, 1):
        raise UnsupportedImage("The DICOM arranges its colours in a way that is not read; export it again.")
    return Layout(
        keyword=keyword,
        syntax=syntax,
        rows=rows,
        columns=columns,
        samples=samples,
        photometric=photometric,
        bits_allocated=allocated,
        bits_stored=stored,
        high_bit=high,
        signed=samples == 1 and keyword == "PixelData" and signed == 1,
        planar=planar,
    )


def stored_values(dataset: FileDataset, layout: Layout) -> tuple[NDArray[Any], str]:
    """Decode the picture.

    Returns:
        (H, W) or (H, W, 3) values as they were stored, and the photometric interpretation that they have now: JPEG
        data may say that they have another one than the data set says, and JPEG 2000 becomes RGB.
    """
    pixels, photometric = value(dataset, layout.keyword), layout.photometric
    if layout.syntax in JPEGTransferSyntaxes:
        frame = get_frame(pixels, 0, number_of_frames=1)
        if (mended := _with_sound_scans(frame)) != frame:
            pixels = encapsulate([mended], has_bot=False)
    elif photometric == "YBR_FULL_422" and len(pixels) >= layout.rows * layout.columns * 3 * layout.bits_allocated // 8:
        # Not a sample is left out, whatever it says.
        photometric = "YBR_FULL"
    options: dict[str, Any] = {
        "pixel_keyword": layout.keyword,
        "pixel_vr": dataset[layout.keyword].VR,
        "rows": layout.rows,
        "columns": layout.columns,
        "number_of_frames": 1,
        "samples_per_pixel": layout.samples,
        "photometric_interpretation": photometric,
        "planar_configuration": layout.planar,
        "bits_allocated": layout.bits_allocated,
        "as_rgb": False,
        # Done below, since pydicom takes the highest stored bit for granted.
        "correct_unused_bits": False,
    }
    if layout.keyword == "PixelData":
        options |= {"bits_stored": layout.bits_stored, "pixel_representation": int(layout.signed)}
    if layout.syntax.is_encapsulated:
        # Whatever else is installed: the same file must give the same picture everywhere.
        options["decoding_plugin"] = "pydicom" if layout.syntax == RLELossless else "pylibjpeg"
    values, became = get_decoder(layout.syntax).as_array(pixels, index=0, **options)
    return _stored_bits(values, layout), str(became["photometric_interpretation"])


def _stored_bits(values: NDArray[Any], layout: Layout) -> NDArray[Any]:
    """Take the stored bits out of their words, with the sign that they have; the other bits may hold anything."""
    if values.dtype.kind == "f" or layout.bits_allocated == 1:
        return values
    container = values.dtype.itemsize * 8
    above, unused = container - 1 - layout.high_bit, container - layout.bits_stored
    if above <= 0 and unused <= 0:
        return values
    shifted: NDArray[Any] = np.left_shift(values, max(above, 0))
    np.right_shift(shifted, max(unused, 0), out=shifted)
    return shifted


def _required(dataset: FileDataset, keyword: str) -> int:
    found = integer(dataset, keyword)
    if found is None:
        message = f"The DICOM does not say its {keyword}, without which its picture cannot be read; export it again."
        raise UnsupportedImage(message)
    return found


def _colours(dataset: FileDataset, syntax: UID, codestream: Codestream | None) -> tuple[int, str]:
    """How many samples a pixel has, and what they mean."""
    photometric, said = text(dataset, "PhotometricInterpretation"), integer(dataset, "SamplesPerPixel")
    known = (*_GREY, *_COLOUR, *(_JPEG_2000_COLOUR if syntax in JPEG2000TransferSyntaxes else ()))
    if photometric and photometric not in known:
        # Only the standard's own words are repeated: what else stands there could be anything.
        name = f" ({photometric})" if photometric in (*_KNOWN_BUT_NOT_READ, *_JPEG_2000_COLOUR) else ""
        raise UnsupportedImage(f"The DICOM has colours of a kind that is not read{name}; export it as grey or RGB.")
    samples = codestream.samples if codestream else said or (1 if photometric in ("", *_GREY) else 3)
    if samples not in (1, 3):
        raise UnsupportedImage("The DICOM is neither grey nor RGB; export it as one of them.")
    if samples == 1:
        photometric = photometric or "MONOCHROME2"
    elif codestream and codestream.colour:
        photometric = codestream.colour
    elif not photometric:
        photometric = "YBR_FULL_422" if syntax in (JPEGBaseline8Bit, JPEGExtended12Bit) else "RGB"
    if (samples == 1) != (photometric in _GREY):
        said_so = f"{photometric} with {samples} samples a pixel"
        raise UnsupportedImage(f"The DICOM contradicts itself about its colours ({said_so}); export it again.")
    return samples, photometric


def _allocated(dataset: FileDataset, codestream: Codestream | None, *, encapsulated: bool) -> int:
    if codestream:
        return 8 if codestream.bits <= 8 else 16 if codestream.bits <= 16 else 32
    allocated = _required(dataset, "BitsAllocated")
    if allocated not in ((8, 16, 32) if encapsulated else (1, 8, 16, 32, 64)):
        raise UnsupportedImage(f"The DICOM has {allocated} bits allocated, which is not read; export it with 8 or 16.")
    return allocated


def _bits(dataset: FileDataset, allocated: int, syntax: UID, codestream: Codestream | None) -> tuple[int, int]:
    """How many bits are stored, and which is the highest of them."""
    said_stored, said_high = integer(dataset, "BitsStored"), integer(dataset, "HighBit")
    stored = said_stored if said_stored and 0 < said_stored <= allocated else None
    high = said_high if said_high is not None and 0 <= said_high < allocated else None
    if stored is None:
        stored = codestream.bits if codestream else high + 1 if high is not None else allocated
    if high is None or high < stored - 1:
        high = stored - 1
    if codestream and codestream.bits <= stored:
        # Nothing lies above what the data themselves hold.
        high = stored - 1
    elif codestream and high == stored - 1 and syntax in _LOSSY:
        # What was rounded may lie a little above the stored bits, and would be wrapped round to black.
        stored, high = codestream.bits, codestream.bits - 1
    return stored, high


def _codestreams(frame: bytes) -> Iterator[Codestream]:
    """What a JPEG, JPEG-LS or JPEG 2000 frame says of its picture; nothing for RLE."""
    if frame.startswith(b"\xff\xd8"):
        header = read_header(frame, "JPEG")
        if header.damage:
            raise DamagedImage(header.damage)
        segments = list(_segments(frame))
        process, samples = next((code, frame[at + 7]) for code, at in segments if code in _FRAMES)
        colour = _adobe_colour(frame, segments) if process in (*_SEQUENTIAL, _PROGRESSIVE) else ""
        yield Codestream(header.width, header.height, header.bits, samples, signed=False, colour=colour)
    elif frame.startswith((_JPEG_2000_START, _JPEG_2000_BOXES)):
        boxed = frame.startswith(_JPEG_2000_BOXES)
        for start in [m.start() for m in re.finditer(_JPEG_2000_START, frame)] if boxed else [0]:
            right, bottom, left, top = struct.unpack_from(">IIII", frame, start + 8)
            samples, depth = struct.unpack_from(">HB", frame, start + 40)
            signed, bits, colour = bool(depth >> 7), (depth & 0x7F) + 1, _jpeg_2000_colour(frame, start)
            yield Codestream(right - left, bottom - top, bits, samples, signed=signed, colour=colour)


def _adobe_colour(jpeg: bytes, segments: list[tuple[int, int]]) -> str:
    """What an Adobe marker says of the colours: its last byte is 0 where they were not changed to YCbCr."""
    for code, at in segments:
        if code == _ADOBE and jpeg.startswith(b"Adobe", at + 2):
            return {0: "RGB", 1: "YBR_FULL"}.get(jpeg[at + 13], "")
    return ""


def _jpeg_2000_colour(frame: bytes, start: int) -> str:
    """RGB where the coding style says that the decoder will make it of three components (ISO/IEC 15444-1 A.6.1)."""
    at = start + 2
    while (marker := frame[at : at + 2]) != _JPEG_2000_TILE and marker.startswith(b"\xff"):
        if marker == _JPEG_2000_CODING_STYLE:
            return "RGB" if frame[at + 8] else ""
        at += 2 + int.from_bytes(frame[at + 2 : at + 4])
    return ""


def _segments(jpeg: bytes) -> Iterator[tuple[int, int]]:
    """The (marker code, place of the length field) of each segment of a JPEG."""
    at = 2
    while marker := _JPEG_MARKER.search(jpeg, at):
        code, at = marker[1][0], marker.end()
        if code == _END:
            return
        yield code, at
        at += int.from_bytes(jpeg[at : at + 2])


def _with_sound_scans(jpeg: bytes) -> bytes:
    """Give each scan the parameters that its process allows, and the stream its end marker.

    In a sequential JPEG a scan holds all coefficients (Ss 0, Se 63), in a lossless one Ss is the predictor and Se is 0
    (ISO/IEC 10918-1 B.2.3). Several encoders write others; most decoders never look, and libjpeg refuses them.
    """
    mended, process = bytearray(jpeg), None
    for code, at in _segments(jpeg):
        if code in _FRAMES:
            process = code
        elif code == _SCAN:
            parameters = at + 3 + 2 * jpeg[at + 2]
            if process in _SEQUENTIAL:
                mended[parameters : parameters + 3] = b"\0\x3f\0"
            elif process == _LOSSLESS:
                mended[parameters] = mended[parameters] or 1
                mended[parameters + 1] = 0
                mended[parameters + 2] &= 0x0F
    return bytes(mended)
