"""Whatever bytes arrive, decoding gives a picture or a typed rejection with a sentence, quickly, and nothing else."""

import io
import struct
import time
import tracemalloc
import zlib
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image
from pydicom.data import get_testdata_file
from tests.formats.made_rasters import MASKS_16, bmp, bmp_rows, packed, rle, tiff_plain, tiff_written

from heatdrop.errors import (
    DamagedImage,
    EmptyFile,
    FileTooLarge,
    RejectedImage,
    TooManyPixels,
    UnknownFormat,
    UnsupportedImage,
)
from heatdrop.images import Limits, decode, resize

MUTATIONS = 300


def shipped(name: str) -> bytes:
    path = get_testdata_file(name, download=False)
    assert isinstance(path, str), f"{name} is not installed"
    return Path(path).read_bytes()


def encode(pixels: NDArray[np.generic], format_: str, **options: object) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, format_, **options)
    return stream.getvalue()


TWELVE_BITS = {258: 12, 262: 1, 277: 1, 278: 150}


def make_corpus() -> dict[str, bytes]:
    colour = resize(decode(shipped("RG3_J2KI.dcm")).pixels, (150, 110))
    grey = np.ascontiguousarray(colour[..., 0])
    exif = Image.Exif()
    exif[0x0112] = 6
    return {
        "JPEG": encode(colour, "JPEG", exif=exif),
        "JPEG progressive": encode(colour, "JPEG", progressive=True),
        "JPEG with restarts": encode(grey, "JPEG", restart_marker_rows=1),
        "PNG": encode(colour, "PNG"),
        "PNG 16 bit": encode(grey.astype(np.uint16) * 16, "PNG"),
        "BMP": encode(colour, "BMP"),
        "BMP palette": encode(grey, "BMP"),
        "TIFF": encode(colour, "TIFF", exif=exif),
        "TIFF LZW": encode(grey, "TIFF", compression="tiff_lzw"),
        "TIFF deflate": encode(colour, "TIFF", compression="tiff_adobe_deflate"),
        "TIFF JPEG": encode(grey, "TIFF", compression="jpeg"),
        "TIFF float": encode(grey.astype(np.float32), "TIFF"),
        "TIFF tiles": tiff_written(
            np.moveaxis(colour, -1, 0).astype(np.uint16) * 257,
            photometric="rgb",
            planarconfig="separate",
            tile=(48, 64),
            compression="lzw",
            predictor=2,
        ),
        "TIFF 12 bit": tiff_plain([packed(grey.astype(np.uint16) * 16, 12)], {**TWELVE_BITS, 256: 110, 257: 150}),
        "BMP 565": bmp(bmp_rows(grey.astype("<u2") * 257, 16), 16, header=124, masks=MASKS_16["565"], size=(150, 110)),
        "BMP RLE": bmp(rle(grey, 8), 8, palette=colour[0], compression=1, size=(150, 110)),
        "WebP": encode(colour, "WEBP"),
        "WebP extended": encode(np.dstack([colour, grey]), "WEBP", lossless=True, exif=exif),
        "DICOM": shipped("MR_small_implicit.dcm"),
        "DICOM JPEG": shipped("SC_rgb_jpeg.dcm"),
        "DICOM JPEG lossless": shipped("JPGExtended.dcm"),
        "DICOM JPEG-LS": shipped("MR_small_jpeg_ls_lossless.dcm"),
        "DICOM JPEG 2000": shipped("MR_small_jp2klossless.dcm"),
        "DICOM RLE": shipped("MR_small_RLE.dcm"),
        "DICOM deflated": shipped("image_dfl.dcm"),
    }


CORPUS = make_corpus()
every_format = pytest.mark.parametrize("kind", CORPUS)


@every_format
def test_the_corpus_is_sound(kind: str) -> None:
    assert decode(CORPUS[kind]).pixels.ndim == 3


