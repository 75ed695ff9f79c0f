"""The names of a model's classes, in the order of its outputs, from a file that a person wrote or Keras gave."""

import json
from pathlib import Path
from typing import Any

from heatdrop.errors import InvalidBundle


def read_labels(path: Path) -> list[str]:
    """The class names in a labels file.

    It holds a JSON list, the JSON object that Keras calls ``class_indices`` (``{"cat": 0, "dog": 1}``), or one name a
    line.

    A name of a list that is empty or was there before gets its number: ``output 3``, ``Mass (output 7)``.

    Raises:
        InvalidBundle: it cannot be read, or an object's indices are not 0, 1, 2, ... each once.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
        if not text.lstrip().startswith(("[", "{")):
            return [line for line in text.splitlines() if line]
        content = json.loads(text, object_pairs_hook=_Pairs)
    except (OSError, ValueError, RecursionError) as error:
        raise InvalidBundle(f"the labels {path} cannot be read: {error}") from error
    if isinstance(content, _Pairs):
        return _in_index_order(content, path)
    if not all(isinstance(name, str | int | float) for name in content):
        raise InvalidBundle(f"the labels {path} are a list of something else than names")
    return _distinct([str(name) for name in content])


def read_thresholds(given: str) -> float | list[float]:
    """A number that holds for all labels, or the list of numbers in a JSON file.

    Raises:
        InvalidBundle: it is neither.
    """
    try:
        return float(given)
    except ValueError:
        pass
    try:
        content = json.loads(Path(given).read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        raise InvalidBundle(f"the thresholds {given} cannot be read: {error}") from error
    if not isinstance(content, list) or not all(type(number) in (int, float) for number in content):
        raise InvalidBundle(f"the thresholds {given} are no list of numbers, one for each label")
    return [float(number) for number in content]


def _distinct(names: list[str]) -> list[str]:
    found: list[str] = []
    for number, name in enumerate(names, start=1):
        own = f"{name} (output {number})" if name else f"output {number}"
        found.append(own if not name or name in found else name)
    return found


class _Pairs(list[tuple[str, Any]]):
    """A JSON object as it stands in the file: names that come twice are kept."""


def _in_index_order(pairs: _Pairs, path: Path) -> list[str]:
    indices = [index for _, index in pairs]
    if not all(type(index) is int for index in indices) or sorted(indices) != list(range(len(indices))):
        raise InvalidBundle(
            f"the labels {path} do not number their classes 0, 1, 2, ...; "
            'write {"first class": 0, "second class": 1}, or a list of names in the order of the outputs'
        )
    return [name for name, _ in sorted(pairs, key=lambda pair: pair[1])]
