"""DICOM to 8-bit RGB pixels, as the file says it is to be shown.

Only the few elements that describe the picture are read; what a file says about the patient never is.
"""

import io
import logging
import threading
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import FileDataset
from pydicom.filereader import read_dataset, read_partial
from pydicom.pixels.decoders.base import get_decoder
from pydicom.tag import BaseTag, Tag
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from heatdrop.errors import DamagedImage, FileTooLarge, RejectedImage, UnsupportedImage
from heatdrop.images.dicom_display import DISPLAY_KEYWORDS, to_rgb8
from heatdrop.images.dicom_elements import integer, value
from heatdrop.images.dicom_pixels import PIXELS, check_size, read_layout, stored_values
from heatdrop.images.dicom_reduced import decode_reduced
from heatdrop.images.formats import cut_short

# What these libraries log quotes what a file holds, and that may be patient data. The level holds for all loggers below
# as well, which a disabled logger would let pass.
for _library in ("pydicom", "pylibjpeg", "libjpeg", "openjpeg"):
    logging.getLogger(_library).setLevel(logging.CRITICAL + 1)

_READ = [
    Tag(keyword)
    for keyword in (
        *("SOPClassUID", "Rows", "Columns", "NumberOfFrames", "SamplesPerPixel", "PhotometricInterpretation"),
        *("PlanarConfiguration", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation"),
        *DISPLAY_KEYWORDS,
        *PIXELS,
    )
]
_filters_of_warnings = threading.RLock()
_PIXEL_TAGS = {Tag(keyword) for keyword in PIXELS}


def decode_dicom(
    data: bytes, *, at_least: tuple[int, int] | None, max_bytes: int, max_pixels: int
) -> tuple[NDArray[np.uint8], tuple[int, int]]:
    """Decode a DICOM file that holds one picture.

    Args:
        at_least: (height, width) that the result must not fall below when JPEG 2000 is decoded at a lower resolution;
            None for full size.
        max_bytes: the limit of an inflated file.
        max_pixels: the limit of Rows x Columns.

    Returns:
        (h, w, 3) uint8 RGB, and (Rows, Columns), which are h and w unless the picture was decoded smaller.

    Raises:
        FileTooLarge, TooManyPixels: it would grow beyond a limit.
        UnsupportedImage: it holds no picture, several, or one that is stored in a way that is not read.
        DamagedImage: it is cut short, or its pixel data are wrong.
    """
    with typed_errors():
        _check_inflation(data, max_bytes)
        dataset = _read(data)
        _check_kind(dataset)
        check_size(dataset, max_pixels)
        layout = read_layout(dataset)
        pixels = decode_reduced(dataset, layout, at_least) if at_least else None
        if pixels is None:
            pixels = to_rgb8(*stored_values(dataset, layout), dataset, layout)
        return pixels, (layout.rows, layout.columns)


@contextmanager
def typed_errors() -> Iterator[None]:
    """Turn whatever pydicom and its decoders raise into DamagedImage, and keep their warnings to ourselves.

    One thread at a time: the filters of warnings are those of the whole process.
    """
    with _filters_of_warnings, warnings.catch_warnings():
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
    # Only the file meta information, which is never deflated, says whether the rest is.
    meta = read_dataset(stream, is_implicit_VR=False, is_little_endian=True, stop_when=lambda tag, *_: tag.group != 2)
    if meta.get("TransferSyntaxUID") != DeflatedExplicitVRLittleEndian:
        return
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
    if not dataset.file_meta.get("TransferSyntaxUID"):
        implicit, little_endian = dataset.original_encoding
        explicit = ExplicitVRLittleEndian if little_endian else ExplicitVRBigEndian
        dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian if implicit else explicit
    return dataset


def _check_kind(dataset: FileDataset) -> None:
    kind = _registered_name(value(dataset, "SOPClassUID") or dataset.file_meta.get("MediaStorageSOPClassUID", None))
    if not any(value(dataset, keyword) for keyword in PIXELS):
        if "Rows" in dataset or "Image Storage" in kind:
            raise DamagedImage(cut_short("DICOM"))
        raise UnsupportedImage(f"The DICOM holds no picture{kind}; upload the image that it belongs to.")
    frames = integer(dataset, "NumberOfFrames") or 1
    if frames > 1:
        raise UnsupportedImage(f"The DICOM holds {frames} pictures{kind}; upload a single one.")
    syntax = dataset.file_meta.TransferSyntaxUID
    try:
        readable = get_decoder(syntax).is_available
    except NotImplementedError:
        readable = False
    if not readable:
        encoding = _registered_name(syntax)
        raise UnsupportedImage(f"The DICOM is encoded in a way that is not read{encoding}; export it uncompressed.")


def _registered_name(uid: object) -> str:
    """Name what a UID stands for, in brackets; nothing when it is not registered, since it could then say anything."""
    return f" ({uid.name})" if isinstance(uid, UID) and uid.type else ""
