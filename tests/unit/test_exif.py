"""The orientation is found in an EXIF block, or a TIFF, whose other parts are flawed."""

import io
import struct
from collections.abc import Callable

import numpy as np
import pytest
import tifffile
from PIL import Image
from tests.formats.made_rasters import RGB, png_chunk, turned

from heatdrop.errors import RejectedImage
from heatdrop.images import decode

Block = Callable[[str, int], bytes]
ORIENTATION, SOFTWARE, EXIF_DIRECTORY = 0x0112, 0x0131, 0x8769


def directory(
    order: str, *entries: bytes, count: int | None = None, following: bytes = bytes(4), start: int = 8
) -> bytes:
    mark = b"II*\0" if order == "<" else b"MM\0*"
    number = struct.pack(f"{order}H", len(entries) if count is None else count)
    return mark + struct.pack(f"{order}I", start) + bytes(start - 8) + number + b"".join(entries) + following


def entry(order: str, tag: int, type_: int, count: int, value: bytes) -> bytes:
    return struct.pack(f"{order}HHI", tag, type_, count) + value.ljust(4, b"\0")


def orientation_entry(order: str, value: int, form: str = "H", type_: int = 3) -> bytes:
    return entry(order, ORIENTATION, type_, 1, struct.pack(f"{order}{form}", value))


def far(order: str, tag: int, type_: int = 2) -> bytes:
    """An entry whose value is said to lie far outside."""
    return entry(order, tag, type_, 40_000, struct.pack(f"{order}I", 0x00FFFFF0))


FLAWS: dict[str, Block] = {
    "none": lambda order, value: directory(order, orientation_entry(order, value)),
    "no next directory": lambda order, value: directory(order, orientation_entry(order, value), following=b""),
    "half a next directory": lambda order, value: directory(order, orientation_entry(order, value), following=b"\0\0"),
    "next directory far away": lambda order, value: directory(
        order, orientation_entry(order, value), following=b"\x7f" * 4
    ),
    "too many entries counted": lambda order, value: directory(order, orientation_entry(order, value), count=900),
    "a long": lambda order, value: directory(order, orientation_entry(order, value, "I", 4)),
    "a byte": lambda order, value: directory(order, orientation_entry(order, value, "B", 1)),
    "a signed short": lambda order, value: directory(order, orientation_entry(order, value, "h", 8)),
    "a value outside before it": lambda order, value: directory(
        order, far(order, 0x010F), orientation_entry(order, value)
    ),
    "a value outside behind it": lambda order, value: directory(
        order, orientation_entry(order, value), far(order, SOFTWARE), far(order, EXIF_DIRECTORY, 4)
    ),
    "an unknown type before it": lambda order, value: directory(
        order, entry(order, 0x010E, 99, 7, b"abcd"), orientation_entry(order, value)
    ),
    "garbage behind": lambda order, value: directory(order, orientation_entry(order, value)) + b"\xff\x12garbage" * 50,
    "a gap before": lambda order, value: directory(order, orientation_entry(order, value), start=30),
}
"""What is wrong -> the block of a byte order ("<" or ">") and an orientation."""


def in_jpeg(block: bytes) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(RGB).save(stream, "JPEG", quality=98, subsampling=0, exif=b"Exif\0\0" + block)
    return stream.getvalue()


def in_png(block: bytes) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(RGB).save(stream, "PNG")
    data = stream.getvalue()
    return data[:33] + png_chunk(b"eXIf", block) + data[33:]


def in_webp(block: bytes) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(RGB).save(stream, "WEBP", lossless=True, exif=block)
    return stream.getvalue()


WRAPPERS = {"JPEG": in_jpeg, "PNG": in_png, "WebP": in_webp}


