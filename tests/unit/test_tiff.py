"""TIFF of every kind of sample, layout and page."""

import io
import itertools
import struct
from typing import Any

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray
from tests.formats.made_rasters import (
    ALPHA,
    GREY,
    LAYOUTS,
    RGB,
    colour,
    levels,
    over_black,
    spread,
    tiff_kinds,
    tiff_plain,
    tiff_written,
    tiffs_of_few_or_odd_bits,
)

from heatdrop.errors import DamagedImage, RejectedImage, TooManyPixels, UnsupportedImage
from heatdrop.images import decode

KINDS = {name: (array, shown, options) for name, array, shown, options in tiff_kinds()}
PACKED = list(tiffs_of_few_or_odd_bits())
SAMPLE_FORMAT, SUBFILE, OLD_SUBFILE = 339, 254, 255


def assert_shown(data: bytes, shown: NDArray[Any], tolerance: int = 1) -> None:
    pixels = decode(data).pixels
    assert pixels.shape == shown.shape
    assert np.abs(pixels.astype(int) - shown).max() <= tolerance


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_kind_of_sample_is_shown_in_every_layout_byte_order_and_order_of_planes(kind: str, layout: str) -> None:
    array, shown, options = KINDS[kind]
    planes = ("contig", "separate") if array.ndim == 3 else (None,)
    for plane, (order, big) in itertools.product(planes, (("<", False), (">", True))):
        stored = np.moveaxis(array, -1, 0) if plane == "separate" else array
        more = {"planarconfig": plane} if plane else {}
        assert_shown(tiff_written(stored, byteorder=order, bigtiff=big, **options, **LAYOUTS[layout], **more), shown)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("bits", [1, 2, 4, 6, 10, 12, 14])
def test_bits_that_fill_no_whole_bytes_are_read_in_every_layout(bits: int, layout: str) -> None:
    files = [made for made in PACKED if made.name.startswith(f"TIFF {bits} bit") and layout in made.name]
    assert len(files) >= 4
    for made in files:
        assert_shown(made.data, made.shown)


@pytest.mark.parametrize("compression", ["zlib", "lzw", "packbits", "zstd"])
@pytest.mark.parametrize("predictor", [False, True])
@pytest.mark.parametrize("plane", ["contig", "separate"])
def test_every_compression_is_undone_with_every_predictor_in_strips_and_tiles(
    compression: str, predictor: bool, plane: str
) -> None:
    for kind, layout in itertools.product(["RGB u1", "RGB u2", "RGB f4", "rgb u2 with opacity"], LAYOUTS):
        array, shown, options = KINDS[kind]
        stored = np.moveaxis(array, -1, 0) if plane == "separate" else array
        how = {"compression": compression, "predictor": predictor, "planarconfig": plane}
        assert_shown(tiff_written(stored, **options, **LAYOUTS[layout], **how), shown)


