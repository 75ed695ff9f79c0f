"""DICOM in JPEG 2000 is decoded at a lower resolution where that shows the same as the whole picture, else whole."""

from functools import lru_cache
from typing import Any

import cv2
import imagecodecs
import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.uid import JPEG2000, JPEG2000Lossless
from tests.unit.dicom_files import parsed, radiograph, shipped, table, written

from heatdrop.errors import DamagedImage
from heatdrop.images import DecodedImage, decode, resize

SIDE = 64
AT_LEAST = (SIDE, SIDE)
SMOOTH = cv2.GaussianBlur(np.random.default_rng(1).integers(0, 4096, (601, 523)).astype(np.float32), (0, 0), 20)
SMOOTH = cv2.normalize(SMOOTH, None, 200, 3900, cv2.NORM_MINMAX).astype(np.uint16)
"""Soft clouds of 12 bits, of odd size."""
WINDOW = {"WindowCenter": 2048, "WindowWidth": 4096}


def compressed(dataset: Dataset, *, lossless: bool = True) -> bytes:
    if lossless:
        dataset.compress(JPEG2000Lossless, generate_instance_uid=False)
    else:
        dataset.compress(JPEG2000, j2k_psnr=[60], generate_instance_uid=False)
    return written(dataset)


def made(pixels: NDArray[Any] = SMOOTH, *, lossless: bool = True, **attributes: Any) -> bytes:
    return compressed(radiograph(pixels, **attributes), lossless=lossless)


whole = lru_cache(maxsize=4)(decode)


def difference(data: bytes, at_least: tuple[int, int]) -> tuple[DecodedImage, int]:
    """The picture as it is decoded for a size, and by how much it differs from the whole one at that size."""
    image, all_ = decode(data, at_least=at_least), whole(data)
    assert (image.height, image.width) == (all_.height, all_.width) == all_.pixels.shape[:2]
    assert image.pixels.shape[0] >= at_least[0]
    assert image.pixels.shape[1] >= at_least[1]
    return image, int(cv2.absdiff(resize(image.pixels, at_least), resize(all_.pixels, at_least)).max())


def assert_reduced(data: bytes, at_least: tuple[int, int] = AT_LEAST) -> None:
    image, difference_ = difference(data, at_least)
    assert image.pixels.shape[0] < image.height
    assert image.pixels.shape[1] < image.width
    assert difference_ <= 3


def assert_whole(data: bytes, at_least: tuple[int, int] = AT_LEAST) -> None:
    assert np.array_equal(decode(data, at_least=at_least).pixels, decode(data).pixels)


@pytest.mark.parametrize("side", [64, 160, 224])
@pytest.mark.parametrize("name", ["RG1_J2KR.dcm", "RG1_J2KI.dcm", "RG3_J2KR.dcm"])
def test_real_radiographs_differ_by_three_grey_levels_at_most(name: str, side: int) -> None:
    _, difference_ = difference(shipped(name), (side, side))
    assert difference_ <= 3


def test_a_radiograph_for_a_small_model_is_decoded_at_a_quarter_of_each_side() -> None:
    # One codestream of a quarter, with each pixel put in its place at twice that size.
    assert decode(shipped("RG1_J2KR.dcm"), at_least=(160, 160)).pixels.shape == (976, 920, 3)


@pytest.mark.parametrize("lossless", [True, False])
@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
@pytest.mark.parametrize(
    "pixels", [SMOOTH, (SMOOTH.astype(np.int16) - 2048).astype(np.int16)], ids=["unsigned", "signed"]
)
def test_grey_of_every_kind(pixels: NDArray[Any], photometric: str, lossless: bool) -> None:
    center = 0 if pixels.dtype == np.int16 else 2048
    data = made(pixels, lossless=lossless, PhotometricInterpretation=photometric, WindowCenter=center, WindowWidth=4096)
    assert_reduced(data)
    # The middle of the picture is shown as it is, not only like the whole one.
    brightness = np.clip((pixels - float(center) + 0.5) / 4095 + 0.5, 0, 1) * 255
    expected = 255 - brightness if photometric == "MONOCHROME1" else brightness
    seen = resize(decode(data, at_least=AT_LEAST).pixels, AT_LEAST)[..., 0]
    assert np.abs(seen - cv2.resize(expected, AT_LEAST, interpolation=cv2.INTER_AREA)).max() <= 3


def test_colour() -> None:
    rgb = np.dstack([SMOOTH >> 4, SMOOTH[::-1] >> 4, SMOOTH[:, ::-1] >> 5]).astype(np.uint8)
    dataset = radiograph(rgb[..., 0], 8, SamplesPerPixel=3, PhotometricInterpretation="RGB", PlanarConfiguration=0)
    dataset.PixelData = rgb.tobytes()
    assert_reduced(compressed(dataset))


