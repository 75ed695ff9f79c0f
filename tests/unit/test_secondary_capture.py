"""Overlays as DICOM: read back as a PACS would, they lie in the study of their source and say what they are."""

import io
import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileDataset
from pydicom.uid import ExplicitVRLittleEndian, SecondaryCaptureImageStorage

from heatdrop import images
from heatdrop.explaining.explainer import Explainer
from heatdrop.images.secondary_capture import secondary_capture
from heatdrop.model.bundle import Bundle
from heatdrop.model.classifier import Classifier
from heatdrop.vocabulary import DISCLAIMER, ExplanationSettings

PATIENT = {"PatientName": "Müller^Jörg", "PatientID": "id-4711", "PatientBirthDate": "19700102", "PatientSex": "M"}


def noise(height: int = 33, width: int = 21) -> NDArray[np.uint8]:
    return np.random.default_rng(3).integers(0, 255, (height, width, 3), np.uint8)


def read(data: bytes) -> FileDataset:
    """Read strictly: without preamble and file meta information it is no DICOM file."""
    return pydicom.dcmread(io.BytesIO(data))


@pytest.fixture(scope="module")
def original(chest_dicom: Path) -> FileDataset:
    return pydicom.dcmread(chest_dicom)


def written(dataset: Dataset) -> bytes:
    stream = io.BytesIO()
    dataset.save_as(stream)
    return stream.getvalue()


@pytest.fixture
def source(chest_dicom: Path) -> FileDataset:
    """RG1 as that of a patient with a name, to be changed by a test."""
    dataset = pydicom.dcmread(chest_dicom)
    dataset.SpecificCharacterSet = "ISO_IR 100"
    for keyword, value in PATIENT.items():
        setattr(dataset, keyword, value)
    return dataset


def test_it_holds_the_picture_and_nothing_of_it_is_lost(source: FileDataset) -> None:
    for pixels in (noise(), noise(32, 20), noise(1, 1)):
        data = secondary_capture(written(source), pixels, "NORMAL", "x")
        found = read(data)
        assert np.array_equal(found.pixel_array, pixels)
        assert (found.Rows, found.Columns, found.PhotometricInterpretation) == (*pixels.shape[:2], "RGB")
        # Our own reader, which is given it when someone drops it, sees the same.
        assert np.array_equal(images.decode(data).pixels, pixels)


def test_it_is_a_secondary_capture_in_the_study_of_its_source(source: FileDataset) -> None:
    found = read(secondary_capture(written(source), noise(), "NORMAL", "x"))
    assert found.SOPClassUID == found.file_meta.MediaStorageSOPClassUID == SecondaryCaptureImageStorage
    assert found.SOPInstanceUID == found.file_meta.MediaStorageSOPInstanceUID
    assert found.file_meta.TransferSyntaxUID == ExplicitVRLittleEndian
    assert found.StudyInstanceUID == source.StudyInstanceUID
    assert found.SeriesInstanceUID not in (source.SeriesInstanceUID, "")
    (instance,) = found.SourceImageSequence
    assert instance.ReferencedSOPClassUID == source.SOPClassUID
    assert instance.ReferencedSOPInstanceUID == source.SOPInstanceUID
    (series,) = found.ReferencedSeriesSequence
    assert series.SeriesInstanceUID == source.SeriesInstanceUID
    assert series.ReferencedInstanceSequence[0].ReferencedSOPInstanceUID == source.SOPInstanceUID
    for uid in (found.SOPInstanceUID, found.SeriesInstanceUID):
        assert uid.is_valid
        assert len(uid) <= 64


def test_it_has_every_attribute_that_the_standard_asks_for(source: FileDataset) -> None:
    # Types 1 and 2 of the modules of the Secondary Capture Image IOD (PS3.3 A.8.1).
    must_have_values = "SOPClassUID SOPInstanceUID StudyInstanceUID SeriesInstanceUID Modality ConversionType PixelData"
    must_have_values += " SamplesPerPixel PhotometricInterpretation Rows Columns BitsAllocated BitsStored HighBit"
    must_have_values += " PixelRepresentation PlanarConfiguration ImageType"
    must_be_there = "PatientName PatientID PatientBirthDate PatientSex StudyDate StudyTime ReferringPhysicianName"
    must_be_there += " StudyID AccessionNumber SeriesNumber InstanceNumber"
    for keyword in ("PatientName", "ReferringPhysicianName", "StudyID", "AccessionNumber", "StudyDate"):
        source.pop(keyword, None)
    found = read(secondary_capture(written(source), noise(), "NORMAL", "x"))
    assert [keyword for keyword in must_have_values.split() if not str(found.get(keyword, ""))] == []
    assert [keyword for keyword in must_be_there.split() if keyword not in found] == []
    assert found.PatientName == ""


def test_it_names_the_patient_as_its_source_does_whatever_the_letters(source: FileDataset) -> None:
    found = read(secondary_capture(written(source), noise(), "肺炎", "x"))
    assert {keyword: str(found[keyword].value) for keyword in PATIENT} == PATIENT
    assert found.SeriesDescription == "Heatmap: 肺炎"


