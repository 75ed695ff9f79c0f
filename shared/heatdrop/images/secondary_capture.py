"""A picture made from a DICOM image, as a DICOM Secondary Capture that a PACS shows beside that image.

It names the patient and the study, since a PACS files nothing without; nothing else that Heatdrop writes does.
"""

import hashlib
import io
from contextlib import suppress

import numpy as np
from numpy.typing import NDArray
from pydicom import dcmread
from pydicom.config import disable_value_validation
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import (
    PYDICOM_ROOT_UID,
    ExplicitVRLittleEndian,
    SecondaryCaptureImageStorage,
    generate_uid,
)

from heatdrop.images.dicom import typed_errors
from heatdrop.text import printable
from heatdrop.version import __version__
from heatdrop.vocabulary import DISCLAIMER

# Type 2 of the Patient and General Study modules: there, if empty.
_REQUIRED = (
    *("PatientName", "PatientID", "PatientBirthDate", "PatientSex"),
    *("StudyDate", "StudyTime", "ReferringPhysicianName", "StudyID", "AccessionNumber"),
)
# What else tells whose image it is, how it lies, and what was done to its pixels before.
_KEPT = (
    *("IssuerOfPatientID", "PatientAge", "PatientSize", "PatientWeight", "StudyDescription", "BodyPartExamined"),
    *("Laterality", "PatientOrientation", "BurnedInAnnotation", "ContentDate", "ContentTime"),
    *("LossyImageCompression", "LossyImageCompressionRatio", "LossyImageCompressionMethod"),
)

_LONG_STRING, _SHORT_TEXT = 64, 1024


def secondary_capture(source: bytes, pixels: NDArray[np.uint8], label: str, made_by: str) -> bytes:
    """A Secondary Capture of ``pixels`` (H, W, 3) RGB, in the study of the DICOM file that they were made from.

    The same source, label and ``made_by`` give the same bytes and the same UIDs: a PACS that gets it twice keeps one.

    Args:
        source: the whole file, which has been decoded.
        pixels: what is to be seen.
        label: what it explains; stands in the name of the series.
        made_by: how it was made, in words; what is made otherwise must say otherwise.

    Raises:
        DamagedImage: what the file says of its patient or study cannot be read.
    """
    # Many files break a rule of their value representations; what they say is passed on as it is.
    with typed_errors(), disable_value_validation():
        original = dcmread(io.BytesIO(source), stop_before_pixels=True, force=True)
        digest = hashlib.sha256(source).hexdigest()
        made = Dataset()
        made.SpecificCharacterSet = "ISO_IR 192"
        _add_patient_and_study(made, original, digest)
        _add_series(made, digest, label, made_by)
        _add_references(made, original)
        _add_picture(made, pixels)
        made.file_meta = FileMetaDataset()
        made.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        stream = io.BytesIO()
        made.save_as(stream, enforce_file_format=True)
        return stream.getvalue()


def _add_patient_and_study(made: Dataset, original: Dataset, digest: str) -> None:
    for keyword in _REQUIRED:
        setattr(made, keyword, "")
    for keyword in (*_REQUIRED, *_KEPT):
        if original.get(keyword) is not None:
            # As text: the new file has a character set of its own.
            value = original[keyword].value
            setattr(made, keyword, str(value) if original[keyword].VR == "PN" else value)
    made.StudyInstanceUID = original.get("StudyInstanceUID") or _uid(digest, "study")


def _add_series(made: Dataset, digest: str, label: str, made_by: str) -> None:
    shown = printable(label).replace("\\", "/")
    made.Modality = "OT"
    made.SeriesInstanceUID = _uid(digest, label, made_by, "series")
    made.SeriesNumber = None
    made.SeriesDescription = f"Heatmap: {shown}"[:_LONG_STRING]
    made.InstanceNumber = 1
    made.SOPClassUID = SecondaryCaptureImageStorage
    made.SOPInstanceUID = _uid(digest, label, made_by, "instance")
    made.ConversionType = "WSD"
    made.SecondaryCaptureDeviceManufacturer = "Heatdrop"
    made.SecondaryCaptureDeviceManufacturerModelName = DISCLAIMER[:_LONG_STRING]
    made.SecondaryCaptureDeviceSoftwareVersions = __version__
    made.ImageType = ["DERIVED", "SECONDARY"]
    made.DerivationDescription = f"{DISCLAIMER} Heatmap of class {shown}. {made_by}"[:_SHORT_TEXT]


def _add_references(made: Dataset, original: Dataset) -> None:
    """Say which image it was made from, as far as that one says who it is."""
    with suppress(AttributeError):
        instance = Dataset()
        instance.ReferencedSOPClassUID = original.SOPClassUID
        instance.ReferencedSOPInstanceUID = original.SOPInstanceUID
        made.SourceImageSequence = Sequence([instance])
        series = Dataset()
        series.SeriesInstanceUID = original.SeriesInstanceUID
        series.ReferencedInstanceSequence = Sequence([instance])
        made.ReferencedSeriesSequence = Sequence([series])


def _add_picture(made: Dataset, pixels: NDArray[np.uint8]) -> None:
    made.Rows, made.Columns = pixels.shape[:2]
    made.SamplesPerPixel, made.PhotometricInterpretation, made.PlanarConfiguration = 3, "RGB", 0
    made.BitsAllocated, made.BitsStored, made.HighBit, made.PixelRepresentation = 8, 8, 7, 0
    data = np.ascontiguousarray(pixels).tobytes()
    made.PixelData = data + b"\0" * (len(data) % 2)
    made["PixelData"].VR = "OB"


def _uid(*parts: str) -> str:
    return generate_uid(prefix=PYDICOM_ROOT_UID, entropy_srcs=[f"{len(part)}:{part}" for part in parts])
