"""DICOM files for the tests: those that pydicom ships, and small ones made on the spot."""

import io
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from numpy.typing import ArrayLike, NDArray
from pydicom.config import disable_value_validation
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import UID, DigitalXRayImageStorageForPresentation, ExplicitVRLittleEndian

from heatdrop.images import decode

RAMP = np.arange(4096, dtype=np.uint16).reshape(64, 64)
"""Every value of 12 bits, once."""
SIGNED_RAMP = (RAMP.astype(np.int16) - 2048).astype(np.int16)
BRIGHTNESS = RAMP * (255 / 4095)
"""What the ramp looks like where nothing says otherwise."""


def shipped(name: str) -> bytes:
    """Read a DICOM that pydicom or pydicom-data ships; nothing is downloaded."""
    path = get_testdata_file(name, download=False)
    assert isinstance(path, str), f"{name} is not installed"
    return Path(path).read_bytes()


def parsed(name: str) -> FileDataset:
    return pydicom.dcmread(io.BytesIO(shipped(name)), force=True)


def written(dataset: Dataset) -> bytes:
    stream = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dataset.save_as(stream)
    return stream.getvalue()


def grey(data: bytes) -> NDArray[np.uint8]:
    pixels = decode(data).pixels
    assert np.array_equal(pixels[..., 0], pixels[..., 1])
    assert np.array_equal(pixels[..., 0], pixels[..., 2])
    return pixels[..., 0]


def radiograph(pixels: NDArray[Any] = RAMP, stored: int = 12, **attributes: Any) -> Dataset:
    """Make a small uncompressed image of unsigned or signed whole numbers."""
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID = DigitalXRayImageStorageForPresentation
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID = UID("1.2.3")
    dataset.Rows, dataset.Columns = pixels.shape
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = pixels.itemsize * 8, stored, stored - 1
    dataset.PixelRepresentation = int(pixels.dtype.kind == "i")
    dataset.PixelData = pixels.tobytes()
    dataset["PixelData"].VR = "OW" if pixels.itemsize > 1 else "OB"
    # What no value of its kind may say is to be written too.
    with disable_value_validation():
        for keyword, value in attributes.items():
            setattr(dataset, keyword, value)
    return dataset


def table(entries: ArrayLike, bits: int, *, first: int = 0, count: int | None = None, how: str = "US") -> Dataset:
    """Make the item of a modality or VOI LUT sequence.

    Args:
        count: what the descriptor says; None for how many there are (65,536 are written as 0).
        how: the value representation of the entries (US, SS, OW), or "packed" for bytes packed into words.
    """
    item, numbers = Dataset(), np.asarray(entries)
    said = np.array(len(numbers) if count is None else count).astype(np.uint16)
    representation = "SS" if first < 0 else "US"
    item.add_new("LUTDescriptor", representation, [int(said.view(np.int16) if first < 0 else said), first, bits])
    if how == "packed":
        item.add_new("LUTData", "OW", numbers.astype(np.uint8).tobytes() + b"\0" * (len(numbers) % 2))
    elif how == "OW":
        item.add_new("LUTData", "OW", numbers.astype("<u2").tobytes())
    else:
        item.add_new("LUTData", how, numbers.astype("<u2").view("<i2" if how == "SS" else "<u2").tolist())
    return item


def differs(data: bytes, expected: NDArray[Any]) -> float:
    """The greatest difference from what is expected."""
    return float(np.abs(grey(data) - np.asarray(expected, np.float64)).max())
