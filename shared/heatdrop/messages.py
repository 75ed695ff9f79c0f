"""What comes in as events and what goes out as notifications: the only place that knows SQS bodies and SNS."""

import json
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import quote_plus, unquote_plus

import boto3
from pydantic import Field

from heatdrop.errors import HeatdropError
from heatdrop.jobs import failure_reason
from heatdrop.record import Record
from heatdrop.vocabulary import Drop, State, Words

if TYPE_CHECKING:
    from mypy_boto3_events.client import EventBridgeClient
    from mypy_boto3_sns.client import SNSClient
    from mypy_boto3_sns.type_defs import MessageAttributeValueTypeDef
    from mypy_boto3_sqs.client import SQSClient


class UnknownEvent(HeatdropError):
    """A queue holds a message that is not what its sender sends."""


class NotAnnounced(HeatdropError):
    """A bus did not take the news, which is told again with the retry."""


DETAIL_TYPE = "Image State Change"
"""What EventBridge calls a notification."""


class Notification(Words):
    """The news that an image has reached a state. ``id`` is the same when SNS, or we, say it twice."""

    id: Annotated[str, Field(description="The same when the news is told twice.")]
    image_id: str
    state: State
    key: Annotated[str, Field(description="Of the image in the input bucket.")]
    reason: Annotated[str | None, Field(description="Why the image is REJECTED or FAILED.")] = None
    label: Annotated[str | None, Field(description="The best class.")] = None
    score: Annotated[float | None, Field(description="Probability of the best class.")] = None
    model: Annotated[str | None, Field(description="Version of the model that said so.")] = None
    at: Annotated[datetime, Field(description="When the image reached the state.")]


class Announcer:
    """The topic that subscribers listen to, and the EventBridge bus that is told the same, where ``bus`` names one."""

    def __init__(self, topic_arn: str, bus: str = "") -> None:
        self._topic_arn, self._bus = topic_arn, bus
        self._sns: SNSClient = boto3.client("sns")
        # Made only for those who have a bus: each client costs a cold start 20 ms.
        self._events: EventBridgeClient | None = boto3.client("events") if bus else None

    def announce(self, record: Record) -> None:
        """Publish the state of an image, with attributes to filter on: state, label, score, model.

        Raises:
            NotAnnounced: the bus did not take it.
        """
        best = record.predictions[0] if record.predictions else None
        notification = Notification(
            id=_notification_id(record),
            image_id=record.image_id,
            state=record.state,
            key=record.drop.key,
            reason=record.reason,
            label=best.label if best else None,
            score=best.score if best else None,
            model=record.model.version if record.model else None,
            at=record.updated_at,
        )
        attributes = {"state": _text(record.state)}
        if best and record.model:
            attributes |= {
                "label": _text(best.label),
                "score": {"DataType": "Number", "StringValue": f"{best.score:.6f}"},
                "model": _text(record.model.version),
            }
        message = notification.model_dump_json()
        self._sns.publish(TopicArn=self._topic_arn, Message=message, MessageAttributes=attributes)
        if self._events:
            entry = {"EventBusName": self._bus, "Source": "heatdrop", "DetailType": DETAIL_TYPE, "Detail": message}
            answer = self._events.put_events(Entries=[entry])  # type: ignore[list-item]
            if answer["FailedEntryCount"]:
                raise NotAnnounced(f"the bus {self._bus} did not take the news: {answer['Entries']}")


class DropQueue:
    """The queue that inference is fed from."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._sqs: SQSClient = boto3.client("sqs")

    def send(self, drop: Drop) -> None:
        """Tell of a drop again, as S3 does."""
        described = {"key": quote_plus(drop.key), "eTag": drop.etag}
        described |= {"versionId": drop.version_id} if drop.version_id else {}
        s3 = {"bucket": {"name": drop.bucket}, "object": described}
        self._sqs.send_message(
            QueueUrl=self._url, MessageBody=json.dumps({"Records": [{"eventName": "ObjectCreated:Again", "s3": s3}]})
        )


class DeadLetters:
    """The queue of messages that could not be settled, and the one that they came from."""

    def __init__(self, url: str, origin_url: str) -> None:
        self._url, self._origin_url = url, origin_url
        self._sqs: SQSClient = boto3.client("sqs")

    def count(self) -> int:
        """About how many there are."""
        answer = self._sqs.get_queue_attributes(QueueUrl=self._url, AttributeNames=["ApproximateNumberOfMessages"])
        return int(answer["Attributes"]["ApproximateNumberOfMessages"])

    def send_back(self) -> int:
        """Send every message back to where it came from; returns how many there were."""
        sent = 0
        while messages := self._sqs.receive_message(QueueUrl=self._url, MaxNumberOfMessages=10, WaitTimeSeconds=1).get(
            "Messages"
        ):
            for message in messages:
                # In this order a message may be there twice, and is never lost.
                self._sqs.send_message(QueueUrl=self._origin_url, MessageBody=message["Body"])
                self._sqs.delete_message(QueueUrl=self._url, ReceiptHandle=message["ReceiptHandle"])
                sent += 1
        return sent


def drops_in(body: str, bucket: str) -> list[Drop]:
    """The drops that an S3 event notification in an SQS message tells of; none for ``s3:TestEvent``.

    Keys arrive form-encoded and are decoded here, once. Events of other buckets are ignored: the queue is ours, but
    what a message says is not proof.

    Raises:
        UnknownEvent: the body is not an S3 event notification.
    """
    try:
        event = json.loads(body)
        if event.get("Event") == "s3:TestEvent":
            return []
        return [
            _drop(entry["s3"])
            for entry in event["Records"]
            if entry["eventName"].startswith("ObjectCreated:") and entry["s3"]["bucket"]["name"] == bucket
        ]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        # What it holds may be a patient's name, so it is not quoted.
        raise UnknownEvent(f"not an S3 event notification ({len(body)} characters)") from error


def _drop(entry: dict[str, Any]) -> Drop:
    described = entry["object"]
    return Drop(
        bucket=entry["bucket"]["name"],
        key=unquote_plus(described["key"]),
        version_id=described.get("versionId"),
        etag=described.get("eTag", ""),
        size=described.get("size"),
    )


class JobFailure(Words):
    """A heatmap job that ended badly."""

    job_id: str
    manifest_key: str
    reason: str


class Sweep(Words):
    """The clock says: look for images without progress."""


class DeadDrops(Words):
    """Drops that inference gave up on."""

    drops: tuple[Drop, ...]


def trouble_in(body: str, bucket: str, job_queue: str) -> JobFailure | Sweep | DeadDrops | None:
    """What a message of the job events queue, or of the dead letters of ``bucket``, says; None: of others' jobs.

    Raises:
        UnknownEvent: it is none of the three.
    """
    try:
        event = json.loads(body)
        if "detail-type" not in event:
            return DeadDrops(drops=tuple(drops_in(body, bucket)))
        if event["detail-type"] == "Sweep":
            return Sweep()
        detail = event["detail"]
        failure = JobFailure(
            job_id=detail["jobId"], manifest_key=detail["parameters"]["manifest"], reason=failure_reason(detail)
        )
        return failure if detail["jobQueue"] == job_queue else None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UnknownEvent(f"not a failed job, a sweep or a drop ({len(body)} characters)") from error


def _notification_id(record: Record) -> str:
    """The same whenever a state is told again; another one once the image was redriven."""
    again = f":{record.attempt}" if record.attempt > 1 else ""
    return f"{record.image_id}:{record.state}{again}"


def _text(value: str) -> "MessageAttributeValueTypeDef":
    return {"DataType": "String", "StringValue": value}