@pytest.mark.parametrize("format_", WRAPPERS)
@pytest.mark.parametrize("flaw", FLAWS)
@pytest.mark.parametrize("order", "<>")
def test_the_orientation_is_found_whatever_else_is_wrong_in_the_block(format_: str, flaw: str, order: str) -> None:
    for value in (1, 6, 8):
        shown = decode(WRAPPERS[format_](FLAWS[flaw](order, value))).pixels
        expected = turned(RGB, value)
        assert shown.shape == expected.shape
        assert np.abs(shown.astype(int) - expected).mean() < 3


@pytest.mark.parametrize("format_", ["PNG", "WebP"])
def test_a_block_that_begins_as_in_a_jpeg_is_read(format_: str) -> None:
    data = WRAPPERS[format_](b"Exif\0\0" + FLAWS["none"]("<", 3))
    np.testing.assert_array_equal(decode(data).pixels, turned(RGB, 3))


@pytest.mark.parametrize("format_", WRAPPERS)
@pytest.mark.parametrize(
    "block",
    [
        b"II",
        b"II*\0\xff\xff\xff\xff",
        b"II*\0\x08\0\0\0",
        b"no EXIF at all, but a text that somebody put there",
        directory("<", orientation_entry("<", 0)),
        directory("<", orientation_entry("<", 9)),
        directory("<", entry("<", ORIENTATION, 2, 1, b"6")),
        directory("<", entry("<", ORIENTATION, 3, 0, b"\6\0")),
        directory("<", entry("<", SOFTWARE, 2, 1, b"x"), following=b"") + orientation_entry("<", 6),
        bytes(60_000),
    ],
)
def test_a_block_without_a_sound_orientation_turns_nothing(format_: str, block: bytes) -> None:
    assert decode(WRAPPERS[format_](block)).pixels.shape == RGB.shape


def test_of_several_blocks_in_a_jpeg_an_empty_one_does_not_undo_the_first() -> None:
    data = in_jpeg(FLAWS["none"]("<", 6))
    empty = b"\xff\xe1" + struct.pack(">H", 16) + b"Exif\0\0" + b"II*\0\x08\0\0\0"
    at = data.index(b"\xff\xdb")
    assert decode(data[:at] + empty + data[at:]).pixels.shape == turned(RGB, 6).shape


@pytest.mark.parametrize("form", ["H", "I", "B", "h"])
@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("big", [False, True])
def test_the_orientation_of_a_tiff_may_be_of_any_type(form: str, order: str, big: bool) -> None:
    for value in (1, 3, 6):
        stream = io.BytesIO()
        tags = [(ORIENTATION, form, 1, value, True)]
        tifffile.imwrite(stream, RGB, byteorder=order, bigtiff=big, extratags=tags, metadata=None)
        np.testing.assert_array_equal(decode(stream.getvalue()).pixels, turned(RGB, value))


@pytest.mark.parametrize("order", "<>")
def test_a_flaw_elsewhere_in_a_tiff_does_not_lose_its_orientation(order: str) -> None:
    stream = io.BytesIO()
    tags = [(ORIENTATION, "H", 1, 6, True), (EXIF_DIRECTORY, "I", 1, 0x00FFFFFF, True)]
    tifffile.imwrite(stream, RGB, byteorder=order, extratags=tags, software="somebody's", metadata=None)
    data = bytearray(stream.getvalue())
    at = data.index(struct.pack(f"{order}HH", SOFTWARE, 2))
    struct.pack_into(f"{order}I", data, at + 8, 0x00FFFFFF)
    for flawed in (bytes(data), bytes(data) + b"II*\0garbage" * 20):
        np.testing.assert_array_equal(decode(flawed).pixels, turned(RGB, 6))


def test_a_flawed_block_never_escapes() -> None:
    random = np.random.default_rng(5)
    sound = FLAWS["a value outside behind it"]("<", 6)
    for _ in range(300):
        block = bytearray(sound)
        for at in random.integers(len(block), size=3):
            block[at] = random.integers(256)
        try:
            assert decode(in_webp(bytes(block))).pixels.size == RGB.size
        except RejectedImage as error:
            pytest.fail(f"a flaw in EXIF rejects the picture: {error}")
