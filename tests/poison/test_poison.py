"""Poison: files made to be two things at once, to grow, to stall; and thousands of mutants, by a seeded mutator.

Each goes through the process that decodes in the cloud: within 5 s of processor time and 1 GB of memory it becomes a
picture or a rejection with a sentence, and the process survives it. FILES says how many mutants (300 here, 10,000 by
``make test-faults``), SEED which.
"""

import os
import struct
import zlib
from collections import Counter
from collections.abc import Iterator

import cv2
import numpy as np
import pytest
from pydicom import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import dcmwrite
from tests.unit.test_damaged_images import CORPUS, STARTS, mutate

from heatdrop.errors import DamagedImage, FileTooLarge, RejectedImage, TooManyPixels, UnsafeImage
from heatdrop.images.guarded import GuardedDecoder

FILES = int(os.environ.get("FILES", "300"))
SEED = int(os.environ.get("SEED", "0"))


@pytest.fixture(scope="module")
def decoder() -> Iterator[GuardedDecoder]:
    with GuardedDecoder() as decoder:
        yield decoder


def outcome(decoder: GuardedDecoder, data: bytes) -> str:
    """What becomes of a file: "picture", "rejected", or what is wrong."""
    try:
        pixels = decoder.decode(data).pixels
    except UnsafeImage as error:
        return f"unsafe: {error}"
    except RejectedImage as error:
        return "rejected" if str(error).endswith(".") else f"not a sentence: {error}"
    return "picture" if pixels.ndim == 3 and pixels.dtype == np.uint8 else f"{pixels.dtype} {pixels.shape}"


def peak_mb(pid: int) -> float:
    """The most memory that a process has held."""
    with open(f"/proc/{pid}/status") as status:  # noqa: PTH123
        return next(int(line.split()[1]) / 1024 for line in status if line.startswith("VmHWM"))


def mutant(number: int) -> bytes:
    """One of endless many files: mutants of mutants of every format, crossings of two formats, noise behind a start."""
    random = np.random.default_rng((SEED, number))
    kinds = list(CORPUS)
    data = CORPUS[kinds[number % len(kinds)]]
    if number % 11 == 0:
        return STARTS[number % len(STARTS)] + random.bytes(int(random.integers(2000)))
    if number % 7 == 0:
        other = CORPUS[kinds[int(random.integers(len(kinds)))]]
        cut = int(random.integers(1, 600))
        data = data[:cut] + other[cut:]
    for _ in range(int(random.integers(1, 4))):
        data = mutate(data, int(random.integers(2**31)))
    return data


def test_no_mutant_ends_the_process_or_takes_more_than_it_may(decoder: GuardedDecoder) -> None:
    pid = decoder.start()
    outcomes: Counter[str] = Counter()
    for number in range(FILES):
        said = outcome(decoder, mutant(number))
        outcomes[said] += 1
        assert said in {"picture", "rejected"}, f"SEED={SEED}, mutant {number}: {said}"
    assert decoder.start() == pid, f"a decoder crashed: {outcomes}"
    assert peak_mb(pid) < 1024
    assert set(outcomes) == {"picture", "rejected"}
    print(f"SEED={SEED} {FILES} files: {dict(outcomes)}, peak {peak_mb(pid):.0f} MB")


@pytest.mark.parametrize("first", [kind for kind in CORPUS if not kind.startswith("DICOM ")])
@pytest.mark.parametrize("second", ["JPEG", "PNG", "TIFF", "DICOM"])
def test_polyglot_is_what_its_first_bytes_say(decoder: GuardedDecoder, first: str, second: str) -> None:
    """A whole file behind another, or a script behind a picture: what follows the picture is not looked at."""
    alone = decoder.decode(CORPUS[first])
    for tail in (CORPUS[second], b"<script>alert(1)</script>", b"%PDF-1.7", b"PK\x03\x04"):
        both = decoder.decode(CORPUS[first] + tail)
        assert both.format == alone.format
        np.testing.assert_array_equal(both.pixels, alone.pixels)


