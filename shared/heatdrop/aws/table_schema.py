"""The layout of the table of images: its indexes, their shards and the form of their keys."""

import zlib
from datetime import UTC, datetime

OPEN_INDEX = "open_images"
BY_TIME, BY_STATE, BY_LABEL = "by_time", "by_state", "by_label"
SHARDS = 8
"""Each index spreads its images over this many partitions: one alone could not take a burst of drops."""

MODELS = "models"
"""The partition of the index ``by_time`` that holds the models; those of images are numbers."""

LONGEST_KEY = 400
"""At most so many characters of a label are in a partition key, which may have 2,048 bytes; longer ones may share."""


def shard_of(image_id: str) -> str:
    """The shard of an image: one of ``SHARDS``, as text, always the same for the same id."""
    return str(zlib.crc32(image_id.encode()) % SHARDS)


def partition(shard: str, value: str) -> str:
    """The partition key, in an index, of the images of one shard with the same state or label."""
    return f"{shard}#{value[:LONGEST_KEY]}"


def iso(moment: datetime) -> str:
    """A moment as it is stored: UTC, to the millisecond, so that text sorts like time."""
    try:
        moment = moment.astimezone(UTC)
    except OverflowError:  # within hours of the year 1 or 9999
        moment = moment.replace(tzinfo=UTC)
    return moment.isoformat(timespec="milliseconds")
