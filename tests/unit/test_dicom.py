"""DICOM files become the picture that they say is to be shown; those without one say so."""

import logging
import struct
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.uid import DeflatedExplicitVRLittleEndian
from tests.unit.dicom_files import BRIGHTNESS, differs, grey, parsed, radiograph, shipped, written

from heatdrop.errors import DamagedImage, FileTooLarge, RejectedImage, TooManyPixels, UnsupportedImage
from heatdrop.images import Limits, decode


@pytest.mark.parametrize("name", ["RG1_UNCR.dcm", "RG1_J2KI.dcm", "RG1_J2KR.dcm"])
def test_every_transfer_syntax_of_a_radiograph_gives_the_same_picture(name: str) -> None:
    plain, other = decode(shipped("RG1_UNCI.dcm")), decode(shipped(name))
    assert (other.format, other.width, other.height) == ("DICOM", 1841, 1955)
    assert np.abs(plain.pixels.astype(np.int16) - other.pixels).mean() < 1


def test_monochrome1_radiograph_shows_bone_white_and_air_black() -> None:
    pixels = grey(shipped("RG1_UNCI.dcm"))
    spine, lung = pixels[900:1200, 900:940].mean(), pixels[350:450, 1200:1300].mean()
    assert spine > lung + 50


def test_window_maps_its_edges_to_black_and_white() -> None:
    dataset = parsed("MR_small.dcm")
    dataset.WindowCenter, dataset.WindowWidth = 600, 401
    stored = dataset.pixel_array.astype(np.float64)
    expected = np.clip((stored - 599.5) / 400 + 0.5, 0, 1) * 255
    assert np.abs(grey(written(dataset)) - expected).max() <= 0.5


def test_first_of_several_windows_counts() -> None:
    dataset = parsed("MR_small.dcm")
    one = grey(written(dataset))
    dataset.WindowCenter, dataset.WindowWidth = [600, 10], [1600, 5]
    assert np.array_equal(grey(written(dataset)), one)


@pytest.mark.parametrize(("function", "middle"), [("LINEAR_EXACT", 127.5), ("SIGMOID", 127.5)])
def test_other_window_functions_are_half_bright_at_their_centre(function: str, middle: float) -> None:
    dataset = parsed("MR_small.dcm")
    stored = dataset.pixel_array
    dataset.VOILUTFunction, dataset.WindowCenter, dataset.WindowWidth = function, int(stored[20, 20]), 500
    shown = grey(written(dataset))
    assert abs(float(shown[20, 20]) - middle) <= 0.5
    assert shown[stored < stored[20, 20]].max() <= 128 <= shown[stored > stored[20, 20]].min() + 1


@pytest.mark.parametrize("width", [0, -5, None])
def test_senseless_window_is_replaced_by_the_full_range(width: int | None) -> None:
    dataset = parsed("MR_small.dcm")
    dataset.WindowWidth = width
    pixels = grey(written(dataset))
    assert (pixels.min(), pixels.max()) == (0, 255)


def test_signed_values_without_a_window_are_stretched_over_their_range() -> None:
    dataset = parsed("CT_small.dcm")
    assert dataset.PixelRepresentation == 1
    stored = dataset.pixel_array.astype(np.float64)
    expected = (stored - stored.min()) / np.ptp(stored) * 255
    assert np.abs(grey(shipped("CT_small.dcm")) - expected).max() <= 0.51


def test_rescaling_comes_before_the_window() -> None:
    dataset = parsed("MR_small.dcm")
    plain = grey(written(dataset))
    dataset.RescaleSlope, dataset.RescaleIntercept = "2", "-1000"
    # Width less one is what the linear function spans.
    dataset.WindowCenter, dataset.WindowWidth = (600 - 0.5) * 2 - 1000 + 0.5, 1599 * 2 + 1
    assert np.abs(grey(written(dataset)).astype(np.int16) - plain).max() <= 1


def test_voi_lut_is_applied() -> None:
    dataset = parsed("vlut_04.dcm")
    item = dataset.VOILUTSequence[0]
    first, depth = item.LUTDescriptor[1:]
    table = np.asarray(item.LUTData if not isinstance(item.LUTData, bytes) else np.frombuffer(item.LUTData, "<u2"))
    index = np.clip(dataset.pixel_array.astype(np.int64) - first, 0, len(table) - 1)
    expected = table[index] * (255 / (2**depth - 1))
    if dataset.PhotometricInterpretation == "MONOCHROME1":
        expected = 255 - expected
    assert np.abs(grey(shipped("vlut_04.dcm")) - expected).max() <= 1


