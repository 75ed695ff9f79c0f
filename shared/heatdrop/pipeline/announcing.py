"""Tell subscribers of a state: once, and once more only after a crash."""

from heatdrop.aws.image_table import ImageTable
from heatdrop.aws.notifications import Announcer
from heatdrop.aws.record import Record


def announce_once(record: Record, images: ImageTable, announcer: Announcer) -> None:
    """Publish a record's state unless the record says that this was done.

    After a crash between the two writes it is published again, with the same notification id.
    """
    if record.state in record.announced:
        return
    announcer.announce(record)
    images.mark_announced(record)
