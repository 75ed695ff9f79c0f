"""The values in a DICOM's pixel data are found whatever is missing or contradicts itself, or refused by name."""

import re
import struct
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom.encaps import encapsulate, get_frame
from pydicom.uid import ExplicitVRBigEndian, ImplicitVRLittleEndian, RLELossless
from tests.unit.dicom_files import BRIGHTNESS, RAMP, SIGNED_RAMP, differs, grey, parsed, radiograph, shipped, written

from heatdrop.errors import DamagedImage, UnsupportedImage
from heatdrop.images import decode


@pytest.mark.parametrize(
    "name",
    [
        *("SC_rgb_dcmtk_+eb+cr.dcm", "SC_rgb_dcmtk_+eb+cy+np.dcm", "SC_rgb_jpeg_gdcm.dcm"),  # JPEG, lossless too
        *("SC_rgb_jls_lossy_line.dcm", "SC_rgb_jls_lossy_sample.dcm"),
        *("SC_rgb_gdcm_KY.dcm", "examples_jpeg2k.dcm", "GDCMJ2K_TextGBR.dcm"),
        *("SC_rgb_rle.dcm", "SC_rgb_rle_16bit.dcm"),
    ],
)
@pytest.mark.parametrize("configuration", [0, 1, 7, None])
def test_planar_configuration_does_not_count_in_compressed_colour(name: str, configuration: int | None) -> None:
    dataset = parsed(name)
    dataset.PlanarConfiguration = configuration
    assert np.array_equal(decode(written(dataset)).pixels, decode(shipped(name)).pixels)


@pytest.mark.parametrize("configuration", [0, 1])
def test_planar_configuration_counts_in_plain_colour(configuration: int) -> None:
    rgb = np.random.default_rng(1).integers(0, 256, (64, 64, 3), np.uint8)
    dataset = radiograph(rgb[..., 0], 8, SamplesPerPixel=3, PhotometricInterpretation="RGB")
    dataset.PlanarConfiguration = configuration
    dataset.PixelData = (np.moveaxis(rgb, -1, 0) if configuration else rgb).tobytes()
    assert np.array_equal(decode(written(dataset)).pixels, rgb)


def test_planar_configuration_of_no_meaning_is_refused_by_name() -> None:
    dataset = parsed("SC_rgb.dcm")
    dataset.PlanarConfiguration = 2
    with pytest.raises(UnsupportedImage, match="arranges its colours"):
        decode(written(dataset))


@pytest.mark.parametrize(
    ("name", "said", "mean"),
    [
        ("SC_rgb_jpeg_app14_dcmd.dcm", "YBR_FULL_422", [245, 245, 246]),  # an Adobe marker says RGB
        ("SC_rgb_jpeg_app14_dcmd.dcm", "", [245, 245, 246]),
        ("SC_rgb_dcmtk_+eb+cr.dcm", "YBR_FULL", [128, 128, 128]),  # the components are called R, G and B
        ("SC_rgb_dcmtk_+eb+cy+np.dcm", "RGB", [128, 128, 128]),  # a JFIF marker says YCbCr
        ("SC_rgb_dcmtk_+eb+cy+np.dcm", "", [128, 128, 128]),
        ("examples_jpeg2k.dcm", "YBR_FULL", [40, 34, 29]),  # the component transformation is used
        ("examples_jpeg2k.dcm", "", [40, 34, 29]),
    ],
)
def test_compressed_stream_says_what_its_colours_mean(name: str, said: str, mean: list[int]) -> None:
    dataset = parsed(name)
    dataset.PhotometricInterpretation = said
    assert np.abs(decode(written(dataset)).pixels.reshape(-1, 3).mean(axis=0) - mean).max() < 1


def with_scans(name: str, start: int, end: int, approximation: int) -> bytes:
    """A shipped JPEG file whose scan headers say something else."""
    dataset = parsed(name)
    frame = bytearray(get_frame(dataset.PixelData, 0, number_of_frames=1))
    for found in re.finditer(rb"\xff\xda\x00[\x08\x0c]", bytes(frame)):
        last = found.end() - 2 + int.from_bytes(found[0][2:])
        frame[last - 3 : last] = (start, end, approximation)
    dataset.PixelData = encapsulate([bytes(frame)])
    return written(dataset)