def test_it_says_what_it_is_and_how_it_was_made(source: FileDataset) -> None:
    found = read(secondary_capture(written(source), noise(), "a\\b\x1b[31m", "By SmoothGrad."))
    assert found.ImageType == ["DERIVED", "SECONDARY"]
    assert (
        found.DerivationDescription == f"{DISCLAIMER} Heatmap of class a/b\N{REPLACEMENT CHARACTER}[31m. By SmoothGrad."
    )
    assert DISCLAIMER in found.SecondaryCaptureDeviceManufacturerModelName
    long = read(secondary_capture(written(source), noise(), "w" * 2000, "x"))
    assert len(long.SeriesDescription) == 64
    assert len(long.DerivationDescription) == 1024


@pytest.mark.parametrize("value", [None, "YES", "NO"])
def test_what_is_burned_in_stays_burned_in(source: FileDataset, value: str | None) -> None:
    source.pop("BurnedInAnnotation", None)
    if value:
        source.BurnedInAnnotation = value
    source.LossyImageCompression = "01"
    found = read(secondary_capture(written(source), noise(), "NORMAL", "x"))
    assert found.get("BurnedInAnnotation") == value
    assert found.LossyImageCompression == "01"


def test_a_retry_leaves_the_same_bytes_and_anything_else_another_instance(source: FileDataset) -> None:
    data = written(source)
    first = secondary_capture(data, noise(), "NORMAL", "x")
    assert secondary_capture(data, noise(), "NORMAL", "x") == first
    others = [secondary_capture(data, noise(), "VIRAL", "x"), secondary_capture(data, noise(), "NORMAL", "y")]
    source.InstanceNumber = 99
    others.append(secondary_capture(written(source), noise(), "NORMAL", "x"))
    uids = {uid for one in (first, *others) for uid in (read(one).SOPInstanceUID, read(one).SeriesInstanceUID)}
    assert len(uids) == 8


def test_a_source_that_does_not_say_who_it_is_has_a_capture_all_the_same(source: FileDataset) -> None:
    for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"):
        source.pop(keyword)
    data = written(source)
    found = read(secondary_capture(data, noise(), "NORMAL", "x"))
    assert found.StudyInstanceUID == read(secondary_capture(data, noise(), "VIRAL", "x")).StudyInstanceUID
    assert "SourceImageSequence" not in found
    assert "ReferencedSeriesSequence" not in found


def test_a_source_that_breaks_the_rules_of_its_values_is_taken_as_it_is(source: FileDataset) -> None:
    with pydicom.config.disable_value_validation(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        source.StudyID, source.PatientBirthDate = "far longer than sixteen letters", "in May"
        data = written(source)
        found = read(secondary_capture(data, noise(), "NORMAL", "x"))
        assert (found.StudyID, found.PatientBirthDate) == ("far longer than sixteen letters", "in May")


@pytest.fixture(scope="module")
def explainer(tiny_bundle: Bundle) -> Explainer:
    return Explainer(tiny_bundle, ExplanationSettings(top=2, samples=2, dicom=True))


def heatmaps_of(explainer: Explainer, data: bytes) -> Any:
    predictions = Classifier(explainer.bundle).classify(images.decode(data))
    return explainer.explain(data, predictions).heatmaps


def test_an_explained_dicom_has_its_overlays_as_dicom_and_tells_nobody_else_of_the_patient(
    explainer: Explainer, source: FileDataset
) -> None:
    data = written(source)
    found = heatmaps_of(explainer, data)
    for heatmap in found:
        name, content = heatmap.dicom
        assert heatmap.files[3] == (name, content)
        assert name.endswith(".overlay.dcm")
        capture = read(content)
        shown = images.decode(heatmap.overlay[1]).pixels
        assert np.array_equal(capture.pixel_array, shown)
        assert capture.PatientID == PATIENT["PatientID"]
        assert explainer.bundle.model.version in capture.DerivationDescription
        for _, other in heatmap.files[:3]:
            assert not any(value.encode() in other for value in ("id-4711", "Müller", "19700102"))
        with np.load(io.BytesIO(heatmap.maps[1])) as arrays:
            assert "dicom" not in json.loads(str(arrays["provenance"]))
    assert len({read(heatmap.dicom[1]).SOPInstanceUID for heatmap in found}) == 2
    assert [heatmap.dicom for heatmap in heatmaps_of(explainer, data)] == [heatmap.dicom for heatmap in found]


def test_no_dicom_is_written_of_what_is_none_or_unasked(
    explainer: Explainer, tiny_bundle: Bundle, chest_jpeg: Path, chest_dicom: Path
) -> None:
    assert [heatmap.dicom for heatmap in heatmaps_of(explainer, chest_jpeg.read_bytes())] == [None, None]
    unasked = Explainer(tiny_bundle, ExplanationSettings(top=2, samples=0))
    assert [len(heatmap.files) for heatmap in heatmaps_of(unasked, chest_dicom.read_bytes())] == [3, 3]


def test_a_patient_that_cannot_be_read_costs_no_heatmap(
    explainer: Explainer, source: FileDataset, caplog: pytest.LogCaptureFixture
) -> None:
    data = written(source).replace("Müller".encode("latin-1"), b"M\x00ller")
    data = data.replace(b"PN\x0b\x00M\x00ller", b"PN\xff\xffM\x00ller")
    found = heatmaps_of(explainer, data)
    assert len(found) == 2
    assert all(heatmap.overlay[1] for heatmap in found)