@pytest.mark.parametrize("dtype", ["u1", "u2", "u4"])
@pytest.mark.parametrize("tile", [None, (16, 16)])
def test_samples_of_an_undefined_format_are_unsigned(dtype: str, tile: tuple[int, int] | None) -> None:
    for base in (GREY, RGB):
        deep = (base.astype(np.uint64) * ((2 ** (8 * int(dtype[1])) - 1) // 255)).astype(dtype)
        channels = 1 if base.ndim == 2 else 3
        tags = [(SAMPLE_FORMAT, "H", channels, (4,) * channels if channels > 1 else 4, True)]
        photometric = "rgb" if channels == 3 else "minisblack"
        data = tiff_written(deep, photometric=photometric, tile=tile, extratags=tags)
        assert_shown(data, colour(spread(base) if channels == 1 and dtype != "u1" else base))


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
@pytest.mark.parametrize("white_is_zero", [False, True])
@pytest.mark.parametrize("reversed_bits", [False, True])
def test_few_bits_are_spread_over_8_whichever_end_of_a_byte_they_begin_at(
    bits: int, white_is_zero: bool, reversed_bits: bool
) -> None:
    values = levels(GREY, bits)
    planes = (values[..., None] >> np.arange(bits - 1, -1, -1) & 1).reshape(len(values), -1)
    body = np.packbits(planes, axis=1, bitorder="little" if reversed_bits else "big").tobytes()
    tags = {256: 80, 257: 64, 258: bits, 259: 1, 262: 0 if white_is_zero else 1, 266: 2 if reversed_bits else 1}
    shown = values * 255.0 / (2**bits - 1)
    assert_shown(plain(body, tags), colour(255 - shown if white_is_zero else shown))


def plain(body: bytes, tags: dict[int, int]) -> bytes:
    return tiff_plain([body], {**tags}, rows=tags[257])


def pages(*shown: tuple[NDArray[Any], dict[str, Any]], **options: Any) -> bytes:
    stream = io.BytesIO()
    with tifffile.TiffWriter(stream, **options) as writer:
        for array, more in shown:
            writer.write(array, photometric="rgb" if array.ndim == 3 else "minisblack", metadata=None, **more)
    return stream.getvalue()


SMALL = np.ascontiguousarray(RGB[::4, ::4])
MASK = GREY > 100


@pytest.mark.parametrize("big", [False, True])
@pytest.mark.parametrize(
    "others",
    [
        [(SMALL, {"subfiletype": 1})],
        [(SMALL, {"subfiletype": 1}), (SMALL[::2], {"subfiletype": 1})],
        [(MASK, {"subfiletype": 4})],
        [(MASK[::4], {"subfiletype": 5}), (SMALL, {"subfiletype": 1})],
        [(SMALL, {"extratags": [(OLD_SUBFILE, "H", 1, 2, True)]})],
    ],
)
def test_thumbnails_overviews_and_masks_are_no_further_pages(
    others: list[tuple[Any, dict[str, Any]]], big: bool
) -> None:
    assert_shown(pages((RGB, {}), *others, bigtiff=big), RGB, 0)
    assert_shown(pages(*others, (RGB, {}), bigtiff=big), RGB, 0)


def test_the_picture_may_lie_below_its_thumbnail() -> None:
    data = pages((SMALL, {"subfiletype": 1, "subifds": 2}), (SMALL[::2], {"subfiletype": 1}), (RGB, {}))
    assert_shown(data, RGB, 0)


def test_what_lies_below_a_picture_is_not_looked_at() -> None:
    assert_shown(pages((RGB, {"subifds": 1}), (MASK, {"subfiletype": 1})), RGB, 0)


@pytest.mark.parametrize("kinds", [(0, 0), (2, 2), (0, 1, 0)])
def test_several_full_pages_are_unsupported(kinds: tuple[int, ...]) -> None:
    with pytest.raises(UnsupportedImage, match="several pages"):
        decode(pages(*((RGB, {"subfiletype": kind} if kind else {}) for kind in kinds)))


def test_pages_that_go_round_in_a_circle_are_unsupported() -> None:
    data = bytearray(pages((RGB, {}), (SMALL, {"subfiletype": 1})))
    with tifffile.TiffFile(io.BytesIO(data)) as opened:
        first, second = (page.offset for page in opened.pages)
    (number,) = struct.unpack_from("<H", data, second)
    for target in (first, second):
        struct.pack_into("<I", data, second + 2 + 12 * number, target)
        with pytest.raises(UnsupportedImage, match="without end"):
            decode(bytes(data))


def test_a_second_page_that_lies_behind_the_end_means_that_the_file_was_cut() -> None:
    data = bytearray(pages((RGB, {})))
    (number,) = struct.unpack_from("<H", data, 8)
    struct.pack_into("<I", data, 10 + 12 * number, len(data) + 8)
    with pytest.raises(DamagedImage, match="too early"):
        decode(bytes(data))


@pytest.mark.parametrize("dtype", ["u1", "u2"])
@pytest.mark.parametrize("planes", ["contig", "separate"])
@pytest.mark.parametrize("kinds", [["unspecified"], ["assocalpha"], ["unassalpha"], ["unspecified", "unassalpha"]])
def test_of_extra_samples_only_an_opacity_is_applied(dtype: str, planes: str, kinds: list[str]) -> None:
    scale = 1 if dtype == "u1" else 257
    extra = [ALPHA if kind == "unassalpha" else 255 - ALPHA // 2 for kind in kinds]
    array = (np.dstack([RGB, *extra]).astype(np.uint32) * scale).astype(dtype)
    stored = array if planes == "contig" else np.moveaxis(array, -1, 0)
    data = tiff_written(stored, photometric="rgb", planarconfig=planes, extrasamples=kinds)
    assert_shown(data, over_black(RGB, ALPHA) if "unassalpha" in kinds else RGB)


TAGS = {256: 4, 257: 4, 258: 8, 259: 1, 262: 1, 277: 1}
NOT_READ: dict[str, dict[int, int]] = {
    "colours are CIE L": {262: 8, 277: 3},
    "colours are a colour filter array": {262: 32803},
    "colours are of kind 77": {262: 77},
    "compressed by method 34676": {259: 34676},
    "predictor 9": {317: 9},
    "other inks": {262: 5, 277: 4, 332: 2},
    "samples are of format 5": {339: 5},
    "samples are of format 9": {339: 9},
    "floating-point numbers of 8 bits": {339: 3},
    "signed numbers of 4 bits": {339: 2, 258: 4},
    "of 48 bits a sample": {258: 48},
    "several layers": {32997: 3},
    "with 5 channels": {277: 5},
    "with 2 channels": {262: 2, 277: 2},
    "with a palette and 32 bits": {262: 3, 258: 32},
    "in an unknown order": {284: 7},
    "in YCbCr of 3 channels and 16 bits": {262: 6, 277: 3, 258: 16},
    "in YCbCr compressed by method 50000": {262: 6, 277: 3, 259: 50000},
    "JPEGs of one channel": {262: 6, 277: 3, 259: 7, 284: 2},
}


@pytest.mark.parametrize("words", NOT_READ)
def test_what_is_sound_and_not_read_is_named(words: str) -> None:
    with pytest.raises(UnsupportedImage, match=words):
        decode(plain(bytes(400), {**TAGS, **NOT_READ[words]}))


def test_channels_that_differ_in_bits_are_named() -> None:
    data = bytearray(tiff_written(RGB, photometric="rgb"))
    at = data.index(struct.pack("<3H", 8, 8, 8))
    struct.pack_into("<3H", data, at, 5, 6, 5)
    with pytest.raises(UnsupportedImage, match="differ in bits"):
        decode(bytes(data))


@pytest.mark.parametrize("compression", [None, "zlib", "lzw", "zstd", "jpeg"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_strip_or_tile_that_is_missing_short_or_garbled_is_damaged(compression: str | None, layout: str) -> None:
    data = tiff_written(RGB, photometric="rgb", compression=compression, **LAYOUTS[layout])
    with tifffile.TiffFile(io.BytesIO(data)) as opened:
        page = opened.pages.first
        tag, count = page.tags[273 if "strip" in layout else 324], page.tags[279 if "strip" in layout else 325]
        start, size = page.dataoffsets[0], page.databytecounts[0]
    width = 2 if count.dtype == 3 else 4
    none = data[: tag.valueoffset] + bytes(4) + data[tag.valueoffset + 4 :]
    short = data[: count.valueoffset] + b"\5".ljust(width, b"\0") + data[count.valueoffset + width :]
    broken = [none] if compression is None else [none, short]
    if compression:
        broken.append(data[:start] + bytes(size) + data[start + size :])
    for file in broken:
        with pytest.raises(DamagedImage):
            decode(file)


def test_tags_of_vendors_change_nothing() -> None:
    for tag, type_, value in ((33628, "I", 9), (34412, "I", 9), (65426, "I", 9), (50839, "B", 9), (42113, "B", 9)):
        data = tiff_written(RGB, photometric="rgb", rowsperstrip=7, extratags=[(tag, type_, 1, value, True)])
        assert_shown(data, RGB, 0)


def test_hostile_directories_are_refused_quickly() -> None:
    body = bytes(4_000_000)
    start = 8 + len(body)
    many = b"".join(struct.pack("<HHII", tag, 4, len(body) // 4, 8) for tag in (273, 279, 320, 324, 325, 347))
    size = struct.pack("<HHII", 256, 4, 1, 9000) + struct.pack("<HHII", 257, 4, 1, 9000)
    head = b"II*\0" + struct.pack("<I", start) + body
    for number, entries in ((8, size + many), (60_000, size * 30_000)):
        with pytest.raises(RejectedImage):
            decode(head + struct.pack("<H", number) + entries + bytes(4))
    enormous = {256: 100, 257: 100, 277: 3, 322: 20_000, 323: 20_000, 324: 8, 325: 4}
    with pytest.raises(TooManyPixels, match="tiles"):
        decode(plain(bytes(400), enormous))


def test_samples_that_are_greater_than_their_bits_allow_never_escape() -> None:
    for photometric in (1, 3):
        tags = {258: 4, 262: photometric, 277: 1, 320: tuple(range(48))}
        data = tiff_written(GREY, photometric="minisblack", compression="jpeg")
        with tifffile.TiffFile(io.BytesIO(data)) as opened:
            page = opened.pages.first
            body = data[page.dataoffsets[0] : page.dataoffsets[0] + page.databytecounts[0]]
        assert decode(tiff_plain([body], {**tags, 259: 7})).pixels.shape == RGB.shape