def test_dicom_whose_preamble_is_another_picture_is_the_dicom(decoder: GuardedDecoder) -> None:
    plain = CORPUS["DICOM"]
    assert plain[128:132] == b"DICM"
    for start in (b"II*\0\x08\0\0\0", b"\xff\xd8\xff\xe0", b"MZ", b"\x89PNG\r\n\x1a\n"):
        both = decoder.decode(start + plain[len(start) :])
        assert both.format == "DICOM"
        np.testing.assert_array_equal(both.pixels, decoder.decode(plain).pixels)


@pytest.mark.parametrize("megabytes", [1, 40])
def test_huge_exif_is_skipped(decoder: GuardedDecoder, megabytes: int) -> None:
    jpeg = CORPUS["JPEG"]
    block = b"\xff\xe1" + struct.pack(">H", 65_535) + b"Exif\0\0" + bytes(65_527)
    data = jpeg[:2] + block * (megabytes * 1_000_000 // len(block)) + jpeg[2:]
    np.testing.assert_array_equal(decoder.decode(data).pixels.shape, decoder.decode(jpeg).pixels.shape)


def solid(kind: str, side: int) -> bytes:
    """A picture of one colour: few bytes, many pixels."""
    done, data = cv2.imencode(kind, np.zeros((side, side), np.uint8))
    assert done
    return data.tobytes()


def deflated_dicom(side: int, frames: bytes) -> bytes:
    dataset = Dataset()
    dataset.SOPClassUID, dataset.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.1", "1.2.3"
    dataset.Rows = dataset.Columns = side
    dataset.BitsAllocated = dataset.BitsStored = 8
    dataset.HighBit, dataset.SamplesPerPixel, dataset.PixelRepresentation = 7, 1, 0
    dataset.PhotometricInterpretation, dataset.PixelData = "MONOCHROME2", frames
    dataset.file_meta = Dataset()  # type: ignore[assignment]
    dataset.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.1.99"
    dataset.file_meta.MediaStorageSOPClassUID, dataset.file_meta.MediaStorageSOPInstanceUID = (
        dataset.SOPClassUID,
        dataset.SOPInstanceUID,
    )
    stream = DicomBytesIO()
    dcmwrite(stream, dataset, enforce_file_format=True)
    return stream.getvalue()


@pytest.mark.parametrize("kind", [".png", ".tiff", ".webp", ".jpg"])
def test_bomb_below_the_limit_of_pixels_stays_within_memory_and_time(decoder: GuardedDecoder, kind: str) -> None:
    data = solid(kind, 9_900 if kind != ".webp" else 9_000)
    assert len(data) < 3_000_000
    assert outcome(decoder, data) == "picture"
    assert peak_mb(decoder.start()) < 1024


@pytest.mark.parametrize("kind", [".png", ".webp", ".jpg"])
def test_bomb_above_the_limit_is_rejected_by_its_header(decoder: GuardedDecoder, kind: str) -> None:
    with pytest.raises(TooManyPixels):
        decoder.decode(solid(kind, 10_001))


def test_dicom_that_inflates_beyond_the_limit_is_rejected(decoder: GuardedDecoder) -> None:
    sound = deflated_dicom(500, bytes(250_000))
    assert outcome(decoder, sound) == "picture"
    bomb = deflated_dicom(500, bytes(200_000_000))
    assert len(bomb) < 1_000_000
    with pytest.raises(FileTooLarge, match="inflates to more than 50 MB"):
        decoder.decode(bomb)


def test_png_whose_metadata_inflate_without_end_is_a_picture_or_rejected(decoder: GuardedDecoder) -> None:
    body = b"x\0\0" + zlib.compress(bytes(200_000_000))
    chunk = struct.pack(">I", len(body)) + b"zTXt" + body + struct.pack(">I", zlib.crc32(b"zTXt" + body))
    data = CORPUS["PNG"]
    assert outcome(decoder, data[:33] + chunk + data[33:]) in {"picture", "rejected"}
    assert peak_mb(decoder.start()) < 1024


def test_picture_of_zero_by_many_pixels_is_damaged(decoder: GuardedDecoder) -> None:
    data = bytearray(CORPUS["BMP"])
    for width, height in ((0, 2**31 - 1), (2**31 - 1, 0), (0, 0)):
        struct.pack_into("<ii", data, 18, width, height)
        with pytest.raises(DamagedImage):
            decoder.decode(bytes(data))
