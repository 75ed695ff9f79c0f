"""How the table of images is laid out: its indexes, their shards and the form of their keys."""

import zlib
from datetime import UTC, datetime

OPEN_INDEX = "open_images"
BY_TIME, BY_STATE, BY_LABEL = "by_time", "by_state", "by_label"
SHARDS = 8
"""Every index spreads its images over this many partitions, so that a burst of drops has no hot one."""

MODELS = "models"
"""The partition of the index ``by_time`` that holds the models, beside those of the images."""

LONGEST_KEY = 400
"""Characters of a label in a partition key, which has 2,048 bytes; labels that begin alike share a partition."""


def shard_of(image_id: str) -> str:
    """The shard of an image: one of ``SHARDS``, as text, always the same for the same id."""
    return str(zlib.crc32(image_id.encode()) % SHARDS)


def partition(shard: str, value: str) -> str:
    """The partition key of the images of one shard that share a state or a label."""
    return f"{shard}#{value[:LONGEST_KEY]}"


def iso(moment: datetime) -> str:
    """A moment as it is stored: UTC, to the millisecond, so that text sorts like time."""
    try:
        moment = moment.astimezone(UTC)
    except OverflowError:  # within hours of the first or last year that there is
        moment = moment.replace(tzinfo=UTC)
    return moment.isoformat(timespec="milliseconds")