@every_format
@pytest.mark.parametrize("tenths", range(1, 10))
def test_file_cut_at_every_tenth_is_damaged(kind: str, tenths: int) -> None:
    data = CORPUS[kind]
    with pytest.raises(RejectedImage) as caught:
        decode(data[: len(data) * tenths // 10])
    assert isinstance(caught.value, DamagedImage | UnsupportedImage)


@pytest.mark.parametrize("kind", [kind for kind in CORPUS if not kind.startswith("DICOM ")])
def test_file_that_lacks_its_last_bytes_is_damaged(kind: str) -> None:
    for missing in range(1, 21):
        with pytest.raises(DamagedImage):
            decode(CORPUS[kind][:-missing])


def test_cut_jpeg_says_so_and_what_to_do() -> None:
    with pytest.raises(
        DamagedImage, match="before its last scan line: the upload was probably cut short; upload it again"
    ):
        decode(CORPUS["JPEG"][:-100])


JPEGS = [kind for kind in CORPUS if kind.startswith("JPEG")]


@pytest.mark.parametrize("kind", JPEGS)
@pytest.mark.parametrize(
    "behind", [b"", b"\xff", b"\xff\xff\xff", bytes(300), b"a text " * 50, b"\xff\xd8\xff\xe0 another"]
)
def test_jpeg_that_lacks_only_its_end_marker_is_not_said_to_lack_scan_lines(kind: str, behind: bytes) -> None:
    with pytest.raises(DamagedImage, match="has all its scan lines but no end marker"):
        decode(CORPUS[kind][:-2] + behind)


@pytest.mark.parametrize("kind", JPEGS)
@pytest.mark.parametrize("missing", [3, 4, 5, 10, 30, 300])
def test_jpeg_that_lacks_more_is_said_to_lack_scan_lines(kind: str, missing: int) -> None:
    for behind in (b"", CORPUS["JPEG"]):
        with pytest.raises(DamagedImage, match="ends before its last scan line"):
            decode(CORPUS[kind][:-missing] + behind)


def test_progressive_jpeg_cut_between_two_scans_is_said_to_lack_scan_lines() -> None:
    data = CORPUS["JPEG progressive"]
    tables_or_scan = data.rindex(b"\xff\xda")
    for cut in (tables_or_scan, data.rindex(b"\xff\xda", 0, tables_or_scan)):
        with pytest.raises(DamagedImage, match="ends before its last scan line"):
            decode(data[:cut])


def test_thumbnail_in_a_jpeg_does_not_pass_for_its_end() -> None:
    whole = CORPUS["JPEG"]
    thumbnail = b"Exif\0\0" + whole
    data = whole[:2] + b"\xff\xe1" + struct.pack(">H", len(thumbnail) + 2) + thumbnail + whole[2:]
    decode(data)
    with pytest.raises(DamagedImage):
        decode(data[:-1000])


@every_format
def test_flipped_bits_and_replaced_bytes_never_escape(kind: str) -> None:
    outcomes: Counter[str] = Counter()
    for seed in range(MUTATIONS):
        mutant = mutate(CORPUS[kind], seed)
        began = time.process_time()  # of this process alone, whatever else the machine does
        outcomes[outcome(mutant)] += 1
        assert time.process_time() - began < 5
    assert outcomes["rejected"] > 0
    assert outcomes.keys() <= {"rejected", "picture"}


def outcome(data: bytes) -> str:
    """What becomes of a file: "picture", "rejected", or what is wrong with the answer."""
    try:
        pixels = decode(data).pixels
    except RejectedImage as error:
        return "rejected" if str(error).endswith(".") else f"not a sentence: {error}"
    return "picture" if pixels.ndim == 3 and pixels.dtype == np.uint8 else f"{pixels.dtype} {pixels.shape}"


def mutate(data: bytes, seed: int) -> bytes:
    """Flip a few bits anywhere, replace a few bytes of the header, or replace a piece by one of another length."""
    random = np.random.default_rng(seed)
    mutant = bytearray(data)
    if seed % 3 == 0:
        for at in random.integers(len(mutant), size=random.integers(1, 8)):
            mutant[at] ^= 1 << random.integers(8)
    elif seed % 3 == 1:
        for at in random.integers(min(len(mutant), 700), size=random.integers(1, 8)):
            mutant[at] = int(random.integers(256))
    else:
        at = random.integers(len(mutant))
        mutant[at : at + random.integers(1, 50)] = random.bytes(int(random.integers(0, 50)))
    return bytes(mutant)


STARTS = [
    *(
        b"",
        b"\xff\xd8\xff",
        b"\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR",
        b"II*\0\x08\0\0\0",
        b"MM\0*\0\0\0\x08",
        b"II+\0\x08\0\0\0",
    ),
    *(b"RIFF\x40\0\0\0WEBPVP8X", b"BM\0\0\0\0\0\0\0\0\x36\0\0\0\x28\0\0\0", bytes(128) + b"DICM\x02\0\x10\0UI"),
    b"\x08\0\x05\0CS",
]


@settings(max_examples=300, deadline=None, derandomize=True)
@given(st.sampled_from(STARTS), st.binary(max_size=300))
def test_any_bytes_behind_a_known_start_never_escape(start: bytes, rest: bytes) -> None:
    assert outcome(start + rest) in {"rejected", "picture"}


@pytest.mark.parametrize("length", range(1, 24))
def test_files_of_a_few_bytes_are_rejected(length: int) -> None:
    for data in CORPUS.values():
        with pytest.raises(RejectedImage):
            decode(data[:length])


def test_empty_file_is_named() -> None:
    with pytest.raises(EmptyFile, match="0 bytes"):
        decode(b"")


@pytest.mark.parametrize(
    "data",
    [
        b"name,label\nperson1.jpeg,normal\n" * 50,
        b"%PDF-1.7\n" + bytes(300),
        b"GIF89a" + bytes(300),
        b"PK\x03\x04" + bytes(300),
        b"BMW is a car maker, and this is a text about it.",
        bytes(500),
    ],
)
def test_other_files_are_an_unknown_format(data: bytes) -> None:
    with pytest.raises(UnknownFormat, match="upload one of these"):
        decode(data)


def test_too_large_a_file_is_refused_before_it_is_looked_at() -> None:
    with pytest.raises(FileTooLarge, match=r"0\.6 MB, more than the limit of 0\.5 MB"):
        decode(bytes(600_000), limits=Limits(max_bytes=500_000))


def png(width: int, height: int) -> bytes:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(bytes(10_000))) + chunk(b"IEND", b"")


def tiff(width: int, height: int, **more: int) -> bytes:
    tags = {256: width, 257: height, 258: 8, 262: 1, 273: 8, 277: 1, 278: height, 279: 4}
    tags.update({int(tag.removeprefix("tag")): value for tag, value in more.items()})
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in sorted(tags.items()))
    return b"II*\0" + struct.pack("<IIH", 12, 0, len(tags)) + entries + bytes(4)


