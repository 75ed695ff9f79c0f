"""The records of images in DynamoDB: the only place that changes the table.

A state moves one way only, by a conditional write, so a step that runs twice changes nothing the second time.
"""

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import boto3
from boto3.dynamodb.conditions import Attr, ConditionBase, Key

from heatdrop.aws.record import KnownModel, Record, RequestedExplanation
from heatdrop.aws.table_schema import BY_STATE, MODELS, OPEN_INDEX, SHARDS, iso, partition, shard_of
from heatdrop.errors import TooManyExplanations
from heatdrop.model.certificate import Certificate
from heatdrop.vocabulary import Drop, HeatmapFiles, ModelName, Prediction, State

if TYPE_CHECKING:
    from mypy_boto3_dynamodb.service_resource import Table

MAX_EXPLANATIONS = 50
"""At most this many explanations on request an image: its record must stay far below the 400 KB of an item."""

_INDEX_KEYS = ("open_shard", "shard", "state_shard", "label_shard", "listed_at", "label", "score")
"""What only the indexes need; everything else is the record."""


class ImageTable:
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
        shard = shard_of(image_id)
        item = _to_item(record) | {
            "open_shard": shard,
            "shard": shard,
            "state_shard": partition(shard, record.state),
            "listed_at": f"{iso(now)}#{image_id}",
        }
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
        best = predictions[0]
        values = {
            "predictions": predictions,
            "model": model,
            "timings_ms": timings_ms,
            "label": best.label,
            "score": best.score,
            "label_shard": partition(shard_of(image_id), best.label),
        }
        return self._move(image_id, State.CLASSIFIED, {State.RECEIVED}, values)

    def explain(
        self, record: Record, picture: str, heatmaps: tuple[HeatmapFiles, ...], timings_ms: dict[str, float]
    ) -> Record:
        """CLASSIFIED -> EXPLAINED; a final record stays as it is, as does one that another model classified since."""
        values = {"picture": picture, "heatmaps": heatmaps, "timings_ms": record.timings_ms | timings_ms}
        version = record.model.version if record.model else None
        same_model = Attr("model.version").eq(version)
        return self._move(record.image_id, State.EXPLAINED, {State.CLASSIFIED}, values, same_model)

    def reject(self, image_id: str, reason: str) -> Record:
        """RECEIVED -> REJECTED: the image is at fault."""
        return self._move(image_id, State.REJECTED, {State.RECEIVED}, {"reason": reason})

    def fail(self, image_id: str, reason: str) -> Record:
        """Any open state -> FAILED: we are at fault."""
        return self._move(image_id, State.FAILED, {State.RECEIVED, State.CLASSIFIED}, {"reason": reason})

    def submitted(self, image_id: str, manifest_id: str, job_id: str) -> None:
        """Note which job will explain a classified image; the first that is noted stays."""
        self._update(
            image_id,
            Attr("state").eq(State.CLASSIFIED) & Attr("job_id").not_exists(),
            "SET manifest_id = :manifest, job_id = :job, updated_at = :now",
            {":manifest": manifest_id, ":job": job_id, ":now": _now()},
        )

    def announced(self, record: Record) -> None:
        """Note that subscribers have been told of the state.

        An image whose final state is told is no longer open, unless explanations were asked for: then the sweep sees
        to those and closes it.
        """
        image_id, told = record.image_id, {":state": {record.state.value}}
        same = Attr("state").eq(record.state) & _same_attempt(record)
        closes = record.state.final and same & Attr("explanations").size().eq(0)
        if not (closes and self._update(image_id, closes, "ADD announced :state REMOVE open_shard", told)):
            self._update(image_id, same, "ADD announced :state", told)

    def close(self, record: Record) -> None:
        """Note that nothing of an image is left to be done, unless something has happened to it since."""
        self._update(record.image_id, _untouched(record), "REMOVE open_shard", {})

    def request_explanation(self, image_id: str, wanted: RequestedExplanation) -> Record:
        """Note an explanation that is wanted; one that is there already stays, unless it FAILED.

        The image is open again, so that the sweep sees to it.

        Raises:
            TooManyExplanations: the image has as many as it may have.
        """
        name = wanted.explanation_id
        try:
            answer = self._table.update_item(
                Key={"image_id": image_id},
                UpdateExpression="SET explanations.#name = :wanted, open_shard = :shard, updated_at = :now",
                ConditionExpression="(attribute_not_exists(explanations.#name) AND size(explanations) < :most) "
                "OR explanations.#name.#state = :failed",
                ExpressionAttributeNames={"#name": name, "#state": "state"},
                ExpressionAttributeValues={
                    ":wanted": _plain(wanted.model_dump(mode="json", exclude_none=True)),
                    ":most": MAX_EXPLANATIONS,
                    ":shard": shard_of(image_id),
                    ":now": _now(),
                    ":failed": State.FAILED.value,
                },
                ReturnValues="ALL_NEW",
            )
        except self._table.meta.client.exceptions.ConditionalCheckFailedException:
            record = self._known(image_id)
            if name not in record.explanations:
                raise TooManyExplanations(
                    f"this image has {MAX_EXPLANATIONS} explanations on request, which is as many as are kept; "
                    "drop it again to ask for others"
                ) from None
            return record
        return _from_item(answer["Attributes"])

    def settle_explanation(self, image_id: str, name: str, values: dict[str, Any]) -> Record:
        """Set fields of an explanation on request that is RECEIVED; one that is settled stays as it is."""
        fields = _plain(values)
        try:
            answer = self._table.update_item(
                Key={"image_id": image_id},
                UpdateExpression="SET " + ", ".join(f"explanations.#name.#{field} = :{field}" for field in fields),
                ConditionExpression="explanations.#name.#state = :received",
                ExpressionAttributeNames={f"#{field}": field for field in fields} | {"#name": name, "#state": "state"},
                ExpressionAttributeValues={f":{field}": value for field, value in fields.items()}
                | {":received": State.RECEIVED.value},
                ReturnValues="ALL_NEW",
            )
        except self._table.meta.client.exceptions.ConditionalCheckFailedException:
            return self._known(image_id)
        return _from_item(answer["Attributes"])

    def fail_explanation(self, image_id: str, name: str, reason: str) -> Record:
        """RECEIVED -> FAILED, for an explanation on request."""
        return self.settle_explanation(image_id, name, {"state": State.FAILED, "reason": reason})

    def know_model(self, model: ModelName, labels: tuple[str, ...], certificate: Certificate | None = None) -> None:
        """Note that a model is in use; the first time counts, and of its certificates the latest."""
        now = datetime.now(UTC)
        known = KnownModel(
            name=model.name, version=model.version, labels=labels, first_used_at=now, certificate=certificate
        )
        name = f"model#{model.version}"
        item: dict[str, Any] = {
            "image_id": name,
            "shard": MODELS,
            "listed_at": f"{iso(now)}#{model.version}",
            "known_model": _plain(known.model_dump(mode="json", exclude_none=True)),
        }
        try:
            self._table.put_item(Item=item, ConditionExpression="attribute_not_exists(image_id)")
        except self._table.meta.client.exceptions.ConditionalCheckFailedException:
            if certificate is not None:
                kept = Attr("known_model.certificate.measured_on")
                self._update(
                    name,
                    kept.not_exists() | kept.lte(certificate.measured_on),
                    "SET known_model.certificate = :certificate",
                    {":certificate": item["known_model"]["certificate"]},
                )

    def keep_waiting(self, record: Record) -> None:
        """Note that an open image was looked after and is in good hands, unless it has made progress since."""
        self._update(record.image_id, _untouched(record), "SET updated_at = :now", {":now": _now()})

    def give_chance(self, record: Record, *, new_job: bool) -> bool:
        """Note another chance for an open image, and with ``new_job`` forget the job that will not explain it.

        Returns:
            Whether it was given: not when the image has made progress since ``record`` was read.
        """
        return self._update(
            record.image_id,
            _untouched(record),
            "SET chances = :chances, updated_at = :now" + (" REMOVE job_id, manifest_id" if new_job else ""),
            {":chances": record.chances + 1, ":now": _now()},
        )

    def reopen(self, record: Record) -> bool:
        """FAILED -> RECEIVED, for another attempt from the start.

        Returns:
            Whether it was: not when the image is not, or no longer, FAILED in the attempt of ``record``.
        """
        forgotten = (
            *("reason", "predictions", "model", "job_id", "manifest_id", "announced", "timings_ms", "chances"),
            *("label", "score", "label_shard"),
        )
        names = {f"#{name}": name for name in ("state", *forgotten)}
        return self._update(
            record.image_id,
            Attr("state").eq(State.FAILED) & _same_attempt(record),
            "SET #state = :received, state_shard = :state_shard, attempt = :attempt, open_shard = :shard, "
            "updated_at = :now REMOVE " + ", ".join(f"#{name}" for name in forgotten),
            {
                ":received": State.RECEIVED.value,
                ":attempt": record.attempt + 1,
                ":shard": shard_of(record.image_id),
                ":state_shard": partition(shard_of(record.image_id), State.RECEIVED),
                ":now": _now(),
            },
            names,
        )

    def failed(self) -> Iterator[Record]:
        """Every FAILED image, as it is now."""
        for shard in map(str, range(SHARDS)):
            for image_id in self._ids(BY_STATE, Key("state_shard").eq(partition(shard, State.FAILED))):
                record = self.get(image_id)
                if record and record.state is State.FAILED:
                    yield record

    def open_since(self, moment: datetime) -> Iterator[str]:
        """The ids of images without progress since ``moment``: not final, untold, or with explanations on request."""
        for shard in map(str, range(SHARDS)):
            yield from self._ids(OPEN_INDEX, Key("open_shard").eq(shard) & Key("updated_at").lt(iso(moment)))

    def _ids(self, index: str, keys: ConditionBase) -> Iterator[str]:
        request: dict[str, Any] = {"IndexName": index, "KeyConditionExpression": keys}
        while True:
            page = self._table.query(**request)
            for item in page["Items"]:
                yield str(item["image_id"])
            if "LastEvaluatedKey" not in page:
                break
            request["ExclusiveStartKey"] = page["LastEvaluatedKey"]

    def _move(
        self,
        image_id: str,
        to: State,
        allowed: set[State],
        values: dict[str, Any],
        only_if: ConditionBase | None = None,
    ) -> Record:
        moved = {"state": to.value, "state_shard": partition(shard_of(image_id), to), "updated_at": _now()}
        fields = _plain(values) | moved
        condition: ConditionBase = Attr("state").is_in(sorted(allowed))
        try:
            answer = self._table.update_item(
                Key={"image_id": image_id},
                UpdateExpression="SET " + ", ".join(f"#{name} = :{name}" for name in fields),
                ConditionExpression=condition & only_if if only_if else condition,
                ExpressionAttributeNames={f"#{name}": name for name in fields},
                ExpressionAttributeValues={f":{name}": value for name, value in fields.items()},
                ReturnValues="ALL_NEW",
            )
        except self._table.meta.client.exceptions.ConditionalCheckFailedException:
            return self._known(image_id)
        return _from_item(answer["Attributes"])

    def _update(
        self,
        image_id: str,
        condition: ConditionBase,
        expression: str,
        values: dict[str, Any],
        names: dict[str, str] | None = None,
    ) -> bool:
        """Change a record if a condition holds; tells whether it did."""
        request: dict[str, Any] = {"UpdateExpression": expression, "ConditionExpression": condition}
        if names:
            request["ExpressionAttributeNames"] = names
        try:
            self._table.update_item(Key={"image_id": image_id}, ExpressionAttributeValues=values, **request)
        except self._table.meta.client.exceptions.ConditionalCheckFailedException:
            return False
        return True

    def _known(self, image_id: str) -> Record:
        record = self.get(image_id)
        if record is None:
            raise LookupError(f"the record of image {image_id} was deleted while it was being worked on")
        return record


def _same_attempt(record: Record) -> ConditionBase:
    """Items written before ``attempt`` existed lack it."""
    attempt = Attr("attempt")
    return attempt.not_exists() | attempt.eq(1) if record.attempt == 1 else attempt.eq(record.attempt)


def _untouched(record: Record) -> ConditionBase:
    return Attr("state").eq(record.state) & Attr("updated_at").eq(iso(record.updated_at))


def _now() -> str:
    return iso(datetime.now(UTC))


def _plain(value: Any) -> Any:
    """What boto3 can store: models as dictionaries, floats as decimals."""
    return json.loads(json.dumps(value, default=lambda model: model.model_dump(mode="json")), parse_float=Decimal)


def _to_item(record: Record) -> dict[str, Any]:
    item: dict[str, Any] = _plain(record.model_dump(mode="json", exclude_none=True, exclude={"announced"}))
    return item | {"created_at": iso(record.created_at), "updated_at": iso(record.updated_at)}


def _from_item(item: dict[str, Any]) -> Record:
    return Record.model_validate({name: value for name, value in item.items() if name not in _INDEX_KEYS})
