"""The record of an image in DynamoDB: the only place that knows the table.

A state moves one way only, by a conditional write, so a step that runs twice changes nothing the second time.
"""

import json
import zlib
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import boto3
from boto3.dynamodb.conditions import Key
from pydantic import Field

from heatdrop.vocabulary import Drop, HeatmapFiles, ModelName, Prediction, State, Words

if TYPE_CHECKING:
    from mypy_boto3_dynamodb.service_resource import Table

OPEN_INDEX = "open_images"
OPEN_SHARDS = 8
"""Open images are spread over this many index partitions, so that a burst of drops has no hot one."""


class Record(Words):
    """Everything known about one image."""

    image_id: str
    state: State
    drop: Drop
    created_at: datetime
    updated_at: datetime
    reason: str | None = None
    predictions: tuple[Prediction, ...] = ()
    model: ModelName | None = None
    job_id: str | None = None
    manifest_id: str | None = None
    picture: str | None = None
    heatmaps: tuple[HeatmapFiles, ...] = ()
    announced: frozenset[State] = frozenset()
    timings_ms: dict[str, float] = Field(default_factory=dict)

    @property
    def waits_for_job(self) -> bool:
        """Whether the image is classified but no heatmap job has been recorded for it."""
        return self.state is State.CLASSIFIED and self.job_id is None


class Records:
    """The table of images."""

    def __init__(self, table_name: str) -> None:
        self._table: Table = boto3.resource("dynamodb").Table(table_name)

    def get(self, image_id: str) -> Record | None:
        """The record as it is now (a strongly consistent read), or None."""
        item = self._table.get_item(Key={"image_id": image_id}, ConsistentRead=True).get("Item")
        return _from_item(item) if item else None

    def receive(self, image_id: str, drop: Drop) -> Record:
        """Open the record of a drop; the record that is there already, when the drop was seen before."""
        now = datetime.now(UTC)
        record = Record(image_id=image_id, state=State.RECEIVED, drop=drop, created_at=now, updated_at=now)
        item = _to_item(record) | {"open_shard": _shard(image_id)}
        try:
            self._table.put_item(Item=item, ConditionExpression="attribute_not_exists(image_id)")
        except self._table.meta.client.exceptions.ConditionalCheckFailedException:
            return self._known(image_id)
        return record

    def classify(
        self,
        image_id: str,
        predictions: tuple[Prediction, ...],
        model: ModelName,
        timings_ms: dict[str, float],
    ) -> Record:
        """RECEIVED -> CLASSIFIED; a record that is further on stays as it is."""
        values = {"predictions": predictions, "model": model, "timings_ms": timings_ms}
        return self._move(image_id, State.CLASSIFIED, {State.RECEIVED}, values)

    def explain(
        self, record: Record, picture: str, heatmaps: tuple[HeatmapFiles, ...], timings_ms: dict[str, float]
    ) -> Record:
        """CLASSIFIED -> EXPLAINED; a final record stays as it is."""
        values = {"picture": picture, "heatmaps": heatmaps, "timings_ms": record.timings_ms | timings_ms}
        return self._move(record.image_id, State.EXPLAINED, {State.CLASSIFIED}, values)

    def reject(self, image_id: str, reason: str) -> Record:
        """RECEIVED -> REJECTED: the image is at fault."""
        return self._move(image_id, State.REJECTED, {State.RECEIVED}, {"reason": reason})

    def fail(self, image_id: str, reason: str) -> Record:
        """Any open state -> FAILED: we are at fault."""
        return self._move(image_id, State.FAILED, {State.RECEIVED, State.CLASSIFIED}, {"reason": reason})

    def submitted(self, image_id: str, manifest_id: str, job_id: str) -> None:
        """Note which job will explain a classified image."""
        self._table.update_item(
            Key={"image_id": image_id},
            UpdateExpression="SET manifest_id = :manifest, job_id = :job, updated_at = :now",
            ExpressionAttributeValues={":manifest": manifest_id, ":job": job_id, ":now": _now()},
        )

    def announced(self, image_id: str, state: State) -> None:
        """Note that subscribers have been told of a state."""
        self._table.update_item(
            Key={"image_id": image_id},
            UpdateExpression="ADD announced :state",
            ExpressionAttributeValues={":state": {state.value}},
        )

    def open_since(self, moment: datetime) -> Iterator[str]:
        """The ids of images without a final state that have made no progress since ``moment``."""
        for shard in range(OPEN_SHARDS):
            request: dict[str, Any] = {
                "IndexName": OPEN_INDEX,
                "KeyConditionExpression": Key("open_shard").eq(str(shard)) & Key("updated_at").lt(_iso(moment)),
            }
            while True:
                page = self._table.query(**request)
                for item in page["Items"]:
                    yield str(item["image_id"])
                if "LastEvaluatedKey" not in page:
                    break
                request["ExclusiveStartKey"] = page["LastEvaluatedKey"]

    def _move(self, image_id: str, to: State, allowed: set[State], values: dict[str, Any]) -> Record:
        fields = _plain(values) | {"state": to.value, "updated_at": _now()}
        sources = {f":from{index}": state.value for index, state in enumerate(sorted(allowed))}
        try:
            answer = self._table.update_item(
                Key={"image_id": image_id},
                UpdateExpression="SET "
                + ", ".join(f"#{name} = :{name}" for name in fields)
                + (" REMOVE open_shard" if to.final else ""),
                ConditionExpression=f"#state IN ({', '.join(sources)})",
                ExpressionAttributeNames={f"#{name}": name for name in fields},
                ExpressionAttributeValues={f":{name}": value for name, value in fields.items()} | sources,
                ReturnValues="ALL_NEW",
            )
        except self._table.meta.client.exceptions.ConditionalCheckFailedException:
            return self._known(image_id)
        return _from_item(answer["Attributes"])

    def _known(self, image_id: str) -> Record:
        record = self.get(image_id)
        if record is None:
            raise LookupError(f"the record of image {image_id} was deleted while it was being worked on")
        return record


def _shard(image_id: str) -> str:
    return str(zlib.crc32(image_id.encode()) % OPEN_SHARDS)


def _iso(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="milliseconds")


def _now() -> str:
    return _iso(datetime.now(UTC))


def _plain(value: Any) -> Any:
    """What boto3 can store: models as dictionaries, floats as decimals."""
    return json.loads(json.dumps(value, default=lambda model: model.model_dump(mode="json")), parse_float=Decimal)


def _to_item(record: Record) -> dict[str, Any]:
    item: dict[str, Any] = _plain(record.model_dump(mode="json", exclude_none=True, exclude={"announced"}))
    return item | {"created_at": _iso(record.created_at), "updated_at": _iso(record.updated_at)}


def _from_item(item: dict[str, Any]) -> Record:
    return Record.model_validate({name: value for name, value in item.items() if name != "open_shard"})
