"""What S3's notifications are read as."""

import json
from typing import Any

import pytest

from heatdrop.aws.events import DeadDrops, drops_in, read_job_event


def notification(*objects: dict[str, Any]) -> str:
    entries = [{"eventName": "ObjectCreated:Put", "s3": {"bucket": {"name": "in"}, "object": o}} for o in objects]
    return json.dumps({"Records": entries})


@pytest.mark.parametrize(
    ("key", "size", "is_drop"),
    [
        ("folder/", 0, False),
        ("a/b+c/", 0, False),
        ("folder%2F", 0, False),
        ("folder/", 12, True),  # odd, but somebody's bytes
        ("folder", 0, True),  # an empty file, which gets its answer
        ("folder/a.png", None, True),
        ("folder/", None, True),
    ],
)
def test_folder_placeholders_are_passed_over_and_nothing_else_is(key: str, size: int | None, is_drop: bool) -> None:
    described = {"key": key, "eTag": "0"} | ({} if size is None else {"size": size})
    body = notification(described, {"key": "other.png", "eTag": "1", "size": 5})
    assert len(drops_in(body, "in")) == 1 + is_drop
    dead = read_job_event(body, "in", "queue")
    assert isinstance(dead, DeadDrops)
    assert len(dead.drops) == 1 + is_drop
