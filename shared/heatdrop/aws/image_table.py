"""The records of images: each state is reached by one conditional write.

A state moves one way only, so a step that runs twice changes nothing the second time.
"""

from collections.abc import Iterator
from datetime import datetime
from itertools import islice
from typing import Any, NamedTuple

from boto3.dynamodb.conditions import Attr, ConditionBase, Key

from heatdrop.aws.item_table import Item, ItemTable, now, plain
from heatdrop.aws.record import Record
from heatdrop.aws.table_schema import BY_STATE, EXPIRES_AT, OPEN_INDEX, iso, partition
from heatdrop.errors import RecordGone
from heatdrop.vocabulary import Drop, HeatmapFiles, ModelName, Prediction, State

_NOT_OF_THE_RECORD = {
    *("open_shard", "shard", "state_shard", "label_shard", "listed_at", "label", "score"),
    EXPIRES_AT,
    "chances",
}
"""Attributes that only the indexes or the time to live need, and ``chances``, which earlier versions wrote."""


class ImageTable:
    """The records of images, by their ids."""

    def __init__(self, items: ItemTable) -> None:
        self._items = items

    def get(self, image_id: str) -> Record | None:
        """The record as it is now (a strongly consistent read), or None."""
        item = self._items.get(image_id)
        return record_of(item) if item else None

    def find_or_add(self, image_id: str, drop: Drop) -> Record:
        """The record of a drop; a new one, RECEIVED, where the drop was never seen before."""
        moment = now()
        record = Record(image_id=image_id, state=State.RECEIVED, drop=drop, created_at=moment, updated_at=moment)
        shard = self._items.layout.shard_of(image_id)
        item: Item = plain(record.model_dump(mode="json", exclude_none=True, exclude={"announced"}))
        item |= {
            "created_at": iso(moment),
            "updated_at": iso(moment),
            "open_shard": shard,
            "shard": shard,
            "state_shard": partition(shard, record.state),
            "listed_at": f"{iso(moment)}#{image_id}",
        }
        return record if self._items.add(item) else record_in(self._items, image_id)

    def mark_classified(
        self,
        image_id: str,
        predictions: tuple[Prediction, ...],
        model: ModelName,
        timings_ms: dict[str, float],
        *,
        bundle_uri: str,
        job_definition: str,
        unusual: float | None = None,
    ) -> Record:
        """RECEIVED -> CLASSIFIED; a record in any other state stays as it is.

        Args:
            image_id: of the image.
            predictions: of every class, best first.
            model: that made them.
            timings_ms: milliseconds of each step.
            bundle_uri: where that model's bundle lies.
            job_definition: ARN of the job definition that was deployed with it.
            unusual: the share of the validation images that are more usual, where that is known.
        """
        best = predictions[0]
        values = {
            "predictions": predictions,
            "unusual": unusual,
            "model": model,
            "bundle_uri": bundle_uri,
            "job_definition": job_definition,
            "timings_ms": timings_ms,
            "label": best.label,
            "score": best.score,
            "label_shard": partition(self._items.layout.shard_of(image_id), best.label),
        }
        return self._move(image_id, State.CLASSIFIED, Attr("state").eq(State.RECEIVED), values)

    def mark_explained(
        self,
        record: Record,
        picture: str,
        heatmaps: tuple[HeatmapFiles, ...],
        timings_ms: dict[str, float],
        trust: str | None = None,
    ) -> Record:
        """CLASSIFIED -> EXPLAINED; a final record stays as it is, and so does one that another model has classified."""
        timings = record.timings_ms | timings_ms
        values = {"picture": picture, "heatmaps": heatmaps, "timings_ms": timings, "trust": trust}
        same_model = Attr("model.version").eq(record.model.version if record.model else None)
        return self._move(record.image_id, State.EXPLAINED, Attr("state").eq(State.CLASSIFIED) & same_model, values)

    def mark_rejected(self, image_id: str, reason: str) -> Record:
        """RECEIVED -> REJECTED: the image is at fault. A record in any other state stays as it is."""
        return self._move(image_id, State.REJECTED, Attr("state").eq(State.RECEIVED), {"reason": reason})

    def mark_failed(self, image_id: str, reason: str) -> Record:
        """RECEIVED or CLASSIFIED -> FAILED: we are at fault. A final record stays as it is."""
        not_final = Attr("state").is_in([State.CLASSIFIED, State.RECEIVED])
        return self._move(image_id, State.FAILED, not_final, {"reason": reason})

    def mark_submitted(self, image_id: str, manifest_id: str, job_id: str) -> None:
        """Write down which job will explain a classified image, unless one is written down already."""
        self._items.update_if(
            image_id,
            Attr("state").eq(State.CLASSIFIED) & Attr("job_id").not_exists(),
            put={"manifest_id": manifest_id, "job_id": job_id, "updated_at": iso(now())},
        )

    def mark_announced(self, record: Record) -> None:
        """Write down that subscribers know the record's state.

        That ends an image whose state is final: the sweep sees it no more. An image with explanations on request
        stays open, and is closed by the sweep once those are settled.
        """
        told = {"announced": {record.state.value}}
        same = Attr("state").eq(record.state) & _same_attempt(record)
        if record.state.final:
            nothing_requested = same & Attr("explanations").size().eq(0)
            expiry = self._items.layout.expiry(now())
            if self._items.update_if(record.image_id, nothing_requested, add=told, put=expiry, remove=["open_shard"]):
                return
        self._items.update_if(record.image_id, same, add=told)

    def reopen(self, record: Record) -> bool:
        """FAILED -> RECEIVED, for another attempt from the start.

        Returns:
            False where the image is no longer FAILED in the attempt that ``record`` speaks of.
        """
        shard = self._items.layout.shard_of(record.image_id)
        reopened = self._items.update_if(
            record.image_id,
            Attr("state").eq(State.FAILED) & _same_attempt(record),
            put={
                "state": State.RECEIVED,
                "state_shard": partition(shard, State.RECEIVED),
                "attempt": record.attempt + 1,
                "open_shard": shard,
                "updated_at": iso(now()),
            },
            remove=[
                *("reason", "predictions", "model", "bundle_uri", "job_definition", "job_id", "manifest_id"),
                *("announced", "timings_ms", "times_stuck"),
                *("label", "score", "label_shard", EXPIRES_AT),
            ],
        )
        return reopened is not None

    def failed(self) -> Iterator[Record]:
        """Every FAILED image, as it is now."""
        for shard in self._items.layout.all_shards:
            for item in self._items.query(BY_STATE, Key("state_shard").eq(partition(shard, State.FAILED))):
                record = self.get(item["image_id"])
                if record and record.state is State.FAILED:
                    yield record

    def _move(self, image_id: str, to: State, condition: ConditionBase, values: dict[str, Any]) -> Record:
        """Let a record reach a state if a condition holds for it; returns it as it is then, moved or not."""
        shard = self._items.layout.shard_of(image_id)
        moved = {"state": to, "state_shard": partition(shard, to), "updated_at": iso(now())}
        item = self._items.update_if(image_id, condition, put=values | moved)
        return record_of(item) if item else record_in(self._items, image_id)


