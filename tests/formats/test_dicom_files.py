"""Every DICOM file of pydicom's, pydicom-data's and (where installed) pylibjpeg-data's, read in two ways.

What is listed is a difference above 2 of 255, or a refusal of what the other way shows. Each has its reason here; one
without a reason fails the test, and so does a reason that nothing needs any more.
"""

import importlib.util
from pathlib import Path

import numpy as np
import pytest
from tests.formats.dicom_reference import gdcm, reference

from heatdrop import images
from heatdrop.errors import RejectedImage
from heatdrop.images.formats import sniff

MOST = 2
SEVERAL = "pictures ("
"""What the refusal of a file with several pictures says: the other way shows the first of them."""

GDCM_ONLY = {
    "J2K_pixelrep_mismatch.dcm": "GDCM leaves values unsigned that the data set calls signed; pydicom corrects them",
    "SC_rgb_rle_16bit.dcm": "GDCM mixes up the segments; the same picture as SC_rgb_16bit.dcm for us",
    "SC_rgb_rle_32bit.dcm": "GDCM mixes up the segments; the same picture as SC_rgb_32bit.dcm for us",
}
"""Differences where GDCM decodes."""
REASONS: dict[str, str] = {**GDCM_ONLY} if gdcm else {}

FEW = (
    *("MR_small.dcm", "CT_small.dcm", "MR_small_bigendian.dcm", "JPEG2000.dcm", "JPEG-lossy.dcm", "JPGExtended.dcm"),
    *("SC_rgb_rle.dcm", "SC_ybr_full_422_uncompressed.dcm", "SC_rgb_dcmtk_+eb+cr.dcm", "examples_palette.dcm"),
    *("mlut_18.dcm", "vlut_04.dcm", "liver_1frame.dcm", "rtdose_1frame.dcm", "image_dfl.dcm"),
)


def files() -> list[Path]:
    found: list[Path] = []
    for package, folder in (("pydicom", "data/test_files"), ("data_store", "data"), ("ljdata", "ds")):
        spec = importlib.util.find_spec(package)
        if spec and spec.origin:
            found += (path for path in (Path(spec.origin).parent / folder).rglob("*") if path.is_file())
    return sorted(path for path in found if is_dicom(path))


def is_dicom(path: Path) -> bool:
    try:
        return sniff(path.read_bytes()) == "DICOM"
    except RejectedImage:
        return False


def complaint(path: Path) -> str:
    """What the two ways do not agree about; empty where they do."""
    try:
        ours = images.decode(path.read_bytes()).pixels
    except RejectedImage as error:
        return f"REFUSED: {error}" if reference(path) is not None else ""
    other = reference(path)
    if other is None:
        return ""
    if other.shape != ours.shape:
        return f"DIFFERENT: {ours.shape} and {other.shape}"
    difference = np.abs(ours.astype(np.int16) - other)
    if difference.max() <= MOST:
        return ""
    return f"DIFFERENT: up to {difference.max()}, {(difference > MOST).mean():.1%} above {MOST}"


@pytest.mark.formats
def test_every_file_is_shown_as_a_second_reader_shows_it() -> None:
    found = files()
    complaints = {path.name: said for path in found if (said := complaint(path))}
    several = [name for name, said in complaints.items() if said.startswith("REFUSED") and SEVERAL in said]
    others = {name: said for name, said in complaints.items() if name not in several}
    refused = sum(said.startswith("REFUSED") for said in others.values())
    print(f"{len(found)} files, decoded the second time by {'GDCM' if gdcm else 'pydicom'}:")
    print(f"{len(others) - refused} differences, {refused} refusals, {len(several)} with several pictures")
    for name, said in others.items():
        print(f"{name}: {said} | {REASONS.get(name, 'NO REASON')}")
    assert len(found) > 100
    assert set(others) == set(REASONS)


@pytest.mark.parametrize("name", FEW)
def test_telling_files_are_shown_as_a_second_reader_shows_them(name: str) -> None:
    from pydicom.data import get_testdata_file

    path = get_testdata_file(name, download=False)
    assert isinstance(path, str)
    # Only GDCM reads this one as it is.
    if name != "JPEG-lossy.dcm" or gdcm:
        assert complaint(Path(path)) == ""
