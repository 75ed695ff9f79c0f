"""Tell subscribers of a state, once: the record remembers that it was told."""

from heatdrop.messages import Announcer
from heatdrop.record import Record
from heatdrop.records import Records


def announce_once(record: Record, records: Records, announcer: Announcer) -> None:
    """Publish the record's state unless that was done; after a crash in between it is published again."""
    if record.state in record.announced:
        return
    announcer.announce(record)
    records.announced(record)
