"""A second way from a DICOM file to what it shows, as plain as can be, to compare with.

GDCM decodes where it is installed (with its own parser), else pydicom. What follows is written from PS3.3 with NumPy,
in floating point for each pixel, and shares nothing with the decoder under test.
"""

import multiprocessing
import os
import warnings
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.pixels.processing import convert_color_space
from pydicom.pixels.utils import pixel_array

try:
    import gdcm
except ImportError:
    gdcm = None


def reference(path: Path) -> NDArray[np.uint8] | None:
    """The first frame of a file as (H, W, 3) uint8 RGB; None where it cannot be read this way."""
    if gdcm is None:
        return shown_or_none(path)
    # In a process of its own: GDCM ends the process over some damaged files.
    here, there = multiprocessing.Pipe(duplex=False)
    process = multiprocessing.get_context("fork").Process(target=answer, args=(path, there))
    process.start()
    there.close()
    try:
        return here.recv()
    except EOFError:
        return None
    finally:
        process.join()


def answer(path: Path, connection: Connection) -> None:
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    connection.send(shown_or_none(path))


def shown_or_none(path: Path) -> NDArray[np.uint8] | None:
    try:
        return shown(path)
    # What is damaged makes the libraries raise nearly anything.
    except Exception:
        return None


def shown(path: Path) -> NDArray[np.uint8]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dataset = pydicom.dcmread(path, force=True)
        values, photometric, bits = by_gdcm(path) if gdcm and "PixelData" in dataset else by_pydicom(dataset)
        if values.ndim == 3:
            scaled = np.rint(values.astype(np.float64) * 255 / (2**bits - 1)).astype(np.uint8)
            return convert_color_space(scaled, "YBR_FULL", "RGB") if photometric.startswith("YBR_FULL") else scaled
        if photometric == "PALETTE COLOR":
            return palette(values, dataset)
        shown = displayed(values, dataset)
        shown = 255 - shown if photometric == "MONOCHROME1" else shown
        return np.repeat(np.rint(np.clip(shown, 0, 255)).astype(np.uint8)[..., None], 3, axis=2)


def by_gdcm(path: Path) -> tuple[NDArray[Any], str, int]:
    """The stored values of the first frame, what they mean, and their bits."""
    gdcm.Trace.WarningOff()
    gdcm.Trace.ErrorOff()
    reader = gdcm.ImageReader()
    reader.SetFileName(str(path))
    if not reader.Read():
        raise ValueError("GDCM does not read it")
    image = reader.GetImage()
    if image.GetPhotometricInterpretation().GetSamplesPerPixel() == 3:
        change = gdcm.ImageChangePlanarConfiguration()
        change.SetInput(image)
        change.SetPlanarConfiguration(0)
        if not change.Change():
            raise ValueError("GDCM does not interleave it")
        image = change.GetOutput()
    layout = image.GetPixelFormat()
    buffer = image.GetBuffer().encode("utf-8", "surrogateescape")
    columns, rows = image.GetDimension(0), image.GetDimension(1)
    samples, stored = layout.GetSamplesPerPixel(), layout.GetBitsStored()
    if layout.GetBitsAllocated() == 1:
        values = np.unpackbits(np.frombuffer(buffer, np.uint8), bitorder="little")
    else:
        kind = "i" if layout.GetPixelRepresentation() else "u"
        values = np.frombuffer(buffer, f"<{kind}{layout.GetBitsAllocated() // 8}")
    shape = (rows, columns) if samples == 1 else (rows, columns, samples)
    photometric = str(image.GetPhotometricInterpretation()).strip()
    return values[: rows * columns * samples].reshape(shape), photometric, stored


def by_pydicom(dataset: Dataset) -> tuple[NDArray[Any], str, int]:
    values = pixel_array(dataset, index=0)
    photometric = dataset.PhotometricInterpretation
    return values, "RGB" if values.ndim == 3 else photometric, dataset.get("BitsStored", 32)


