"""What subscribers are told: one notification for each state that an image reaches, over SNS and EventBridge."""

from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import boto3
from pydantic import Field

from heatdrop.aws.record import Record
from heatdrop.errors import NotAnnounced
from heatdrop.vocabulary import FrozenModel, State

if TYPE_CHECKING:
    from mypy_boto3_events.client import EventBridgeClient
    from mypy_boto3_sns.client import SNSClient
    from mypy_boto3_sns.type_defs import MessageAttributeValueTypeDef

DETAIL_TYPE = "Image State Change"
"""The ``detail-type`` of notifications on EventBridge."""


class Notification(FrozenModel):
    """The news that an image has reached a state. ``id`` is the same when SNS, or we, say it twice."""

    id: Annotated[str, Field(description="The same when the news is told twice.")]
    image_id: str
    state: State
    key: Annotated[str, Field(description="Of the image in the input bucket.")]
    reason: Annotated[str | None, Field(description="Why the image is REJECTED or FAILED.")] = None
    label: Annotated[str | None, Field(description="The best class.")] = None
    score: Annotated[float | None, Field(description="Probability of the best class.")] = None
    model: Annotated[str | None, Field(description="Version of the model that said so.")] = None
    unusual: Annotated[
        float | None,
        Field(description="Share of the validation images that are more usual than this one, where that is known."),
    ] = None
    at: Annotated[datetime, Field(description="When the image reached the state.")]


class Announcer:
    """Publishes notifications to an SNS topic and, where ``bus`` names one, to an EventBridge bus."""

    def __init__(self, topic_arn: str, bus: str = "") -> None:
        self._topic_arn, self._bus = topic_arn, bus
        self._sns: SNSClient = boto3.client("sns")
        # Made only where there is a bus: each client adds 20 ms to a cold start.
        self._events: EventBridgeClient | None = boto3.client("events") if bus else None

    def announce(self, record: Record) -> None:
        """Publish the state of an image, with attributes to filter on: state, label, score, model, unusual.

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
            unusual=record.unusual,
            at=record.updated_at,
        )
        attributes = {"state": _text(record.state)}
        if best and record.model:
            attributes |= {
                "label": _text(best.label),
                "score": {"DataType": "Number", "StringValue": f"{best.score:.6f}"},
                "model": _text(record.model.version),
            }
        if record.unusual is not None:
            attributes["unusual"] = {"DataType": "Number", "StringValue": f"{record.unusual:.3f}"}
        message = notification.model_dump_json()
        self._sns.publish(TopicArn=self._topic_arn, Message=message, MessageAttributes=attributes)
        if self._events:
            entry = {"EventBusName": self._bus, "Source": "heatdrop", "DetailType": DETAIL_TYPE, "Detail": message}
            answer = self._events.put_events(Entries=[entry])  # type: ignore[list-item]
            if answer["FailedEntryCount"]:
                raise NotAnnounced(f"the bus {self._bus} did not take the news: {answer['Entries']}")


def _notification_id(record: Record) -> str:
    """The same each time that one state is published, but another one in each attempt of a redriven image."""
    again = f":{record.attempt}" if record.attempt > 1 else ""
    return f"{record.image_id}:{record.state}{again}"


def _text(value: str) -> "MessageAttributeValueTypeDef":
    return {"DataType": "String", "StringValue": value}
