"""Sound JPEG, PNG, BMP, TIFF and WebP files become the right pixels. All are made of one real radiograph."""

import io
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import imagecodecs
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, TiffImagePlugin
from pydicom.data import get_testdata_file
from tests.formats.made_rasters import pngs

from heatdrop.errors import RejectedImage, UnsupportedImage
from heatdrop.images import DecodedImage, Limits, decode, resize
from heatdrop.images.tones import stretch

Pixels = NDArray[np.uint8]
ORIENTATION = 0x0112


def radiograph_file(name: str) -> bytes:
    """Read a DICOM that pydicom or pydicom-data ships; nothing is downloaded."""
    path = get_testdata_file(name, download=False)
    assert isinstance(path, str), f"{name} is not installed"
    return Path(path).read_bytes()


@pytest.fixture(scope="module")
def radiograph() -> Pixels:
    return decode(radiograph_file("RG1_UNCI.dcm")).pixels


@pytest.fixture(scope="module")
def colour(radiograph: Pixels) -> Pixels:
    """A small picture with three different channels, no two sides or quarters of which are alike."""
    small = resize(radiograph, (120, 90))
    return np.ascontiguousarray(np.dstack([small[..., 0], small[::-1, :, 0], small[:, ::-1, 0] // 2]))


@pytest.fixture(scope="module")
def grey(colour: Pixels) -> Pixels:
    return np.ascontiguousarray(colour[..., 0])


def encode(picture: Image.Image, format_: str, **options: object) -> bytes:
    stream = io.BytesIO()
    picture.save(stream, format_, **options)
    return stream.getvalue()


def encode_cv2(suffix: str, pixels: NDArray[Any]) -> bytes:
    return cv2.imencode(suffix, pixels)[1].tobytes()


def assert_same(actual: DecodedImage, expected: NDArray[Any], tolerance: float = 0.0) -> None:
    expected = np.dstack([expected] * 3) if expected.ndim == 2 else expected
    assert actual.pixels.dtype == np.uint8
    assert actual.pixels.shape == expected.shape
    assert (actual.height, actual.width) == expected.shape[:2]
    difference = np.abs(actual.pixels.astype(np.float64) - expected)
    assert difference.mean() <= tolerance if tolerance > 1 else difference.max() <= tolerance


LOSSLESS = ("PNG", "BMP", "TIFF", "WEBP")


@pytest.mark.parametrize("format_", LOSSLESS)
def test_colour_comes_out_as_it_went_in(colour: Pixels, format_: str) -> None:
    decoded = decode(encode(Image.fromarray(colour), format_, lossless=True))
    assert_same(decoded, colour)
    assert decoded.format.upper() == format_


@pytest.mark.parametrize("format_", LOSSLESS)
def test_grey_becomes_three_equal_channels(grey: Pixels, format_: str) -> None:
    assert_same(decode(encode(Image.fromarray(grey), format_, lossless=True)), grey)


@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
@pytest.mark.parametrize("progressive", [False, True])
def test_jpeg_is_close_to_what_was_encoded(colour: Pixels, mode: str, progressive: bool) -> None:
    picture = Image.fromarray(colour).convert(mode)
    decoded = decode(encode(picture, "JPEG", quality=95, subsampling=0, progressive=progressive))
    assert_same(decoded, np.asarray(picture.convert("RGB")), tolerance=3)
    assert decoded.format == "JPEG"


def test_lossy_webp_is_close_to_what_was_encoded(colour: Pixels) -> None:
    assert_same(decode(encode(Image.fromarray(colour), "WEBP", quality=95)), colour, tolerance=4)


@pytest.mark.parametrize("format_", ["PNG", "BMP", "TIFF"])
def test_palette_is_resolved(colour: Pixels, format_: str) -> None:
    picture = Image.fromarray(colour).quantize(32)
    assert_same(decode(encode(picture, format_)), np.asarray(picture.convert("RGB")))


@pytest.mark.parametrize("format_", ["PNG", "BMP", "TIFF"])
def test_one_bit_becomes_black_and_white(grey: Pixels, format_: str) -> None:
    white = grey > grey.mean()
    assert_same(decode(encode(Image.fromarray(white), format_)), white * 255)


@pytest.mark.parametrize("format_", ["PNG", "WEBP"])
def test_transparency_lies_over_black(colour: Pixels, grey: Pixels, format_: str) -> None:
    picture = Image.fromarray(np.dstack([colour, grey]))
    expected = np.rint(colour * (grey[..., None] / 255))
    assert_same(decode(encode(picture, format_, lossless=True, exact=True)), expected, tolerance=1)


def test_transparent_tiff_lies_over_black(colour: Pixels, grey: Pixels) -> None:
    expected = np.rint(colour * (grey[..., None] / 255))
    assert_same(decode(encode(Image.fromarray(np.dstack([colour, grey])), "TIFF")), expected, tolerance=1)


def test_transparent_grey_png_lies_over_black(grey: Pixels) -> None:
    opacity = np.ascontiguousarray(grey[::-1])
    picture = Image.merge("LA", [Image.fromarray(grey), Image.fromarray(opacity)])
    assert_same(decode(encode(picture, "PNG")), np.rint(grey * (opacity / 255)), tolerance=1)


def test_transparent_palette_entry_is_black(colour: Pixels) -> None:
    picture = Image.fromarray(colour).quantize(8)
    expected = np.where(np.asarray(picture)[..., None] == 3, 0, np.asarray(picture.convert("RGB")))
    assert_same(decode(encode(picture, "PNG", transparency=3)), expected)


@pytest.mark.parametrize("bits", [1, 2, 4, 8, 16])
def test_png_of_every_depth_and_colour_type_is_shown_with_what_is_transparent_over_black(bits: int) -> None:
    files = [made for made in pngs() if f" {bits} bit" in made.name]
    assert sum("tRNS" in made.name for made in files) >= 4
    for made in files:
        assert made.shown is not None
        assert_same(decode(made.data), made.shown, tolerance=1)


@pytest.mark.parametrize("format_", ["PNG", "TIFF"])
def test_16_bit_grey_is_stretched_over_its_range(grey: Pixels, format_: str) -> None:
    twelve_bits = grey.astype(np.uint16) * 11 + 700
    low, high = int(grey.min()), int(grey.max())
    expected = (grey.astype(np.float64) - low) / (high - low) * 255
    assert_same(decode(encode(Image.fromarray(twelve_bits), format_)), expected, tolerance=0.51)


@pytest.mark.parametrize("suffix", [".png", ".tiff"])
def test_16_bit_colour_keeps_its_brightness(colour: Pixels, suffix: str) -> None:
    assert_same(decode(encode_cv2(suffix, colour[..., ::-1].astype(np.uint16) * 257)), colour)


def test_16_bit_transparent_png_lies_over_black(colour: Pixels, grey: Pixels) -> None:
    deep = np.dstack([colour[..., ::-1], grey]).astype(np.uint16) * 257
    assert_same(decode(encode_cv2(".png", deep)), np.rint(colour * (grey[..., None] / 255)), tolerance=1)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int32])
def test_wide_tiff_numbers_are_stretched_over_their_range(grey: Pixels, dtype: type) -> None:
    values = grey.astype(np.float64) * 1000 - 90_000
    expected = (grey.astype(np.float64) - grey.min()) / (int(grey.max()) - int(grey.min())) * 255
    data = encode(Image.fromarray(values.astype(dtype)), "TIFF") if dtype != np.float64 else encode_cv2(".tiff", values)
    assert_same(decode(data), expected, tolerance=0.51)


def test_tiff_values_that_are_no_numbers_are_drawn_as_the_least_one(grey: Pixels) -> None:
    values = grey.astype(np.float32)
    values[0, :3] = (np.nan, np.inf, -np.inf)
    pixels = decode(encode(Image.fromarray(values), "TIFF")).pixels
    assert pixels[0, :3].max() == 0
    assert pixels.max() == 255


def test_a_picture_of_one_value_is_black_rather_than_an_error() -> None:
    assert decode(encode(Image.fromarray(np.full((8, 9), 4000, np.uint16)), "PNG")).pixels.max() == 0


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_tiff_in_which_zero_is_white_is_inverted(grey: Pixels, dtype: type) -> None:
    spread = stretch(grey)
    inverted: NDArray[Any] = (255 - spread).astype(dtype) * (257 if dtype is np.uint16 else 1)
    stored = bytearray(encode(Image.fromarray(inverted), "TIFF"))
    black_is_zero = struct.pack("<HHIHH", TiffImagePlugin.PHOTOMETRIC_INTERPRETATION, 3, 1, 1, 0)
    assert stored.count(black_is_zero) == 1
    white_is_zero = struct.pack("<HHIHH", TiffImagePlugin.PHOTOMETRIC_INTERPRETATION, 3, 1, 0, 0)
    assert_same(decode(bytes(stored).replace(black_is_zero, white_is_zero)), spread, tolerance=1)


@pytest.mark.parametrize("compression", ["tiff_lzw", "tiff_adobe_deflate", "packbits"])
@pytest.mark.parametrize("big", [False, True])
def test_compressed_tiff_comes_out_as_it_went_in(colour: Pixels, compression: str, big: bool) -> None:
    assert_same(decode(encode(Image.fromarray(colour), "TIFF", compression=compression, big_tiff=big)), colour)


UPRIGHT: dict[int, Callable[[Pixels], Pixels]] = {
    1: lambda p: p,
    2: lambda p: p[:, ::-1],
    3: lambda p: p[::-1, ::-1],
    4: lambda p: p[::-1],
    5: lambda p: p.transpose(1, 0, 2),
    6: lambda p: np.rot90(p, -1),
    7: lambda p: np.rot90(p, 2).transpose(1, 0, 2),
    8: lambda p: np.rot90(p),
}


@pytest.mark.parametrize("orientation", UPRIGHT)
@pytest.mark.parametrize("format_", ["JPEG", "PNG", "TIFF", "WEBP"])
def test_orientation_is_applied_exactly_once(colour: Pixels, format_: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    every: dict[str, dict[str, Any]] = {"JPEG": {"quality": 95, "subsampling": 0}, "WEBP": {"lossless": True}}
    options = every.get(format_, {})
    data = encode(Image.fromarray(colour), format_, exif=exif, **options)
    assert_same(decode(data), UPRIGHT[orientation](colour), tolerance=3 if format_ == "JPEG" else 0)


@pytest.mark.parametrize("orientation", UPRIGHT)
def test_orientation_of_16_bit_tiff_is_applied_exactly_once(grey: Pixels, orientation: int) -> None:
    spread = stretch(grey)
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    data = encode(Image.fromarray(spread.astype(np.uint16) * 257), "TIFF", exif=exif)
    assert_same(decode(data), UPRIGHT[orientation](np.dstack([spread] * 3)))


@pytest.mark.parametrize(
    "exif", [b"Exif\0\0", b"Exif\0\0II*\0\xff\xff\xff\xff", b"Exif\0\0" + b"MM\0*\0\0\0\x08\xff\xff"]
)
def test_broken_exif_does_not_reject_a_sound_jpeg(colour: Pixels, exif: bytes) -> None:
    assert_same(decode(encode(Image.fromarray(colour), "JPEG", quality=95, exif=exif)), colour, tolerance=4)


@pytest.mark.parametrize(
    ("at_least", "divisor"),
    [
        (None, 1),
        ((224, 224), 8),
        ((244, 230), 8),
        ((245, 224), 4),
        ((500, 400), 2),
        ((1000, 224), 1),
        ((4000, 4000), 1),
    ],
)
def test_large_jpeg_is_decoded_at_the_smallest_size_that_suffices(
    radiograph: Pixels, at_least: tuple[int, int] | None, divisor: int
) -> None:
    decoded = decode(encode(Image.fromarray(radiograph), "JPEG", quality=80), at_least=at_least)
    height, width = radiograph.shape[:2]
    assert decoded.pixels.shape[:2] == (-(-height // divisor), -(-width // divisor))
    assert (decoded.height, decoded.width) == (height, width)


def test_reduction_counts_sides_after_turning(radiograph: Pixels) -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    data = encode(Image.fromarray(radiograph[:1000]), "JPEG", exif=exif)
    decoded = decode(data, at_least=(900, 500))
    assert (decoded.height, decoded.width) == (1841, 1000)
    assert decoded.pixels.shape[:2] == (921, 500)


@pytest.mark.parametrize("name", ["RG1_UNCI.dcm", "RG3_UNCI.dcm"])
@pytest.mark.parametrize("quality", [60, 95])
def test_reduced_jpeg_is_within_3_grey_levels_of_the_full_one(name: str, quality: int) -> None:
    data = encode(Image.fromarray(decode(radiograph_file(name)).pixels), "JPEG", quality=quality)
    full = resize(decode(data).pixels, (224, 224)).astype(np.int16)
    reduced = resize(decode(data, at_least=(224, 224)).pixels, (224, 224)).astype(np.int16)
    assert np.abs(full - reduced).mean() < 3


def test_shrinking_averages_as_opencv_area_does(radiograph: Pixels) -> None:
    expected = cv2.resize(radiograph, (224, 224), interpolation=cv2.INTER_AREA)
    assert np.array_equal(resize(radiograph, (224, 224)), expected)


def test_growing_interpolates(colour: Pixels) -> None:
    expected = cv2.resize(colour, (300, 260), interpolation=cv2.INTER_LINEAR)
    assert np.array_equal(resize(colour, (260, 300)), expected)


def test_a_side_that_shrinks_is_averaged_although_the_other_grows() -> None:
    stripes = np.zeros((50, 1000, 3), np.uint8)
    stripes[:, ::2] = 255
    assert np.ptp(resize(stripes, (100, 100))) <= 1


def test_resize_to_the_same_size_changes_nothing(colour: Pixels) -> None:
    assert np.array_equal(resize(colour, (120, 90)), colour)


@pytest.mark.parametrize("format_", ["PNG", "WEBP"])
def test_animation_is_unsupported(grey: Pixels, format_: str) -> None:
    frames = [Image.fromarray(grey), Image.fromarray(255 - grey)]
    with pytest.raises(UnsupportedImage, match="animation"):
        decode(encode(frames[0], format_, save_all=True, append_images=frames[1:]))


def test_tiff_of_several_pages_is_unsupported(grey: Pixels) -> None:
    pages = [Image.fromarray(grey), Image.fromarray(255 - grey)]
    with pytest.raises(UnsupportedImage, match="pages"):
        decode(encode(pages[0], "TIFF", save_all=True, append_images=pages[1:]))


def test_12_bit_jpeg_is_unsupported(grey: Pixels) -> None:
    data = bytearray(encode(Image.fromarray(grey), "JPEG"))
    data[data.index(b"\xff\xc0") + 4] = 12
    with pytest.raises(UnsupportedImage, match="12 bits"):
        decode(bytes(data))


@pytest.mark.parametrize(
    ("encode_so", "words"), [(imagecodecs.ljpeg_encode, "lossless"), (imagecodecs.jpegls_encode, "JPEG-LS")]
)
def test_jpeg_that_is_coded_in_another_way_is_unsupported(grey: Pixels, encode_so: Any, words: str) -> None:
    with pytest.raises(UnsupportedImage, match=words):
        decode(bytes(encode_so(grey)))


@pytest.mark.parametrize("format_", ["JPEG", "PNG", "BMP", "TIFF", "WEBP"])
def test_bytes_behind_the_end_are_ignored(colour: Pixels, format_: str) -> None:
    data = encode(Image.fromarray(colour), format_)
    assert np.array_equal(decode(data + b"\xff\xd8\xff garbage" * 9).pixels, decode(data).pixels)


def test_limits_are_settings(grey: Pixels) -> None:
    data = encode(Image.fromarray(grey), "PNG")
    assert decode(data, limits=Limits(max_bytes=len(data), max_pixels=grey.size)).width == 90
    for limits in (Limits(max_bytes=len(data) - 1), Limits(max_pixels=grey.size - 1)):
        with pytest.raises(RejectedImage, match="limit"):
            decode(data, limits=limits)


def test_importing_loads_neither_pydicom_nor_tifffile() -> None:
    late = "{'pydicom', 'tifffile', 'imagecodecs', 'PIL', 'tensorflow', 'boto3'}"
    script = f"import sys, heatdrop.images; print({late} & sys.modules.keys())"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