def test_modality_lut_is_applied() -> None:
    pixels = grey(shipped("mlut_18.dcm"))
    assert (pixels.min(), pixels.max()) == (0, 255)


def test_monochrome1_is_monochrome2_inverted() -> None:
    dataset = parsed("MR_small.dcm")
    plain = grey(written(dataset))
    dataset.PhotometricInterpretation = "MONOCHROME1"
    assert np.array_equal(grey(written(dataset)), 255 - plain)


@pytest.mark.parametrize(
    "name",
    [
        *("MR_small_RLE.dcm", "MR_small_jp2klossless.dcm", "MR_small_jpeg_ls_lossless.dcm"),
        *("MR_small_implicit.dcm", "MR_small_bigendian.dcm", "MR_small_padded.dcm"),
    ],
)
def test_lossless_encodings_give_the_same_picture(name: str) -> None:
    assert np.array_equal(grey(shipped(name)), grey(shipped("MR_small.dcm")))


def test_deflated_file_is_read() -> None:
    assert decode(shipped("image_dfl.dcm")).pixels.shape == (512, 512, 3)


@pytest.mark.parametrize(
    "name",
    [
        *("SC_rgb_16bit.dcm", "SC_rgb_32bit.dcm", "SC_rgb_expb.dcm", "SC_rgb_rle.dcm", "SC_rgb_gdcm_KY.dcm"),
        *("SC_ybr_full_uncompressed.dcm", "SC_ybr_full_422_uncompressed.dcm", "SC_rgb_jpeg_dcmtk.dcm"),
        *("SC_rgb_dcmtk_+eb+cr.dcm", "SC_rgb_dcmtk_+eb+cy+s4.dcm", "SC_rgb_jls_lossy_line.dcm"),
    ],
)
def test_colour_is_rgb_in_whatever_way_it_is_stored(name: str) -> None:
    difference = decode(shipped(name)).pixels.astype(np.int16) - decode(shipped("SC_rgb.dcm")).pixels
    assert np.abs(difference).mean() < 3


@pytest.mark.parametrize("name", ["OBXXXX1A_expb.dcm", "OBXXXX1A_rle.dcm"])
def test_palette_colours_are_the_same_in_every_byte_order(name: str) -> None:
    expected = decode(shipped("OBXXXX1A.dcm")).pixels
    assert expected.max() > 200
    assert np.array_equal(decode(shipped(name)).pixels, expected)


def test_one_bit_segmentation_is_black_and_white() -> None:
    assert set(np.unique(grey(shipped("liver_1frame.dcm")))) == {0, 255}


def test_file_without_preamble_is_recognised() -> None:
    data = shipped("MR_small.dcm")
    assert np.array_equal(grey(data[132:]), grey(data))


@pytest.mark.parametrize("name", ["MR_small.dcm", "MR_small_implicit.dcm"])
def test_bare_data_set_is_recognised(name: str) -> None:
    data = shipped(name)
    meta_length = struct.unpack_from("<I", data, 140)[0]
    assert np.array_equal(grey(data[144 + meta_length :]), grey(data))


def test_bytes_behind_the_pixels_are_ignored() -> None:
    for name in ("MR_small.dcm", "MR_small_jp2klossless.dcm"):
        assert np.array_equal(grey(shipped(name) + b"\x08\0\x05\0garbage" * 9), grey(shipped(name)))


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("reportsi.dcm", "Basic Text SR Storage"),
        ("rtplan.dcm", "RT Plan Storage"),
        ("waveform_ecg.dcm", "12-lead ECG Waveform Storage"),
        ("DICOMDIR", "Media Storage Directory Storage"),
    ],
)
def test_file_without_a_picture_is_unsupported_and_named(name: str, kind: str) -> None:
    with pytest.raises(UnsupportedImage, match=rf"holds no picture \({kind}\)"):
        decode(shipped(name))


def test_series_of_frames_is_unsupported() -> None:
    with pytest.raises(UnsupportedImage, match="10 pictures"):
        decode(shipped("emri_small.dcm"))


def test_video_encoding_is_unsupported() -> None:
    dataset = parsed("SC_rgb_dcmtk_+eb+cr.dcm")
    dataset.file_meta.TransferSyntaxUID = pydicom.uid.MPEG4HP41
    with pytest.raises(UnsupportedImage, match="MPEG-4"):
        decode(written(dataset))


