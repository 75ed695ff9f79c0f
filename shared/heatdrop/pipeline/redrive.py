"""Bring back images that were given up."""

from collections.abc import Iterable, Iterator

from heatdrop.aws.image_table import ImageTable
from heatdrop.aws.queues import DropQueue
from heatdrop.aws.record import Record
from heatdrop.errors import InvalidRequest
from heatdrop.vocabulary import State


def failed_images(records: ImageTable, image_ids: Iterable[str] = ()) -> Iterator[Record]:
    """The FAILED images among ``image_ids``; all there are, when none is named.

    Raises:
        InvalidRequest: an image is not known, or not FAILED.
    """
    named = list(image_ids)
    if not named:
        yield from records.failed()
    for image_id in named:
        record = records.get(image_id)
        if record is None:
            raise InvalidRequest(f"there is no image {image_id}")
        if record.state is not State.FAILED:
            raise InvalidRequest(f"image {image_id} is {record.state}; only a FAILED image can be redriven")
        yield record


def redrive(failed: Iterable[Record], records: ImageTable, drops: DropQueue) -> int:
    """Let FAILED images begin anew; returns how many did.

    The record is opened before the drop is told again: a crash in between leaves an open image, which the sweep finds.
    """
    reopened = 0
    for record in failed:
        if records.reopen(record):
            drops.send(record.drop)
            reopened += 1
    return reopened
