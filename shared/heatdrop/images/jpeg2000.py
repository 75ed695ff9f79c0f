"""The smaller pictures that a JPEG 2000 codestream holds within itself (ISO/IEC 15444-1).

A wavelet transform splits a picture into one of half its width and height, and the detail that is left; the small one
is split again, usually five times. Whoever wants a small picture need not decode the detail, which is most of the data.

The decoders that are installed offer no way to ask for that. But the data of the small picture come first in most
codestreams, and are those of a codestream of their own: it lacks only a header that says so.
"""

import struct
from collections.abc import Iterator

_SIZ, _COD, _QCD, _QCC, _COM, _CRG, _TLM, _PLM, _PLT, _SOT, _SOD = (
    *(0xFF51, 0xFF52, 0xFF5C, 0xFF5D, 0xFF64, 0xFF63, 0xFF55, 0xFF57, 0xFF58, 0xFF90, 0xFF93),
)
_START, _END = b"\xff\x4f", b"\xff\xd9"
_UNCHANGED = {_COM, _CRG, _TLM, _PLM}
"""Segments of the main header that say nothing about the levels."""
_BY_LAYER, _BY_RESOLUTION = 0, (1, 2)
"""Progression orders, by what comes first."""


class NotReducible(Exception):
    """The small picture does not come first in a codestream, or its header holds what is not understood here."""


def reduced(codestream: bytes, halvings: int) -> bytes:
    """Give the codestream of the picture at 1/2, 1/4, ... of its width and height, rounded up.

    Decoding it gives what a decoder gives that is asked to leave out as many resolution levels.

    Args:
        codestream: a whole one, without the boxes of a JP2 file.
        halvings: how often both sides are halved.

    Raises:
        NotReducible: this codestream cannot be read so.
    """
    try:
        header, data_at = _header(codestream)
        _check_tile_parts(codestream, data_at)
        levels = next(segment[9] for marker, segment in header if marker == _COD)
        if levels < halvings:
            raise NotReducible
        segments = [_changed(marker, segment, levels - halvings, halvings) for marker, segment in header]
    except (struct.error, IndexError, StopIteration) as error:
        raise NotReducible from error
    return b"".join([_START, *segments, codestream[data_at:]])


def is_reversible(codestream: bytes) -> bool:
    """Whether a codestream was made with the transform of whole numbers (5/3), without which nothing is lossless.

    Raises:
        NotReducible: it does not say.
    """
    try:
        return next(segment[13] == 1 for marker, segment in _header(codestream)[0] if marker == _COD)
    except (struct.error, IndexError, StopIteration) as error:
        raise NotReducible from error


def sample_bits(codestream: bytes) -> tuple[int, bool]:
    """The bits of a sample and whether it has a sign, which ``reduced`` makes sure are the same for all components."""
    return (codestream[42] & 0x7F) + 1, bool(codestream[42] >> 7)


def _header(codestream: bytes) -> tuple[list[tuple[int, bytes]], int]:
    """The segments of the main header, each as (marker, the segment with it), and where the first tile-part begins."""
    segments: list[tuple[int, bytes]] = []
    at = len(_START)
    if not codestream.startswith(_START):
        raise NotReducible
    while (marker := _word(codestream, at)) != _SOT:
        end = at + 2 + _word(codestream, at + 2)
        segments.append((marker, codestream[at:end]))
        at = end
    return segments, at


def _changed(marker: int, segment: bytes, levels: int, halvings: int) -> bytes:
    """A segment of the main header as it is where only ``levels`` levels are left."""
    if marker == _SIZ:
        return _smaller_size(segment, halvings)
    if marker == _COD:
        by, layers, has_precincts = segment[5], _word(segment, 6), segment[4] & 1
        if not (by in _BY_RESOLUTION or (by == _BY_LAYER and layers == 1)):
            raise NotReducible
        kept = 14 + (levels + 1 if has_precincts else 0)
        return _with_length(segment[:9] + bytes([levels]) + segment[10:kept])
    if marker in (_QCD, _QCC):
        # One step for the smallest picture and three for each level, of one or two bytes; a step for all has no end.
        style_at = 4 if marker == _QCD else 5
        step_bytes = {0: 1, 2: 2}.get(segment[style_at] & 0x1F)
        return _with_length(segment[: style_at + 1 + step_bytes * (3 * levels + 1)]) if step_bytes else segment
    if marker not in _UNCHANGED:
        raise NotReducible
    return segment


def _smaller_size(segment: bytes, halvings: int) -> bytes:
    width, height, left, top, tile_width, tile_height, tile_left, tile_top = struct.unpack_from(">8I", segment, 6)
    components = segment[40:]
    # A component of its own size, bits or sign would have to be looked at by itself.
    if any((left, top, tile_left, tile_top)) or components != bytes([components[0], 1, 1]) * (len(components) // 3):
        raise NotReducible
    unit = 1 << halvings
    if (tile_width < width and tile_width % unit) or (tile_height < height and tile_height % unit):
        raise NotReducible
    # More than 256 components need another form of QCC.
    if len(components) > 3 * 256:
        raise NotReducible
    sizes = [-(-side // unit) for side in (width, height, 0, 0, tile_width, tile_height, 0, 0)]
    return segment[:6] + struct.pack(">8I", *sizes) + segment[38:]


def _check_tile_parts(codestream: bytes, at: int) -> None:
    """Make sure that the data are all there, and that no tile has rules of its own.

    Raises:
        NotReducible
    """
    end = codestream.rfind(_END)
    if codestream[end + 2 :].strip(b"\0\xff"):
        raise NotReducible
    while at != end:
        length = struct.unpack_from(">I", codestream, at + 6)[0] or end - at
        if _word(codestream, at) != _SOT or not at + length <= end:
            raise NotReducible
        for marker in _tile_part_markers(codestream, at + 12):
            if marker not in (_PLT, _COM):
                raise NotReducible
        at += length


def _tile_part_markers(codestream: bytes, at: int) -> Iterator[int]:
    while (marker := _word(codestream, at)) != _SOD:
        yield marker
        at += 2 + _word(codestream, at + 2)


def _with_length(segment: bytes) -> bytes:
    return segment[:2] + struct.pack(">H", len(segment) - 2) + segment[4:]


def _word(data: bytes, at: int) -> int:
    word: int = struct.unpack_from(">H", data, at)[0]
    return word
