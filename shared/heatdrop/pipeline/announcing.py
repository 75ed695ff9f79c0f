"""Tell subscribers of a state, once: the record remembers that it was told."""

from heatdrop.aws.image_table import ImageTable
from heatdrop.aws.notifications import Announcer
from heatdrop.aws.record import Record


def announce_once(record: Record, records: ImageTable, announcer: Announcer) -> None:
    """Publish the record's state unless that was done; after a crash in between it is published again."""
    if record.state in record.announced:
        return
    announcer.announce(record)
    records.announced(record)