@pytest.mark.parametrize(
    "attributes",
    [
        {"WindowCenter": 2000, "WindowWidth": 3000},
        {"WindowCenter": 2000, "WindowWidth": 3000, "VOILUTFunction": "SIGMOID"},
        {"RescaleSlope": 2, "RescaleIntercept": -1000, "WindowCenter": 3000, "WindowWidth": 8192},
        {"VOILUTSequence": [table((np.linspace(0, 1, 4096) ** 2 * 4095).astype(int), 12)]},
        {"ModalityLUTSequence": [table(np.arange(4096)[::-1], 12)], **WINDOW},
    ],
    ids=["window", "sigmoid", "slope and intercept", "VOI table", "modality table"],
)
def test_it_is_shown_by_its_windows_and_tables(attributes: dict[str, Any]) -> None:
    assert_reduced(made(**attributes))


@pytest.mark.parametrize(
    "attributes",
    [
        {},  # from its least to its greatest value, which only the whole picture has
        {"PixelPaddingValue": 0, **WINDOW},
        {"WindowCenter": 2000, "WindowWidth": 20},
        {"VOILUTSequence": [table((np.arange(4096) % 2) * 4095, 12)]},
    ],
    ids=["stretched", "padding", "narrow window", "rough table"],
)
def test_what_averages_do_not_show_is_decoded_whole(attributes: dict[str, Any]) -> None:
    assert_whole(made(**attributes))


def palette() -> bytes:
    dataset = radiograph((SMOOTH >> 4).astype(np.uint8), 8, PhotometricInterpretation="PALETTE COLOR")
    for colour in ("Red", "Green", "Blue"):
        dataset.add_new(f"{colour}PaletteColorLookupTableDescriptor", "US", [256, 0, 16])
        dataset.add_new(f"{colour}PaletteColorLookupTableData", "OW", np.arange(0, 1 << 16, 256, np.uint16).tobytes())
    return compressed(dataset)


def test_a_palette_is_decoded_whole() -> None:
    assert_whole(palette())


def noise() -> NDArray[np.uint16]:
    return np.clip(SMOOTH + np.random.default_rng(2).normal(0, 300, SMOOTH.shape), 0, 4095).astype(np.uint16)


def text() -> NDArray[np.uint16]:
    drawn = np.zeros(SMOOTH.shape, np.uint8)
    for row in range(20, 600, 20):
        cv2.putText(drawn, "L 12:34 CHEST AP 1 2 3 4", (5, row), cv2.FONT_HERSHEY_SIMPLEX, 0.5, 255, 1)
    return np.where(drawn > 0, 4095, SMOOTH).astype(np.uint16)


def edge() -> NDArray[np.uint16]:
    collimated = SMOOTH.copy()
    collimated[:, :301], collimated[:207] = 0, 0
    return collimated


@pytest.mark.parametrize("pixels", [noise(), text(), edge()], ids=["noise", "text", "edge"])
@pytest.mark.parametrize("width", [4096, 1000])
def test_noise_text_and_edges_never_differ_more(pixels: NDArray[np.uint16], width: int) -> None:
    for side in (40, 64, 85):
        assert difference(made(pixels, WindowCenter=2048, WindowWidth=width), (side, side))[1] <= 3


@pytest.mark.parametrize("at_least", [(160, 64), (64, 160), (600, 500), (2000, 2000)])
def test_a_picture_that_is_not_much_larger_is_decoded_whole(at_least: tuple[int, int]) -> None:
    data = made(**WINDOW)
    assert np.array_equal(decode(data, at_least=at_least).pixels, decode(data).pixels)


def test_bits_that_are_not_the_pictures_are_left_out_first() -> None:
    """Old files hold overlays above the stored bits."""
    with_overlay = SMOOTH | (np.indices(SMOOTH.shape).sum(axis=0) % 2 << 12).astype(np.uint16)
    dataset = radiograph(with_overlay, 16, **WINDOW)
    dataset.compress(JPEG2000Lossless, generate_instance_uid=False)
    dataset.BitsStored, dataset.HighBit = 12, 11
    assert_whole(written(dataset))


def test_a_sign_that_the_data_do_not_have_is_decoded_whole() -> None:
    assert_whole(shipped("J2K_pixelrep_mismatch.dcm"))


def test_one_within_a_jp2_file_is_decoded_whole() -> None:
    dataset = radiograph(SMOOTH, **WINDOW)
    boxed = imagecodecs.jpeg2k_encode(SMOOTH, codecformat="jp2", level=0, reversible=True, bitspersample=12)
    dataset.PixelData = encapsulate([boxed], has_bot=False)
    dataset.file_meta.TransferSyntaxUID = JPEG2000Lossless
    assert_whole(written(dataset))


def test_one_that_is_cut_short_is_refused_as_ever() -> None:
    dataset = parsed("RG3_J2KR.dcm")
    dataset.PixelData = dataset.PixelData[: len(dataset.PixelData) // 2]
    for at_least in (None, (160, 160)):
        with pytest.raises(DamagedImage):
            decode(written(dataset), at_least=at_least)
