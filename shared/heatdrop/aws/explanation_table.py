"""Explanations on request: part of the item of their image, and moved by conditional writes like its own state."""

from typing import Any

from boto3.dynamodb.conditions import Attr

from heatdrop.aws.image_table import record_in, record_of
from heatdrop.aws.item_table import ItemTable, now
from heatdrop.aws.record import Record, RequestedExplanation
from heatdrop.aws.table_schema import EXPIRES_AT, iso
from heatdrop.errors import TooManyExplanations
from heatdrop.vocabulary import HeatmapFiles, State

MAX_EXPLANATIONS = 50
"""At most this many explanations on request an image: its record must stay far below the 400 KB of an item."""


class ExplanationTable:
    """The explanations on request of all images, by the image's id and their own."""

    def __init__(self, items: ItemTable) -> None:
        self._items = items

    def find_or_add(self, image_id: str, wanted: RequestedExplanation) -> Record:
        """Add an explanation that is wanted; the same one stays as it is, unless it FAILED and is wanted again.

        The image is open again, so that the sweep sees to it; its record does not expire before it is closed.

        Raises:
            TooManyExplanations: the image has as many as it may have.
        """
        name = wanted.explanation_id
        kept, explanations = Attr(f"explanations.{name}"), Attr("explanations")
        item = self._items.update_if(
            image_id,
            (kept.not_exists() & explanations.size().lt(MAX_EXPLANATIONS)) | _state(name).eq(State.FAILED),
            put={
                f"explanations.{name}": wanted.model_dump(mode="json", exclude_none=True),
                "open_shard": self._items.layout.shard_of(image_id),
                "updated_at": iso(now()),
            },
            remove=[EXPIRES_AT],
        )
        record = record_of(item) if item else record_in(self._items, image_id)
        if name not in record.explanations:
            raise TooManyExplanations(
                f"this image has {MAX_EXPLANATIONS} explanations on request, which is as many as are kept; "
                "drop it again to ask for others"
            )
        return record

    def mark_submitted(self, image_id: str, name: str, job_id: str) -> Record:
        """Write down which job will make an explanation."""
        return self._change(image_id, name, {"job_id": job_id})

    def mark_explained(
        self,
        image_id: str,
        name: str,
        picture: str,
        heatmaps: tuple[HeatmapFiles, ...],
        timings_ms: dict[str, float],
        trust: str | None = None,
    ) -> Record:
        """RECEIVED -> EXPLAINED; one that is settled stays as it is."""
        values = {
            "state": State.EXPLAINED,
            "picture": picture,
            "heatmaps": heatmaps,
            "timings_ms": timings_ms,
            "trust": trust,
        }
        return self._change(image_id, name, values)

    def mark_failed(self, image_id: str, name: str, reason: str) -> Record:
        """RECEIVED -> FAILED; one that is settled stays as it is."""
        return self._change(image_id, name, {"state": State.FAILED, "reason": reason})

    def _change(self, image_id: str, name: str, values: dict[str, Any]) -> Record:
        """Set fields of an explanation that is RECEIVED; returns the image's record as it is then, changed or not."""
        fields = {f"explanations.{name}.{field}": value for field, value in values.items()}
        item = self._items.update_if(image_id, _state(name).eq(State.RECEIVED), put=fields)
        return record_of(item) if item else record_in(self._items, image_id)


def _state(name: str) -> Attr:
    return Attr(f"explanations.{name}.state")
