"""TIFF's directories of tags: the header of TIFF files, and the form in which EXIF keeps an orientation.

Tags and their meaning are those of TIFF 6.0 (Adobe, 1992) and of its technical notes.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from heatdrop.errors import DamagedImage, TooManyPixels, UnsupportedImage
from heatdrop.images.formats import Header, cut_short

TYPES = {1: "u1", 3: "u2", 4: "u4", 6: "i1", 8: "i2", 9: "i4", 13: "u4", 16: "u8", 17: "i8", 18: "u8"}
"""The whole-number types, as NumPy names them."""
_SIZES = {2: 1, 5: 8, 7: 1, 10: 8, 11: 4, 12: 8} | {type_: int(name[1]) for type_, name in TYPES.items()}
"""How many bytes a value of each type takes."""

SUBFILE, OLD_SUBFILE, WIDTH, HEIGHT, BITS, COMPRESSION, PHOTOMETRIC = 254, 255, 256, 257, 258, 259, 262
STRIPS, ORIENTATION, SAMPLES, ROWS_PER_STRIP, STRIP_BYTES, PLANES = 273, 274, 277, 278, 279, 284
PREDICTOR, COLOUR_MAP, TILE_WIDTH, TILE_HEIGHT, TILES, TILE_BYTES = 317, 320, 322, 323, 324, 325
SUB_DIRECTORIES, INKS, EXTRA, SAMPLE_FORMAT, DEPTH = 330, 332, 338, 339, 32997

_READ = {
    *(SUBFILE, OLD_SUBFILE, WIDTH, HEIGHT, BITS, COMPRESSION, PHOTOMETRIC, STRIPS, ORIENTATION, SAMPLES, PLANES),
    *(ROWS_PER_STRIP, STRIP_BYTES, PREDICTOR, COLOUR_MAP, TILE_WIDTH, TILE_HEIGHT, TILES, TILE_BYTES, EXTRA, INKS),
    *(SUB_DIRECTORIES, SAMPLE_FORMAT, DEPTH),
}
# Order of bits, options of fax codes, JPEG's tables, its old form, and how YCbCr is meant.
_READ |= {266, 292, 293, 347, *range(512, 522), 529, 530, 531, 532}
_NOT_OF_PIXELS = {SUBFILE, OLD_SUBFILE, ORIENTATION, SUB_DIRECTORIES}
_MOST_VALUES = 1_000_000
"""Of one tag; 100 megapixels in tiles of 16 x 16 are 390,625."""
_MOST_ENTRIES = 4096
_MOST_TILE_BYTES = 400_000_000
_MOST_DIRECTORIES = 100
"""Of a pyramid about 10 are enough."""
_REDUCED, _MASK = 1, 4
"""Bits of the new subfile type: a smaller copy of another page, a mask of another page."""


@dataclass(frozen=True, slots=True)
class Directory:
    """The tags of one page that are of use."""

    values: dict[int, NDArray[np.generic]]
    """Tag -> its whole numbers, at least one."""
    entries: dict[int, bytes]
    """Tag -> its entry as it is stored."""
    at: int
    following: int
    """Where the next directory lies, 0 when there is none."""

    def first(self, tag: int, default: int) -> int:
        """The first number of a tag."""
        return int(self.values[tag].item(0)) if tag in self.values else default

    @property
    def is_page(self) -> bool:
        """Whether it describes a picture at all; whatever follows by mistake seldom does."""
        return WIDTH in self.values and HEIGHT in self.values

    @property
    def is_second_to_another(self) -> bool:
        """Whether it is a thumbnail, an overview or a mask of another page."""
        return bool(self.first(SUBFILE, 0) & (_REDUCED | _MASK)) or self.first(OLD_SUBFILE, 1) == 2


@dataclass(frozen=True, slots=True)
class Layout:
    """How the order of bytes and the width of pointers are in one file."""

    order: str
    big: bool

    @classmethod
    def of(cls, data: bytes) -> "Layout":
        """Read it from the first bytes."""
        order = "<" if data.startswith(b"II") else ">"
        return cls(order, struct.unpack_from(f"{order}H", data, 2)[0] == 43)

    @property
    def pointer(self) -> str:
        """The format of a pointer or count: 8 bytes in BigTIFF."""
        return self.order + ("Q" if self.big else "I")

    @property
    def count(self) -> str:
        """The format of the number of entries."""
        return self.order + ("Q" if self.big else "H")

    @property
    def entry(self) -> str:
        """The format of tag, type and count of an entry; a pointer or the value itself follows."""
        return self.order + ("HHQ" if self.big else "HHI")

    @property
    def start_at(self) -> int:
        """Where the file says where its first directory is."""
        return 8 if self.big else 4


def read_tiff(data: bytes) -> Header:
    """Read the header of a TIFF file, of the one page that is meant.

    Raises:
        DamagedImage: there is no sound directory.
        TooManyPixels: one tile alone is enormous.
        UnsupportedImage: several pages.
        struct.error: the directory is cut short.
    """
    page = _page(data)
    if not page.is_page:
        raise DamagedImage("The TIFF does not say how large it is; export it again.")
    samples, bits = page.first(SAMPLES, 1), page.first(BITS, 1)
    tile = page.first(TILE_WIDTH, 0) * page.first(TILE_HEIGHT, 0)
    if tile * samples * max(bits, 8) // 8 > _MOST_TILE_BYTES:
        raise TooManyPixels("The TIFF is made of enormous tiles; save it in strips or smaller tiles.")
    return Header(
        page.first(WIDTH, 0),
        page.first(HEIGHT, 0),
        bits=bits,
        orientation=_valid(page.first(ORIENTATION, 1)),
        page_at=page.at,
        damage="" if _holds_its_pixels(page, len(data)) else cut_short("TIFF"),
    )


def exif_orientation(exif: bytes) -> int:
    """Read the orientation (1 to 8) from an EXIF block; 1 when it has none, or makes no sense.

    Only the entry itself has to be sound: cameras and editors write wrong counts, lose the end of the block or point
    outside it, and every viewer turns the picture all the same.
    """
    exif = exif.removeprefix(b"Exif\0\0")
    if not exif.startswith((b"II", b"MM")) or len(exif) < 8:
        return 1
    layout = Layout.of(exif)
    if layout.big:
        return 1
    (start,) = struct.unpack_from(layout.pointer, exif, 4)
    number = int.from_bytes(exif[start : start + 2], "little" if layout.order == "<" else "big")
    for at in range(start + 2, min(start + 2 + 12 * number, len(exif) - 11), 12):
        tag, type_, count = struct.unpack_from(layout.entry, exif, at)
        if tag == ORIENTATION and type_ in TYPES and count:
            kind = np.dtype(layout.order + TYPES[type_])
            return _valid(int(np.frombuffer(exif, kind, 1, at + 8)[0])) if kind.itemsize <= 4 else 1
    return 1


def read_directory(data: bytes, start: int) -> Directory:
    """Read one directory; of a repeated tag the first one.

    Raises:
        DamagedImage: it lies, or points, outside the file.
        struct.error: it is cut short.
    """
    layout = Layout.of(data)
    if start > len(data):
        raise DamagedImage(cut_short("TIFF"))
    (number,) = struct.unpack_from(layout.count, data, start)
    if number > _MOST_ENTRIES:
        raise DamagedImage("The TIFF says more of itself than any picture needs; export it again.")
    at = start + struct.calcsize(layout.count)
    width = struct.calcsize(layout.pointer)
    values: dict[int, NDArray[np.generic]] = {}
    entries: dict[int, bytes] = {}
    for _ in range(number):
        tag, type_, count = struct.unpack_from(layout.entry, data, at)
        entry, at = at, at + 4 + 2 * width
        if tag not in _READ or tag in entries or type_ not in _SIZES or not count:
            continue
        if count > _MOST_VALUES:
            raise UnsupportedImage("The TIFF is made of more than a million pieces; save it in larger ones.")
        place = entry + 4 + width
        if count * _SIZES[type_] > width:
            (place,) = struct.unpack_from(layout.pointer, data, place)
        if place + count * _SIZES[type_] > len(data):
            raise DamagedImage(cut_short("TIFF"))
        entries[tag] = data[entry:at]
        if type_ in TYPES:
            values[tag] = np.frombuffer(data, np.dtype(layout.order + TYPES[type_]), count, place)
    (following,) = struct.unpack_from(layout.pointer, data, at)
    return Directory(values, entries, start, following)


def alone(data: bytes, page_at: int) -> bytes:
    """Return the file with one page and only the tags that its pixels are decoded with.

    A decoder then sees what was judged here and nothing else: no other pages, no tags of vendors, and no orientation,
    which some decoders apply themselves.
    """
    layout = Layout.of(data)
    page = read_directory(data, page_at)
    start = len(data) + len(data) % 2
    entries = [entry for tag, entry in sorted(page.entries.items()) if tag not in _NOT_OF_PIXELS]
    directory = struct.pack(layout.count, len(entries)) + b"".join(entries) + struct.pack(layout.pointer, 0)
    pointer = struct.pack(layout.pointer, start)
    head = data[: layout.start_at]
    return b"".join((head, pointer, data[len(head) + len(pointer) :], bytes(len(data) % 2), directory))


def _page(data: bytes) -> Directory:
    """Find the one page that is meant: thumbnails, overviews and masks of it do not count.

    Where the file begins with a thumbnail and has no other page, the picture is often kept in a directory below.
    """
    chain = list(_chain(data))
    meant = _only_page(chain)
    if meant is None:
        below = (int(at) for page in chain for at in page.values.get(SUB_DIRECTORIES, ()))
        meant = _only_page([read_directory(data, at) for at in islice(below, _MOST_DIRECTORIES)])
    return meant or chain[0]


def _only_page(directories: list[Directory]) -> Directory | None:
    """Find the one picture among directories; None where there is none.

    Raises:
        UnsupportedImage: there are several.
    """
    pages = [directory for directory in directories if directory.is_page and not directory.is_second_to_another]
    if len(pages) > 1:
        raise UnsupportedImage("The TIFF has several pages, and which one is meant is not clear; upload one page.")
    return pages[0] if pages else None


def _chain(data: bytes) -> Iterator[Directory]:
    """Read the directories of a file one after the other.

    Raises:
        UnsupportedImage: there are more than any picture needs, or they go round in a circle.
    """
    layout = Layout.of(data)
    (at,) = struct.unpack_from(layout.pointer, data, layout.start_at)
    seen: set[int] = set()
    while at or not seen:
        if at in seen or len(seen) == _MOST_DIRECTORIES:
            raise UnsupportedImage(
                "The TIFF has pages without end, and which one is meant is not clear; upload one page."
            )
        seen.add(at)
        directory = read_directory(data, at)
        yield directory
        at = directory.following


def _valid(orientation: int) -> int:
    return orientation if 1 <= orientation <= 8 else 1


def _holds_its_pixels(page: Directory, length: int) -> bool:
    """Tell whether every strip or tile lies inside the file."""
    for offsets_tag, counts_tag in ((STRIPS, STRIP_BYTES), (TILES, TILE_BYTES)):
        if offsets_tag in page.values:
            # In floating point hostile numbers cannot wrap around. Where the counts are missing, one byte is asked for.
            offsets = page.values[offsets_tag].astype(np.float64)
            counts = page.values.get(counts_tag, np.ones(1)).astype(np.float64)
            return bool((offsets + (counts if counts.size == offsets.size else 1.0)).max() <= length)
    return False