@pytest.mark.parametrize("name", ["SC_rgb_dcmtk_+eb+cy+np.dcm", "SC_rgb_dcmtk_+eb+cr.dcm", "JPGExtended.dcm"])
@pytest.mark.parametrize("scan", [(0, 0, 0), (1, 63, 0), (0, 255, 0), (1, 1, 0), (0, 63, 0x10), (0, 62, 1)])
def test_scan_header_of_a_sequential_jpeg_does_not_count(name: str, scan: tuple[int, int, int]) -> None:
    assert np.array_equal(decode(with_scans(name, *scan)).pixels, decode(shipped(name)).pixels)


@pytest.mark.parametrize("name", ["JPGLosslessP14SV1_1s_1f_8b.dcm", "SC_rgb_jpeg_gdcm.dcm", "JPEG-LL.dcm"])
@pytest.mark.parametrize("scan", [(1, 63, 0), (0, 0, 0), (1, 0, 0x10), (0, 255, 0)])
def test_scan_header_of_a_lossless_jpeg_counts_as_far_as_it_can_be_true(name: str, scan: tuple[int, int, int]) -> None:
    assert np.array_equal(decode(with_scans(name, *scan)).pixels, decode(shipped(name)).pixels)


def test_jpeg_of_12_bits_with_a_wrong_scan_header_is_that_of_gdcm() -> None:
    """GDCM 3.2.6 decodes values from 0 to 4095 of mean 54.68 at full range; DCMTK shows the same."""
    pixels = grey(shipped("JPEG-lossy.dcm"))
    assert (pixels.shape, pixels.min(), pixels.max()) == ((1024, 256), 0, 255)
    assert abs(pixels.mean() - 13.9) < 0.1


@pytest.mark.parametrize("pixels", [RAMP, SIGNED_RAMP], ids=["unsigned", "signed"])
@pytest.mark.parametrize("how", ["absent", "empty"])
@pytest.mark.parametrize(
    "keyword",
    ["PhotometricInterpretation", "SamplesPerPixel", "BitsStored", "HighBit", "PlanarConfiguration", "NumberOfFrames"],
)
def test_attribute_with_one_obvious_default_may_be_missing(pixels: NDArray[Any], how: str, keyword: str) -> None:
    dataset = radiograph(pixels, PlanarConfiguration=0, NumberOfFrames=1)
    if how == "absent":
        delattr(dataset, keyword)
    else:
        setattr(dataset, keyword, None)
    assert differs(written(dataset), BRIGHTNESS) <= 0.6


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRBigEndian])
def test_pixels_are_unsigned_where_nothing_says_so(syntax: Any) -> None:
    big = syntax == ExplicitVRBigEndian
    dataset = radiograph(RAMP.byteswap() if big else RAMP, PixelPaddingValue=0, PixelPaddingRangeLimit=99)
    dataset.file_meta.TransferSyntaxUID = syntax
    data = written(dataset)
    element = struct.pack(">HH2sHH" if big else "<HHIH", 0x28, 0x103, *((b"US", 2, 0) if big else (2, 0)))
    assert data.count(element) == 1
    expected = np.where(RAMP < 100, 0, (RAMP.astype(float) - 100) / 3995 * 255)
    assert differs(data.replace(element, b""), expected) <= 0.6


@pytest.mark.parametrize(("keyword", "kind"), [("FloatPixelData", "<f4"), ("DoubleFloatPixelData", "<f8")])
@pytest.mark.parametrize("also_missing", ["BitsAllocated", "SamplesPerPixel", "PhotometricInterpretation"])
@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
def test_floating_point_pixels_need_no_integers_attributes(
    keyword: str, kind: str, also_missing: str, photometric: str
) -> None:
    values = RAMP / 4095 * 3e-7 - 1e-7
    lowest = float(np.finfo(kind).min)
    values[0, :3] = np.nan, np.inf, lowest
    dataset = radiograph(PhotometricInterpretation=photometric)
    for absent in ("PixelData", "BitsStored", "HighBit", "PixelRepresentation", also_missing):
        delattr(dataset, absent)
    setattr(dataset, keyword, values.astype(kind).tobytes())
    setattr(dataset, f"{keyword.removesuffix('Data')}PaddingValue", lowest)
    expected = np.clip((RAMP - 3.0) / 4092, 0, 1) * 255
    if photometric == "MONOCHROME1" and also_missing != "PhotometricInterpretation":
        expected = 255 - expected
    shown = grey(written(dataset))
    assert shown[0, 2] == 0
    assert np.abs(shown[0, 3:] - expected[0, 3:]).max() <= 0.6
    assert np.abs(shown[1:] - expected[1:]).max() <= 0.6


