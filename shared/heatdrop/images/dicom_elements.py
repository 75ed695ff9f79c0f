"""Elements of a DICOM data set, read so that one which is empty or makes no sense counts as absent."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

_GREATEST = float(np.finfo(np.float32).max)
"""A larger number to compute with is a slip of the pen, and results would leave the range of float64."""


def value(dataset: Dataset, keyword: str) -> Any:
    """The value of an element; None where it is absent, and its text where pydicom cannot convert it."""
    try:
        return dataset.get(keyword)
    # pydicom converts a value when it is asked for, and a wrong one makes it raise nearly anything.
    except Exception:
        raw = dataset.get_item(keyword)
        held = raw.value if raw is not None else None
        return held.decode("latin-1").split("\\") if isinstance(held, bytes) else None


def numbers(dataset: Dataset, keyword: str, *, greatest: float = _GREATEST) -> list[float | None]:
    """The numbers that an element holds; None in the place of each that is none, not finite, or above ``greatest``."""
    found = value(dataset, keyword)
    read = [_number(part) for part in (found if _is_several(found) else [found])]
    return [number if number is not None and abs(number) <= greatest else None for number in read]


def number(dataset: Dataset, keyword: str, *, greatest: float = _GREATEST) -> float | None:
    """The first number that an element holds."""
    return next(iter(numbers(dataset, keyword, greatest=greatest)), None)


def integer(dataset: Dataset, keyword: str) -> int | None:
    """The first number that an element holds, if it is a whole one."""
    found = number(dataset, keyword)
    return int(found) if found is not None and found.is_integer() else None


def text(dataset: Dataset, keyword: str) -> str:
    """The first text that an element holds, in capitals; empty where there is none."""
    found = value(dataset, keyword)
    first = next(iter(found), None) if _is_several(found) else found
    return str(first).strip("\0 ").upper() if first is not None else ""


def items(dataset: Dataset, keyword: str) -> list[Dataset]:
    """The items of a sequence."""
    found = value(dataset, keyword)
    return [item for item in found if isinstance(item, Dataset)] if _is_several(found) else []


def words(dataset: Dataset, keyword: str, *, little_endian: bool) -> NDArray[np.uint16]:
    """The 16-bit words of an element, whatever its value representation; signed ones as their two's complement.

    Bytes (OB) come in pairs, the first in the low half of a word.
    """
    found = value(dataset, keyword)
    if found is None:
        return np.empty(0, np.uint16)
    if isinstance(found, bytes):
        order = "<" if little_endian or dataset[keyword].VR == "OB" else ">"
        return np.frombuffer(found + b"\0" * (len(found) % 2), f"{order}u2").astype(np.uint16)
    parts = [_number(part) for part in (found if _is_several(found) else [found])]
    return np.array([int(part) & 0xFFFF if part is not None else 0 for part in parts], np.uint16)


def _is_several(found: object) -> bool:
    return isinstance(found, Sequence) and not isinstance(found, str | bytes)


def _number(part: object) -> float | None:
    try:
        found = float(str(part))
    except ValueError:
        return None
    return found if math.isfinite(found) else None