def webp(width: int, height: int) -> bytes:
    lossless = b"\x2f" + struct.pack("<I", (width - 1) | (height - 1) << 14) + bytes(40)
    body = b"WEBPVP8L" + struct.pack("<I", len(lossless)) + lossless + bytes(len(lossless) % 2)
    return b"RIFF" + struct.pack("<I", len(body)) + body


def extended_webp(width: int, height: int) -> bytes:
    canvas = bytes(4) + (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    body = b"WEBPVP8X" + struct.pack("<I", len(canvas)) + canvas
    return b"RIFF" + struct.pack("<I", len(body)) + body


def simple_bmp(width: int, height: int) -> bytes:
    return b"BM" + struct.pack("<IIIIiiHHIIIIII", 100, 0, 54, 40, width, height, 1, 24, 0, 0, 0, 0, 0, 0) + bytes(46)


def jpeg(width: int, height: int) -> bytes:
    data = bytearray(CORPUS["JPEG progressive"])
    struct.pack_into(">HH", data, data.index(b"\xff\xc2") + 5, height, width)
    return bytes(data)


def dicom(width: int, height: int) -> bytes:
    size = struct.pack("<HHIHHHIH", 0x28, 0x10, 2, 64, 0x28, 0x11, 2, 64)
    data = shipped("MR_small_implicit.dcm")
    assert data.count(size) == 1
    return data.replace(size, struct.pack("<HHIHHHIH", 0x28, 0x10, 2, height, 0x28, 0x11, 2, width))


@pytest.mark.timed
@pytest.mark.parametrize(
    ("bomb", "size"),
    [
        *((png, 60_000), (tiff, 60_000), (extended_webp, 60_000), (webp, 16_384), (simple_bmp, 60_000), (jpeg, 60_000)),
        *((dicom, 60_000), (png, 2**31 - 1), (tiff, 2**32 - 1), (simple_bmp, 2**31 - 1)),
    ],
)
def test_bomb_is_refused_by_its_header(bomb: Callable[[int, int], bytes], size: int) -> None:
    data = bomb(size, size)
    decode(CORPUS["DICOM"])
    tracemalloc.start()
    began = time.perf_counter()
    with pytest.raises(TooManyPixels, match=f"{size} x {size} pixels"):
        decode(data)
    assert time.perf_counter() - began < 0.5
    assert tracemalloc.get_traced_memory()[1] < 5_000_000
    tracemalloc.stop()


@pytest.mark.parametrize("make", [png, tiff, simple_bmp, dicom, extended_webp])
@pytest.mark.parametrize("lie", [(3000, 2000), (111, 150), (110, 151), (1, 20_000)])
def test_header_that_lies_about_the_size_is_damaged(make: Callable[[int, int], bytes], lie: tuple[int, int]) -> None:
    with pytest.raises(DamagedImage):
        decode(make(*lie))


@pytest.mark.parametrize("lie", [(3000, 2000), (111, 150), (110, 151), (1, 20_000)])
def test_jpeg_header_that_lies_about_the_size_never_escapes(lie: tuple[int, int]) -> None:
    """Its data hold no count of pixels: too few for the size cannot be told from a picture with an even lower part."""
    decoded = decode(jpeg(*lie))
    assert decoded.pixels.shape == (lie[1], lie[0], 3)


@pytest.mark.parametrize("make", [png, tiff, simple_bmp, jpeg, dicom])
@pytest.mark.parametrize("size", [(0, 50), (50, 0), (0, 0)])
def test_picture_without_pixels_is_damaged(make: Callable[[int, int], bytes], size: tuple[int, int]) -> None:
    with pytest.raises(DamagedImage):
        decode(make(*size))


def test_tiff_of_enormous_tiles_is_refused() -> None:
    with pytest.raises(TooManyPixels, match="tiles"):
        decode(tiff(100, 100, tag322=1 << 20, tag323=1 << 20, tag324=8, tag325=4))


@pytest.mark.timed
def test_tiff_that_repeats_a_tag_thousands_of_times_is_judged_quickly() -> None:
    values = bytes(4_000_000)
    entry = struct.pack("<HHII", 273, 4, len(values) // 4, 8)
    data = (
        b"II*\0" + struct.pack("<I", 8 + len(values)) + values + struct.pack("<H", 65_535) + entry * 65_535 + bytes(4)
    )
    began = time.perf_counter()
    with pytest.raises(DamagedImage):
        decode(data)
    assert time.perf_counter() - began < 2


def test_jpeg_of_thousands_of_scans_is_refused() -> None:
    data = CORPUS["JPEG progressive"]
    last = data.rindex(b"\xff\xda")
    with pytest.raises(UnsupportedImage, match="scans"):
        decode(data[:last] + data[last:-2] * 5000 + data[-2:])


def test_png_with_a_wrong_checksum_says_that_it_was_changed() -> None:
    data = bytearray(CORPUS["PNG"])
    data[data.index(b"IDAT") + 100] ^= 1
    with pytest.raises(DamagedImage, match="checksum"):
        decode(bytes(data))
