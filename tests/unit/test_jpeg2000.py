"""The small pictures in a JPEG 2000 codestream are those that a decoder gives which can be asked for them."""

import io
import struct
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from openjpeg.utils import decode
from PIL import Image

from heatdrop.images.jpeg2000 import NotReducible, is_reversible, reduced, sample_bits

GREY = cv2.GaussianBlur(np.random.default_rng(1).integers(0, 1 << 16, (240, 176), np.uint16), (0, 0), 2)
COLOUR = np.dstack([(GREY >> 8).astype(np.uint8), (GREY[::-1] >> 8).astype(np.uint8), (GREY >> 9).astype(np.uint8)])


def encoded(pixels: NDArray[Any] = GREY, **options: Any) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "JPEG2000", no_jp2=True, **options)
    return stream.getvalue()


def by_pillow(codestream: bytes, halvings: int) -> NDArray[Any]:
    picture: Any = Image.open(io.BytesIO(codestream))
    picture.reduce = halvings
    picture.load()
    return np.asarray(picture)


def resolution(codestream: bytes) -> NDArray[Any]:
    return np.asarray(decode(codestream, 0))


@pytest.mark.parametrize("halvings", [1, 2, 3])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"irreversible": True},
        {"progression": "RLCP", "quality_layers": [40, 1]},
        {"progression": "RPCL", "quality_layers": [40, 1]},
        {"precinct_size": (64, 64)},
        {"codeblock_size": (16, 16)},
        {"tile_size": (64, 64)},
        {"num_resolutions": 4},
        {"comment": "made by a test", "plt": True},
    ],
    ids=str,
)
def test_each_is_what_pillow_decodes(options: dict[str, Any], halvings: int) -> None:
    for pixels in (GREY, (GREY >> 8).astype(np.uint8), COLOUR):
        codestream = encoded(pixels, **options)
        assert np.array_equal(resolution(reduced(codestream, halvings)), by_pillow(codestream, halvings))


def test_sides_are_rounded_up() -> None:
    assert resolution(reduced(encoded(GREY[:237, :175]), 3)).shape == (30, 22)


@pytest.mark.parametrize(
    "options",
    [
        {"progression": "LRCP", "quality_layers": [40, 1]},
        {"progression": "CPRL"},
        {"progression": "PCRL"},
        {"tile_size": (50, 50)},
        {"num_resolutions": 3},
    ],
    ids=str,
)
def test_one_that_cannot_be_read_so_is_left_to_the_decoder(options: dict[str, Any]) -> None:
    with pytest.raises(NotReducible):
        reduced(encoded(**options), 3)


SOUND = encoded()


def with_segment(marker: int) -> bytes:
    """A codestream with a segment of the main header that is not understood here."""
    at = SOUND.index(b"\xff\x90")
    return SOUND[:at] + struct.pack(">HH", marker, 4) + b"\0\0" + SOUND[at:]


@pytest.mark.parametrize(
    "codestream",
    [
        *(b"", b"\xff\x4f", SOUND[:40], SOUND[: SOUND.index(b"\xff\x90")], SOUND[: len(SOUND) // 2], SOUND[:-2]),
        SOUND[:16] + struct.pack(">I", 3) + SOUND[20:],  # begins with the fourth column
        *(SOUND + b"more", b"\0\0\0\x0cjP  \r\n\x87\n" + SOUND),
        *(with_segment(marker) for marker in (0xFF50, 0xFF53, 0xFF5E, 0xFF5F, 0xFF60)),  # CAP, COC, RGN, POC, PPM
    ],
    ids=len,
)
def test_one_that_is_damaged_or_not_understood_is_left_to_the_decoder(codestream: bytes) -> None:
    with pytest.raises(NotReducible):
        reduced(codestream, 1)


@pytest.mark.parametrize("padding", [b"\0", b"\xff", b"\0\0\0"])
def test_padding_does_not_matter(padding: bytes) -> None:
    assert np.array_equal(resolution(reduced(SOUND + padding, 1)), resolution(reduced(SOUND, 1)))


def test_it_is_told_whether_the_transform_is_reversible_and_what_a_sample_is() -> None:
    assert is_reversible(SOUND)
    assert not is_reversible(encoded(irreversible=True))
    assert sample_bits(SOUND) == (16, False)
    assert sample_bits(encoded(COLOUR)) == (8, False)