@pytest.mark.parametrize("name", ["MR_truncated.dcm", "emri_small_jpeg_2k_lossless_too_short.dcm"])
def test_file_known_to_be_truncated_is_damaged(name: str) -> None:
    with pytest.raises(DamagedImage):
        decode(shipped(name))


def test_image_object_without_its_pixels_is_damaged_not_unsupported() -> None:
    dataset = parsed("MR_small.dcm")
    del dataset.PixelData
    with pytest.raises(DamagedImage, match="cut short"):
        decode(written(dataset))


def test_announced_size_beyond_the_limit_is_refused() -> None:
    dataset = parsed("MR_small.dcm")
    dataset.Rows = dataset.Columns = 60_000
    with pytest.raises(TooManyPixels, match="60000 x 60000"):
        decode(written(dataset))


@pytest.mark.parametrize(
    "name", ["SC_rgb_dcmtk_+eb+cr.dcm", "MR_small_jp2klossless.dcm", "MR_small_jpeg_ls_lossless.dcm"]
)
def test_compressed_data_of_another_size_than_announced_are_refused_before_decoding(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from heatdrop.images import dicom

    monkeypatch.setattr(dicom, "stored_values", lambda *_: pytest.fail("was decoded"))
    dataset = parsed(name)
    dataset.Rows -= 1
    with pytest.raises(DamagedImage, match="contradicts itself"):
        decode(written(dataset))


@pytest.mark.parametrize("group", [0x0008, 0x0009, 0x0020])
def test_only_the_file_meta_information_says_whether_a_file_is_deflated(group: int) -> None:
    dataset = radiograph()
    uids = ["1.2.840.10008.1.2.1", DeflatedExplicitVRLittleEndian]
    dataset.add_new((group, 0x3002), "UI", uids)
    assert differs(written(dataset), BRIGHTNESS) <= 0.6


def test_deflated_bomb_is_refused_before_it_fills_the_memory() -> None:
    dataset = parsed("CT_small.dcm")
    dataset.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    dataset.PixelData = bytes(30_000_000)
    data = written(dataset)
    assert len(data) < 100_000
    with pytest.raises(FileTooLarge, match="inflates"):
        decode(data, limits=Limits(max_bytes=20_000_000))


def test_deeply_nested_sequences_are_damaged() -> None:
    dataset = parsed("MR_small.dcm")
    head = written(dataset)[: 144 + dataset.file_meta.FileMetaInformationGroupLength]
    nest = b"\x08\0\x40\x11SQ\0\0\xff\xff\xff\xff\xfe\xff\0\xe0\xff\xff\xff\xff" * 20_000
    with pytest.raises(RejectedImage):
        decode(head + nest)


def test_nothing_about_the_patient_is_read_printed_or_repeated(
    capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture, recwarn: pytest.WarningsRecorder
) -> None:
    from heatdrop.images import dicom

    dataset = parsed("MR_small.dcm")
    dataset.PatientName = "Doe^Jane"
    dataset.PatientBirthDate = "99999999"
    data = written(dataset)
    recwarn.clear()
    with caplog.at_level(logging.DEBUG):
        decode(data)
        with pytest.raises(DamagedImage) as caught:
            decode(data[:5000])
    assert "PatientName" not in dicom._read(data)
    assert "Doe" not in str(caught.value)
    assert caplog.text == ""
    assert capfd.readouterr() == ("", "")
    assert not recwarn.list


def test_terminal_hears_nothing_of_a_file_that_cannot_be_decoded() -> None:
    """In a process of its own, which prints what is logged and whatever native decoders write."""
    program = (
        "import logging, sys\n"
        "logging.basicConfig()\n"
        "from heatdrop.errors import RejectedImage\n"
        "from heatdrop.images import decode\n"
        "for name in sys.argv[1:]:\n"
        "    try: decode(open(name, 'rb').read())\n"
        "    except RejectedImage: print('rejected')\n"
    )
    files = []
    for name in (
        "SC_rgb_jpeg_gdcm.dcm",
        "JPEG-lossy.dcm",
        "MR_small_jp2klossless.dcm",
        "MR_small_jpeg_ls_lossless.dcm",
    ):
        data = shipped(name)
        middle = len(data) - 2000
        files.append(data[:middle] + bytes(range(1, 200)) * 5 + data[middle + 995 :])
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder, f"{number}.dcm") for number in range(len(files))]
        for path, data in zip(paths, files, strict=True):
            path.write_bytes(data)
        run = subprocess.run([sys.executable, "-c", program, *paths], capture_output=True, text=True, check=True)
    assert run.stderr == ""
    assert set(run.stdout.split()) == {"rejected"}