def displayed(values: NDArray[Any], dataset: Dataset) -> NDArray[np.float64]:
    """Modality (C.11.1), then VOI (C.11.2), each as the attributes at the top or in the functional groups say."""
    padding = np.zeros(values.shape, bool)
    if "PixelPaddingValue" in dataset:
        ends = [dataset.PixelPaddingValue, dataset.get("PixelPaddingRangeLimit", dataset.PixelPaddingValue)]
        padding = (values >= min(ends)) & (values <= max(ends))
    out = values.astype(np.float64)
    groups = [*dataset.get("PerFrameFunctionalGroupsSequence", [])[:1]]
    groups += [*dataset.get("SharedFunctionalGroupsSequence", [])[:1]]
    modality = [g.PixelValueTransformationSequence[0] for g in groups if "PixelValueTransformationSequence" in g]
    voi = [g.FrameVOILUTSequence[0] for g in groups if "FrameVOILUTSequence" in g]
    for source in [*modality, dataset]:
        if source.get("ModalityLUTSequence"):
            out = looked_up(out, source.ModalityLUTSequence[0])[0]
            break
        if source.get("RescaleSlope") is not None and source.get("RescaleIntercept") is not None:
            out = out * float(source.RescaleSlope) + float(source.RescaleIntercept)
            break
    for source in [*voi, dataset]:
        if source.get("VOILUTSequence"):
            entries, bits = looked_up(out, source.VOILUTSequence[0])
            return black(entries * 255 / (2**bits - 1), padding, dataset)
        if source.get("WindowCenter") is not None and source.get("WindowWidth") is not None:
            center, width = (first(source[keyword].value) for keyword in ("WindowCenter", "WindowWidth"))
            function = source.get("VOILUTFunction", "LINEAR")
            if width >= 1 or (width > 0 and function != "LINEAR"):
                return black(windowed(out, center, width, function), padding, dataset)
    used = out[~padding & np.isfinite(out)]
    span = used.max() - used.min() if used.size else 0
    return black((out - used.min()) * 255 / span if span else out * 0, padding, dataset)


def windowed(values: NDArray[np.float64], center: float, width: float, function: str) -> NDArray[np.float64]:
    if function == "SIGMOID":
        return 255 / (1 + np.exp(-4 * (values - center) / width))
    if function == "LINEAR":
        center, width = center - 0.5, width - 1
    low, high = center - width / 2, center + width / 2
    between = ((values - center) / (width or 1) + 0.5) * 255
    return np.where(values <= low, 0, np.where(values > high, 255, between))


def black(shown: NDArray[np.float64], padding: NDArray[np.bool_], dataset: Dataset) -> NDArray[np.float64]:
    return np.where(padding, 255.0 if dataset.PhotometricInterpretation == "MONOCHROME1" else 0.0, shown)


def looked_up(values: NDArray[np.float64], item: Dataset) -> tuple[NDArray[np.float64], int]:
    _, start, bits = item.LUTDescriptor
    entries = np.frombuffer(item.LUTData, "<u2") if isinstance(item.LUTData, bytes) else np.array(item.LUTData)
    return entries[np.clip(np.rint(values) - start, 0, len(entries) - 1).astype(int)].astype(np.float64), bits


def palette(values: NDArray[Any], dataset: Dataset) -> NDArray[np.uint8]:
    colours = []
    for colour in ("Red", "Green", "Blue"):
        count, start, bits = dataset[f"{colour}PaletteColorLookupTableDescriptor"].value
        data = dataset[f"{colour}PaletteColorLookupTableData"].value
        order = "<" if dataset.original_encoding[1] else ">"
        entries = np.frombuffer(data, np.uint8 if len(data) < 2 * (count or 65536) else f"{order}u2")
        mapped = entries[np.clip(values.astype(int) - start, 0, len(entries) - 1)]
        colours.append(np.rint(mapped.astype(np.float64) * 255 / (2**bits - 1)).astype(np.uint8))
    return np.stack(colours, axis=-1)


def first(value: Any) -> float:
    return float(value if isinstance(value, float | int | str) else value[0])
