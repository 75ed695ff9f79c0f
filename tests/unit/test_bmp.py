"""BMP of every header, depth, set of masks and direction."""

import struct

import numpy as np
import pytest
from tests.formats.made_rasters import (
    BMP_HEADERS,
    GREY,
    HEIGHT,
    MASKS_32,
    PICTURE,
    RGB,
    WIDTH,
    Made,
    bmp,
    bmp_rows,
    bmps,
    masked,
    rle,
)

from heatdrop.errors import DamagedImage, UnsupportedImage
from heatdrop.images import decode

ALL = [made for made in bmps() if made.shown is not None]
WORDS, _ = masked(PICTURE, MASKS_32["BGRX"], 32)


def assert_shown(made: Made) -> None:
    shown = decode(made.data).pixels
    assert shown.shape == made.shown.shape, made.name
    assert np.abs(shown.astype(int) - made.shown).max() <= 1, made.name


@pytest.mark.parametrize("header", BMP_HEADERS)
@pytest.mark.parametrize("kind", ["1 bit", "2 bit", "4 bit", "8 bit", "16 bit", "24 bit", "32 bit", "RLE4", "RLE8"])
def test_every_header_shows_every_depth_with_every_set_of_masks_from_top_and_bottom(header: int, kind: str) -> None:
    files = [made for made in ALL if f"header {header}" in made.name and made.name.startswith(f"BMP {kind}")]
    assert files or (kind.startswith("RLE") and header in (12, 16, 64))
    for made in files:
        assert_shown(made)


@pytest.mark.parametrize("fourth", [0, 77, 255])
@pytest.mark.parametrize("masks", [None, MASKS_32["BGRX"]])
@pytest.mark.parametrize("header", [40, 52, 56, 108, 124])
def test_a_fourth_byte_that_no_mask_names_is_not_an_opacity(
    fourth: int, masks: tuple[int, int, int, int] | None, header: int
) -> None:
    body = bmp_rows((WORDS | np.uint32(fourth << 24)).astype("<u4"), 32)
    assert_shown(Made("", bmp(body, 32, header=header, masks=masks), RGB))


@pytest.mark.parametrize("header", [40, 56, 108, 124])
def test_an_opacity_that_is_0_everywhere_is_a_byte_that_nobody_wrote(header: int) -> None:
    assert_shown(Made("", bmp(bmp_rows(WORDS, 32), 32, header=header, masks=MASKS_32["BGRA"]), RGB))


def palette_of(count: int) -> np.ndarray:
    return np.random.default_rng(count).integers(0, 256, (count, 3), dtype=np.uint8)


@pytest.mark.parametrize("header", [12, 40, 64, 124])
def test_a_palette_shorter_than_the_depth_allows_is_as_long_as_the_file_says(header: int) -> None:
    palette = palette_of(100)
    index = GREY // 3
    assert_shown(Made("", bmp(bmp_rows(index, 8), 8, header=header, palette=palette), palette[index]))


@pytest.mark.parametrize("start", [0, 54])
def test_pixels_that_are_said_to_begin_where_the_palette_does_begin_behind_it(start: int) -> None:
    palette = palette_of(252)
    index = GREY % 252
    data = bytearray(bmp(bmp_rows(index, 8), 8, palette=palette))
    struct.pack_into("<I", data, 10, start)
    assert_shown(Made("", bytes(data), palette[index]))


def test_a_number_beyond_the_palette_is_black() -> None:
    palette = palette_of(10)
    expected = np.where(GREY[..., None] < 10, palette[np.minimum(GREY, 9)], 0)
    assert_shown(Made("", bmp(bmp_rows(GREY, 8), 8, palette=palette), expected))


INDEX = GREY >> 4
SCATTERED = (0x00FF0000, 0x0000F0F0, 0x0000000F, 0)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (bmp(bytes(999), 24, compression=4), "wraps another format"),
        (bmp(bytes(999), 24, compression=5), "wraps another format"),
        (bmp(bytes(999), 1, header=64, compression=3), "compression 3 of OS/2"),
        (bmp(bytes(999), 24, header=64, compression=4), "compression 4 of OS/2"),
        (bmp(bytes(HEIGHT * WIDTH * 8), 64), "64 bits a pixel"),
        (bmp(bytes(999), 3), "3 bits a pixel"),
        (bmp(bytes(999), 8, compression=2), "8 bits a pixel and compression 2"),
        (bmp(rle(INDEX, 4), 4, compression=2, top_down=True), "stored from the top"),
        (bmp(bmp_rows(WORDS, 32), 32, masks=SCATTERED), "scattered"),
    ],
)
def test_what_is_sound_and_not_read_is_named(data: bytes, words: str) -> None:
    with pytest.raises(UnsupportedImage, match=words):
        decode(data)


@pytest.mark.parametrize("header", BMP_HEADERS)
@pytest.mark.parametrize("missing", [1, 3, 1000])
def test_a_cut_bmp_is_damaged_whatever_its_header(header: int, missing: int) -> None:
    with pytest.raises(DamagedImage, match="too early"):
        decode(bmp(bmp_rows(RGB[..., ::-1], 24), 24, header=header)[:-missing])


def test_run_lengths_that_end_too_early_or_run_too_far_are_damaged() -> None:
    for body in (rle(INDEX, 4)[:300], b"\xff\x11" * 2000):
        with pytest.raises(DamagedImage):
            decode(bmp(body, 4, palette=palette_of(16), compression=2))


def test_masks_that_name_no_colour_are_damaged() -> None:
    with pytest.raises(DamagedImage, match="where its colours are"):
        decode(bmp(bmp_rows(WORDS, 32), 32, header=56, masks=(0, 0, 0, 0xFF000000)))
