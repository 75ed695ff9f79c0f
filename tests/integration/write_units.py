"""What DynamoDB bills for a write, by its documented rules; moto counts items, not bytes."""

import math
from typing import Any

Item = dict[str, Any]
"""An item as DynamoDB's client gives it, each value with its type: ``{"image_id": {"S": "..."}}``."""


def written_units(before: Item, after: Item, table: dict[str, Any]) -> int:
    """Write units of a change, in the table (as ``describe_table`` describes it) and in each of its indexes."""
    units = _units(before, after)
    for index in table["GlobalSecondaryIndexes"]:
        units += _index_units(before, after, table, index)
    return units


def _index_units(before: Item, after: Item, table: dict[str, Any], index: dict[str, Any]) -> int:
    keys = [key["AttributeName"] for key in (*index["KeySchema"], *table["KeySchema"])]
    names = [*keys, *index["Projection"].get("NonKeyAttributes", [])]
    old, new = (
        {name: item[name] for name in names if name in item} if all(key in item for key in keys) else {}
        for item in (before, after)
    )
    if old == new:
        return 0
    if old and new and any(old[key] != new[key] for key in keys):
        # The entry moves: it is deleted at one place and put at another.
        return _units(old, {}) + _units({}, new)
    return _units(old, new)


def _units(before: Item, after: Item) -> int:
    """One for each KB, begun or whole, of the larger of the two."""
    return math.ceil(max(_bytes_of(before), _bytes_of(after)) / 1024)


def _bytes_of(item: Item) -> int:
    return sum(len(name.encode()) + _size(value) for name, value in item.items())


def _size(typed: dict[str, Any]) -> int:
    ((kind, value),) = typed.items()
    match kind:
        case "S":
            return len(value.encode())
        case "N":
            return len(value.lstrip("-0.").replace(".", "")) // 2 + 2
        case "SS":
            return sum(len(text.encode()) for text in value)
        case "L":
            return 3 + sum(1 + _size(element) for element in value)
        case "M":
            return 3 + len(value) + _bytes_of(value)
        case "BOOL" | "NULL":
            return 1
    raise AssertionError(f"no size is known of {kind}")