class OpenImage(NamedTuple):
    """What the index of open images holds of one of them."""

    image_id: str
    job_id: str | None
    """Of its own job; None also where the index was made before it held the ids of jobs."""


class OpenImages:
    """The images that are not done with, as the sweep needs them.

    An image is open until its final state was announced, and while explanations on request are to be made.
    """

    def __init__(self, items: ItemTable) -> None:
        self._items = items

    def unchanged_since(self, moment: datetime) -> Iterator[OpenImage]:
        """The open images whose records have not changed since ``moment``."""
        for shard in self._items.layout.all_shards:
            keys = Key("open_shard").eq(shard) & Key("updated_at").lt(iso(moment))
            for item in self._items.query(OPEN_INDEX, keys):
                yield OpenImage(item["image_id"], item.get("job_id"))

    def oldest_classified(self) -> datetime | None:
        """When the image was dropped that has waited longest for its heatmaps; None where none waits."""
        listed = []
        for shard in self._items.layout.all_shards:
            keys = Key("state_shard").eq(partition(shard, State.CLASSIFIED))
            listed += [str(item["listed_at"]) for item in islice(self._items.query(BY_STATE, keys, Limit=1), 1)]
        return datetime.fromisoformat(min(listed).partition("#")[0]) if listed else None

    def mark_active(self, record: Record) -> None:
        """Count this moment as progress: the job of the image runs, or waits for its turn."""
        self._items.update_if(record.image_id, _unchanged(record), put={"updated_at": iso(now())})

    def mark_stuck(self, record: Record, *, forget_job: bool) -> bool:
        """Count once more that the image made no progress; with ``forget_job`` it may get another job.

        Returns:
            False where the image has made progress since ``record`` was read.
        """
        counted = self._items.update_if(
            record.image_id,
            _unchanged(record),
            put={"times_stuck": record.times_stuck + 1, "updated_at": iso(now())},
            remove=["job_id", "manifest_id"] if forget_job else [],
        )
        return counted is not None

    def close(self, record: Record) -> None:
        """Write down that nothing is left to be done for an image, unless it has changed since it was read."""
        expiry = self._items.layout.expiry(now())
        self._items.update_if(record.image_id, _unchanged(record), put=expiry, remove=["open_shard"])


def record_of(item: Item) -> Record:
    """The record that an item holds."""
    return Record.model_validate({name: value for name, value in item.items() if name not in _NOT_OF_THE_RECORD})


def record_in(items: ItemTable, image_id: str) -> Record:
    """The record of an image that must be there.

    Raises:
        RecordGone: it was erased.
    """
    item = items.get(image_id)
    if item is None:
        raise RecordGone(f"the record of image {image_id} was erased while it was being worked on")
    return record_of(item)


def _same_attempt(record: Record) -> ConditionBase:
    """Items written before ``attempt`` existed lack it; they are in their first attempt."""
    attempt = Attr("attempt")
    return attempt.not_exists() | attempt.eq(1) if record.attempt == 1 else attempt.eq(record.attempt)


def _unchanged(record: Record) -> ConditionBase:
    """The item is still the one that ``record`` was read from: every change of it sets ``updated_at``."""
    return Attr("state").eq(record.state) & Attr("updated_at").eq(iso(record.updated_at))
