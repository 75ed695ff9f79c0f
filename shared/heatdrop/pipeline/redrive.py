"""Let FAILED images begin anew."""

from collections.abc import Iterable, Iterator

from heatdrop.aws.image_table import ImageTable
from heatdrop.aws.queues import DropQueue
from heatdrop.aws.record import Record
from heatdrop.errors import InvalidRequest
from heatdrop.vocabulary import State


def failed_images(images: ImageTable, image_ids: Iterable[str] = ()) -> Iterator[Record]:
    """The records of ``image_ids``, or of all FAILED images where none is named.

    Raises:
        InvalidRequest: an image is not known, or not FAILED.
    """
    named = list(image_ids)
    if not named:
        yield from images.failed()
    for image_id in named:
        record = images.get(image_id)
        if record is None:
            raise InvalidRequest(f"there is no image {image_id}")
        if record.state is not State.FAILED:
            raise InvalidRequest(f"image {image_id} is {record.state}; only a FAILED image can be redriven")
        yield record


def redrive(failed: Iterable[Record], images: ImageTable, drops: DropQueue) -> int:
    """Let FAILED images begin anew; returns how many did.

    The record is reopened before its drop is sent: after a crash in between the sweep finds an open image.
    """
    reopened = 0
    for record in failed:
        if images.reopen(record):
            drops.send(record.drop)
            reopened += 1
    return reopened