@pytest.mark.parametrize("keyword", ["Rows", "Columns", "BitsAllocated"])
def test_attribute_without_a_default_is_named_where_it_is_missing(keyword: str) -> None:
    dataset = radiograph()
    delattr(dataset, keyword)
    with pytest.raises(UnsupportedImage, match=f"does not say its {keyword}"):
        decode(written(dataset))


@pytest.mark.parametrize(
    ("attributes", "reason"),
    [
        ({"BitsAllocated": 12}, "has 12 bits allocated"),
        ({"PhotometricInterpretation": "YBR_PARTIAL_422", "SamplesPerPixel": 3}, r"not read \(YBR_PARTIAL_422\)"),
        ({"PhotometricInterpretation": "HSV", "SamplesPerPixel": 3}, r"not read \(HSV\)"),
        ({"PhotometricInterpretation": "YBR_ICT", "SamplesPerPixel": 3}, r"not read \(YBR_ICT\)"),
        ({"PhotometricInterpretation": "JANE DOE"}, "of a kind that is not read;"),
        ({"PhotometricInterpretation": "RGB"}, "contradicts itself about its colours"),
        ({"PhotometricInterpretation": "MONOCHROME2", "SamplesPerPixel": 3}, "contradicts itself about its colours"),
        ({"PhotometricInterpretation": "RGB", "SamplesPerPixel": 4}, "neither grey nor RGB"),
    ],
)
def test_what_is_not_read_is_refused_by_its_name_and_not_called_damaged(
    attributes: dict[str, Any], reason: str
) -> None:
    with pytest.raises(UnsupportedImage, match=reason):
        decode(written(radiograph(**attributes)))


def test_pixels_cut_short_are_damaged() -> None:
    dataset = radiograph()
    dataset.PixelData = dataset.PixelData[:-64]
    with pytest.raises(DamagedImage):
        decode(written(dataset))


@pytest.mark.parametrize("high", range(11, 16))
@pytest.mark.parametrize("pixels", [RAMP, SIGNED_RAMP], ids=["unsigned", "signed"])
@pytest.mark.parametrize("encoding", ["plain", "RLE"])
def test_value_is_in_the_stored_bits_wherever_they_lie_and_the_rest_is_ignored(
    high: int, pixels: NDArray[Any], encoding: str
) -> None:
    mask = 0xFFF << high - 11 & 0xFFFF
    others = np.random.default_rng(1).integers(0, 1 << 16, pixels.shape) & ~mask
    raw = (pixels.astype(int) << high - 11 & mask | others).astype(np.uint16).view(pixels.dtype)
    dataset = radiograph(raw, HighBit=high, WindowCenter=2048 + int(pixels[0, 0]), WindowWidth=4096)
    if encoding == "RLE":
        dataset.compress(RLELossless, generate_instance_uid=False)
    assert differs(written(dataset), BRIGHTNESS) <= 0.6


@pytest.mark.parametrize(("stored", "high"), [(0, 11), (20, 11), (None, 11), (12, 3), (12, 16), (12, None)])
def test_bits_that_cannot_be_true_count_as_absent(stored: int | None, high: int | None) -> None:
    dataset = radiograph(WindowCenter=2048, WindowWidth=4096)
    dataset.BitsStored, dataset.HighBit = stored, high
    assert differs(written(dataset), BRIGHTNESS) <= 0.6


@pytest.mark.parametrize("name", ["MR_small_jp2klossless.dcm", "MR_small_jpeg_ls_lossless.dcm", "JPGExtended.dcm"])
def test_bits_of_a_compressed_stream_are_its_own(name: str) -> None:
    dataset = parsed(name)
    for keyword in ("BitsAllocated", "BitsStored", "HighBit", "SamplesPerPixel"):
        delattr(dataset, keyword)
    assert np.array_equal(grey(written(dataset)), grey(shipped(name)))


def test_422_that_leaves_no_sample_out_is_read_as_full() -> None:
    dataset = parsed("SC_ybr_full_uncompressed.dcm")
    expected = decode(written(dataset)).pixels
    dataset.PhotometricInterpretation = "YBR_FULL_422"
    assert np.array_equal(decode(written(dataset)).pixels, expected)


def test_ycbcr_of_16_bits_is_that_of_8() -> None:
    dataset = parsed("SC_ybr_full_uncompressed.dcm")
    expected = decode(written(dataset)).pixels
    wide = np.frombuffer(dataset.PixelData, np.uint8).astype(np.uint16) * 257
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelData = 16, 16, 15, wide.tobytes()
    dataset["PixelData"].VR = "OW"
    assert np.array_equal(decode(written(dataset)).pixels, expected)
