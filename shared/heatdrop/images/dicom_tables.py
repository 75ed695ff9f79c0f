"""Lookup tables of DICOM: modality, VOI and palette, each from a descriptor and its data.

PS3.3 C.11.1.1 and C.7.6.3.1.5 say what is legal. Tables that break these rules are common, and are read for what was
obviously meant as far as that can be told.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from heatdrop.images.dicom_elements import words

_MOST_ENTRIES = 1 << 16
_DISCRETE, _LINEAR, _INDIRECT = 0, 1, 2
"""The kinds of segments of a segmented table."""


@dataclass(frozen=True, slots=True)
class LookupTable:
    """A table that maps whole numbers to entries; numbers beyond its ends take the first or the last entry."""

    first: int
    """The number that the first entry stands for."""
    entries: NDArray[np.uint16]
    bits: int
    """The bits of an entry: 2**bits - 1 is full brightness."""

    def __call__(self, values: NDArray[Any]) -> NDArray[np.uint16]:
        """Map values of any shape; a fraction counts as the nearest whole number, NaN as 0."""
        whole = np.nan_to_num(np.rint(values)) if values.dtype.kind == "f" else values
        # Wide and signed enough that a value below the first entry does not wrap round.
        index = whole.astype(np.int32 if whole.dtype.itemsize <= 2 else np.float64) - self.first
        mapped: NDArray[np.uint16] = self.entries[np.clip(index, 0, len(self.entries) - 1).astype(np.intp)]
        return mapped


def read_table(
    dataset: Dataset,
    descriptor: str,
    data: str,
    *,
    segmented: str = "",
    negative: bool,
    little_endian: bool,
) -> LookupTable | None:
    """Read a table.

    Args:
        dataset: the data set, or the item of a sequence, that holds the table.
        descriptor: keyword of the element with the number of entries, the first value mapped and the bits of an entry.
        data: keyword of the element with the entries, as words or as bytes packed into words.
        segmented: keyword of the element with the entries in segments, looked at where ``data`` is empty.
        negative: whether the values that will be mapped can be negative.
        little_endian: the byte order of the file.

    Returns:
        None where the table is absent, empty, or too incomplete to be read.
    """
    described = words(dataset, descriptor, little_endian=little_endian)
    if len(described) < 3:
        return None
    count, first, bits = int(described[0]) or _MOST_ENTRIES, int(described[1]), int(described[2])
    # The sign can be lost: many writers put a negative first value into an unsigned element.
    if first >= 0x8000 and (negative or dataset[descriptor].VR == "SS"):
        first -= 0x10000
    stored = words(dataset, data, little_endian=little_endian)
    if len(stored):
        entries = _unpacked(stored, count, bits)[:count]
    elif segmented:
        entries = _expanded(words(dataset, segmented, little_endian=little_endian), count, bits)
    else:
        return None
    if not len(entries):
        return None
    # Where entries lie above the bits that they are said to have, it is the bits that are wrong.
    return LookupTable(first, entries, max(bits, int(entries.max()).bit_length()) or 1)


def palette_bits(bits: int, greatest: int) -> int:
    """The bits of the entries of a palette whose descriptor says ``bits`` and whose greatest entry is ``greatest``.

    Many palettes hold 8 or 12 bits under a descriptor of 16. What stays below 1/16 of full brightness in all its
    entries would be drawn black and is taken for one of them.
    """
    return max(greatest.bit_length(), 8) if 0 < greatest << 4 < 1 << bits else bits


def _unpacked(stored: NDArray[np.uint16], count: int, bits: int) -> NDArray[np.uint16]:
    """Tell entries in words from those packed as bytes into words, of which there are half as many."""
    packed = bits <= 8 and len(stored) < count and (2 * len(stored) >= count or stored.max() > 0xFF)
    return _bytes_of(stored) if packed else stored


def _bytes_of(stored: NDArray[np.uint16]) -> NDArray[np.uint16]:
    return stored.astype("<u2").view(np.uint8).astype(np.uint16)


def _expanded(stored: NDArray[np.uint16], count: int, bits: int) -> NDArray[np.uint16]:
    """Expand a segmented table (PS3.3 C.7.9.2), whose segments are words or, at 8 bits an entry, usually bytes."""
    tries = [_expand(stored.tolist(), 2, count)]
    if bits <= 8:
        tries.insert(0, _expand(_bytes_of(stored).tolist(), 1, count))
    return np.array(next((entries for entries in tries if len(entries) == count), tries[0]), np.uint16)


def _expand(units: list[int], unit_bytes: int, count: int) -> list[int]:
    """Expand segments given as words (``unit_bytes`` 2) or bytes (1) to ``count`` entries, or as many as there are."""
    entries: list[int] = []

    def expand_from(at: int, segments: int | None = None) -> None:
        while at + 2 < len(units) and len(entries) < count and segments != 0:
            kind, length = units[at : at + 2]
            at += 2
            if kind == _DISCRETE:
                entries.extend(units[at : at + length])
                at += length
            elif kind == _LINEAR and entries:
                line = np.linspace(entries[-1], units[at], length + 1)[1:]
                entries.extend(np.rint(line).astype(int).tolist())
                at += 1
            # Repeats earlier segments, among which the standard allows none of its own kind.
            elif kind == _INDIRECT and segments is None:
                offset = units[at : at + 4 // unit_bytes]
                expand_from(sum(unit << 8 * unit_bytes * i for i, unit in enumerate(offset)) // unit_bytes, length)
                at += len(offset)
            else:
                return
            segments = None if segments is None else segments - 1

    expand_from(0)
    return entries[:count]
