"""DICOM to 8-bit RGB pixels, as the file says it is to be shown.

Only the few elements that describe the picture are read; what a file says about the patient never is.
"""

import io
import logging
import re
import struct
import warnings
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import FileDataset
from pydicom.encaps import get_frame
from pydicom.filereader import read_dataset, read_partial
from pydicom.pixels.decoders.base import get_decoder
from pydicom.pixels.processing import apply_color_lut, apply_modality_lut, apply_voi
from pydicom.pixels.utils import pixel_array
from pydicom.tag import BaseTag, Tag
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from heatdrop.errors import DamagedImage, FileTooLarge, RejectedImage, TooManyPixels, UnsupportedImage
from heatdrop.images.formats import cut_short, too_many_pixels
from heatdrop.images.headers import read_header
from heatdrop.images.raster import stretch

# Its messages quote what a file holds, and that may be patient data.
logging.getLogger("pydicom").disabled = True

_PIXELS = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")
_PALETTES = tuple(f"{colour}PaletteColorLookupTable" for colour in ("Red", "Green", "Blue"))
_READ = [
    Tag(keyword)
    for keyword in (
        *("SOPClassUID", "Rows", "Columns", "NumberOfFrames", "SamplesPerPixel", "PhotometricInterpretation"),
        *("PlanarConfiguration", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation"),
        *("ModalityLUTSequence", "RescaleSlope", "RescaleIntercept"),
        *("VOILUTSequence", "WindowCenter", "WindowWidth", "VOILUTFunction"),
        *(f"{palette}{part}" for palette in _PALETTES for part in ("Descriptor", "Data")),
        *(f"Segmented{palette}Data" for palette in _PALETTES),
        *_PIXELS,
    )
]
_PIXEL_TAGS = {Tag(keyword) for keyword in _PIXELS}
_JPEG2000_START = b"\xff\x4f\xff\x51"


def decode_dicom(data: bytes, *, max_bytes: int, max_pixels: int) -> NDArray[np.uint8]:
    """Decode a DICOM file that holds one picture.

    Grey passes through the modality LUT or rescaling, then the first VOI LUT or window (where there is none, least to
    greatest value), and MONOCHROME1 is inverted; palettes and YBR become RGB.

    Args:
        max_bytes: the limit of an inflated file.
        max_pixels: the limit of Rows x Columns.

    Returns:
        (H, W, 3) uint8 RGB.

    Raises:
        FileTooLarge, TooManyPixels: it would grow beyond a limit.
        UnsupportedImage: it holds no picture, several, or one in an encoding that is not read.
        DamagedImage: anything in it is wrong.
    """
    with typed_errors():
        _check_inflation(data, max_bytes)
        dataset = _read(data)
        _check_kind(dataset)
        _check_size(dataset, max_pixels)
        return _to_rgb8(pixel_array(dataset), dataset)


@contextmanager
def typed_errors() -> Iterator[None]:
    """Turn whatever pydicom and its decoders raise into DamagedImage, and keep their warnings to ourselves."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        # pydicom only warns, and drops all that it has read, where a file ends within an element.
        warnings.filterwarnings("error", message=".* in file ")
        try:
            yield
        except RejectedImage:
            raise
        # A damaged file makes them raise nearly anything: they name no list, and plugins add their own.
        except Exception as error:
            message = "The DICOM cannot be decoded: it is damaged or was cut short; export and upload it again."
            raise DamagedImage(message) from error


def _check_inflation(data: bytes, max_bytes: int) -> None:
    """Refuse a deflated data set that grows too large; pydicom inflates it whole before it returns anything."""
    if DeflatedExplicitVRLittleEndian.encode() not in data:
        return
    stream = io.BytesIO(data)
    stream.seek(132 if data[128:132] == b"DICM" else 0)
    # Skips the file meta information, which alone is not deflated.
    read_dataset(stream, is_implicit_VR=False, is_little_endian=True, stop_when=lambda tag, *_: tag.group != 2)
    inflated = zlib.decompressobj(-zlib.MAX_WBITS).decompress(stream.read(), max_bytes + 1)
    if len(inflated) > max_bytes:
        raise FileTooLarge(f"The DICOM inflates to more than {max_bytes / 1e6:.0f} MB; export it uncompressed.")


def _read(data: bytes) -> FileDataset:
    """Read the elements that describe the picture, and its bytes as they are."""
    complete = False

    def is_behind_the_pixels(tag: BaseTag, _vr: str | None, _length: int) -> bool:
        nonlocal complete
        behind = complete
        complete = complete or tag in _PIXEL_TAGS
        return behind

    dataset = read_partial(io.BytesIO(data), is_behind_the_pixels, force=True, specific_tags=list(_READ))
    if "TransferSyntaxUID" not in dataset.file_meta:
        implicit, little_endian = dataset.original_encoding
        explicit = ExplicitVRLittleEndian if little_endian else ExplicitVRBigEndian
        dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian if implicit else explicit
    return dataset


def _check_kind(dataset: FileDataset) -> None:
    kind = _registered_name(dataset.get("SOPClassUID", None) or dataset.file_meta.get("MediaStorageSOPClassUID", None))
    if not any(keyword in dataset for keyword in _PIXELS):
        if "Rows" in dataset or "Image Storage" in kind:
            raise DamagedImage(cut_short("DICOM"))
        raise UnsupportedImage(f"The DICOM holds no picture{kind}; upload the image that it belongs to.")
    if int(dataset.get("NumberOfFrames", None) or 1) > 1:
        raise UnsupportedImage(f"The DICOM holds {dataset.NumberOfFrames} pictures{kind}; upload a single one.")
    syntax = dataset.file_meta.TransferSyntaxUID
    try:
        readable = get_decoder(syntax).is_available
    except NotImplementedError:
        readable = False
    if not readable:
        encoding = _registered_name(syntax)
        raise UnsupportedImage(f"The DICOM is encoded in a way that is not read{encoding}; export it uncompressed.")
    if dataset.SamplesPerPixel not in (1, 3):
        raise UnsupportedImage("The DICOM is neither grey nor RGB; export it as one of them.")


def _registered_name(uid: UID | None) -> str:
    """Name what a UID stands for, in brackets; nothing when it is not registered, since it could then say anything."""
    return f" ({uid.name})" if uid is not None and uid.type else ""


def _check_size(dataset: FileDataset, max_pixels: int) -> None:
    """Judge the announced size, and see that compressed data do not announce another one to their decoder."""
    size = (int(dataset.Columns), int(dataset.Rows))
    if size[0] * size[1] > max_pixels:
        raise TooManyPixels(too_many_pixels("DICOM", *size, max_pixels))
    if 0 in size:
        raise DamagedImage("The DICOM says that its picture has no pixels; export it again.")
    if not dataset.file_meta.TransferSyntaxUID.is_encapsulated:
        return
    frame = get_frame(dataset.PixelData, 0, number_of_frames=1)
    if any(found != size for found in _codestream_sizes(frame)):
        raise DamagedImage("The DICOM contradicts itself about its size; export it again.")


def _codestream_sizes(frame: bytes) -> Iterator[tuple[int, int]]:
    """Find the (width, height) that a JPEG, JPEG-LS or JPEG 2000 frame announces; nothing for RLE."""
    if frame.startswith(b"\xff\xd8"):
        header = read_header(frame, "JPEG")
        if header.damage:
            raise DamagedImage(header.damage)
        yield header.width, header.height
    elif frame.startswith((_JPEG2000_START, b"\0\0\0\x0cjP")):
        starts = [0] if frame.startswith(_JPEG2000_START) else [m.start() for m in re.finditer(_JPEG2000_START, frame)]
        for start in starts:
            right, bottom, left, top = struct.unpack_from(">IIII", frame, start + 8)
            yield right - left, bottom - top


def _to_rgb8(pixels: NDArray[np.generic], dataset: FileDataset) -> NDArray[np.uint8]:
    bits = int(dataset.BitsStored)
    photometric = dataset.PhotometricInterpretation
    if photometric == "PALETTE COLOR":
        bits = int(dataset.RedPaletteColorLookupTableDescriptor[2])
        pixels = apply_color_lut(pixels, dataset)
        if "RedPaletteColorLookupTableData" in dataset and not dataset.original_encoding[1]:
            # pydicom takes the tables of big-endian files for little-endian ones.
            pixels = pixels.byteswap()
    if pixels.ndim == 3:
        scaled = pixels if bits == 8 else pixels.astype(np.float32) * (255 / (2**bits - 1))
        return np.ascontiguousarray(_whole(scaled)[..., :3])
    grey = _grey8(pixels, dataset)
    if photometric == "MONOCHROME1":
        grey = 255 - grey
    return np.asarray(cv2.cvtColor(grey, cv2.COLOR_GRAY2RGB), np.uint8)


def _grey8(stored: NDArray[np.generic], dataset: FileDataset) -> NDArray[np.uint8]:
    """Bring stored values to displayed ones."""
    if not np.issubdtype(stored.dtype, np.integer):
        return _display(stored, dataset)
    low, high = int(stored.min()), int(stored.max())
    if high - low > 0xFFFF:
        return _display(stored, dataset)
    # A table of all values, since a large picture in float64 would take gigabytes.
    table = _display(np.arange(low, high + 1), dataset)
    shown: NDArray[np.uint8] = table[np.subtract(stored, low, dtype=np.int32, casting="unsafe")]
    return shown


def _display(values: NDArray[np.generic], dataset: FileDataset) -> NDArray[np.uint8]:
    """Apply the modality LUT or rescaling, then the VOI LUT or window, to stored values of any shape."""
    values = np.asarray(apply_modality_lut(values, dataset))
    if dataset.get("VOILUTSequence"):
        depth = int(dataset.VOILUTSequence[0].LUTDescriptor[2])
        shown = apply_voi(values, dataset).astype(np.float64) * (255 / (2**depth - 1))
    else:
        center, width = (_first_number(dataset.get(keyword)) for keyword in ("WindowCenter", "WindowWidth"))
        function = str(dataset.get("VOILUTFunction", None) or "LINEAR")
        if function == "LINEAR" and center is not None and width is not None:
            # The standard's linear function reaches from center - 0.5 - (width - 1) / 2 to as far above.
            center, width = center - 0.5, width - 1
        if center is None or width is None or width <= 0:
            return stretch(values)
        distance = (values.astype(np.float64) - center) / width
        shown = 255 / (1 + np.exp(-4 * distance)) if function == "SIGMOID" else 255 * (distance + 0.5)
    return _whole(shown)


def _whole(shown: NDArray[Any]) -> NDArray[np.uint8]:
    rounded: NDArray[np.uint8] = np.clip(np.rint(shown), 0, 255).astype(np.uint8)
    return rounded


def _first_number(value: object) -> float | None:
    """Read a window's number; a file may hold several windows, of which the first counts."""
    first = next(iter(value), None) if isinstance(value, Sequence) and not isinstance(value, str) else value
    return None if first is None or first == "" else float(str(first))
