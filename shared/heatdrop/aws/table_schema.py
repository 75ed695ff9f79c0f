"""The layout of the table of images: its indexes, their shards and the form of their keys."""

import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Self

OPEN_INDEX = "open_images"
BY_TIME, BY_STATE, BY_LABEL = "by_time", "by_state", "by_label"
DEFAULT_SHARDS = 8
"""Partitions of each index: one alone could not take a burst of drops, and eight take about 1,000 images a second."""

EXPIRES_AT = "expires_at"
"""The attribute that the table's time to live looks at: seconds since 1970. Open images lack it, so none gets lost."""

MODELS = "models"
"""The partition of the index ``by_time`` that holds the models; those of images are numbers."""

LONGEST_KEY = 400
"""At most so many characters of a label are in a partition key, which may have 2,048 bytes; longer ones may share."""


@dataclass(frozen=True)
class Layout:
    """What a deployed stack says of its table."""

    shards: int = DEFAULT_SHARDS
    """Over how many partitions each index spreads its images. The number may grow: an image is written into one of so
    many as there are then, and readers look at all that there are now. It must not shrink."""
    keep_days: int = 0
    """Days for which a final record is kept, as its artefacts are; 0 keeps it for ever."""

    @classmethod
    def of_stack(cls, outputs: Mapping[str, str]) -> Self:
        """The layout that the outputs of a stack tell of; stacks of earlier versions have no output for it."""
        return cls(int(outputs.get("Shards", DEFAULT_SHARDS)))

    @property
    def all_shards(self) -> tuple[str, ...]:
        """Every shard, as it is written in partition keys."""
        return tuple(map(str, range(self.shards)))

    def shard_of(self, image_id: str) -> str:
        """The shard that an image is written into."""
        return str(zlib.crc32(image_id.encode()) % self.shards)

    def expiry(self, moment: datetime) -> dict[str, int]:
        """The attribute that lets DynamoDB delete an item that is final at ``moment``; none to keep it for ever."""
        if not self.keep_days:
            return {}
        return {EXPIRES_AT: int((moment + timedelta(days=self.keep_days)).timestamp())}


DEFAULT_LAYOUT = Layout()


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
