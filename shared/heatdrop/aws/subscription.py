"""A subscription to the notifications: a temporary SQS queue that the topic sends to."""

import json
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import boto3

from heatdrop.aws.notifications import Notification
from heatdrop.errors import NoProgress

if TYPE_CHECKING:
    from mypy_boto3_sns.client import SNSClient
    from mypy_boto3_sqs.client import SQSClient

PATIENCE_SECONDS = 600
"""Longest wait for a notification; loading TensorFlow and compiling the gradients takes about a minute without one."""


class Subscription:
    """Receives what is published to a topic from now on: everything, or what a filter policy lets through."""

    def __init__(self, topic: str, policy: Mapping[str, Any] | None = None, wait_seconds: int = 0) -> None:
        """Make the queue ``heatdrop-...`` and subscribe it; ``close`` removes both.

        ``wait_seconds`` is how long ``pending`` waits for the first notification.
        """
        self._sqs: SQSClient = boto3.client("sqs")
        self._sns: SNSClient = boto3.client("sns")
        self._wait_seconds = wait_seconds
        self._url = self._sqs.create_queue(
            QueueName=f"heatdrop-{uuid.uuid4().hex}", Attributes={"SqsManagedSseEnabled": "true"}
        )["QueueUrl"]
        attributes = self._sqs.get_queue_attributes(QueueUrl=self._url, AttributeNames=["QueueArn"])["Attributes"]
        self._sqs.set_queue_attributes(
            QueueUrl=self._url, Attributes={"Policy": _only_from(topic, attributes["QueueArn"])}
        )
        wanted = {"RawMessageDelivery": "true"} | ({"FilterPolicy": json.dumps(policy)} if policy else {})
        self._arn = self._sns.subscribe(
            TopicArn=topic,
            Protocol="sqs",
            Endpoint=attributes["QueueArn"],
            Attributes=wanted,
            ReturnSubscriptionArn=True,
        )["SubscriptionArn"]

    def close(self) -> None:
        """Remove the subscription and its queue."""
        self._sns.unsubscribe(SubscriptionArn=self._arn)
        self._sqs.delete_queue(QueueUrl=self._url)

    def pending(self) -> Iterator[Notification]:
        """The notifications that have arrived, each once."""
        while messages := self._sqs.receive_message(
            QueueUrl=self._url, MaxNumberOfMessages=10, WaitTimeSeconds=self._wait_seconds
        ).get("Messages"):
            for message in messages:
                self._sqs.delete_message(QueueUrl=self._url, ReceiptHandle=message["ReceiptHandle"])
                yield Notification.model_validate_json(message["Body"])

    def until_final(
        self, waiting: set[str], check: Callable[[], None], patience: float = PATIENCE_SECONDS
    ) -> Iterator[Notification]:
        """Every notification, until one with a final state has come for each of the images ``waiting``.

        ``check`` is called between notifications; what it raises ends the wait.

        Raises:
            NoProgress: no notification came for ``patience`` seconds.
        """
        open_images = set(waiting)
        last_arrival = time.monotonic()
        while open_images:
            for notification in self.pending():
                if notification.state.final:
                    open_images.discard(notification.image_id)
                last_arrival = time.monotonic()
                yield notification
            if open_images:
                check()
                if time.monotonic() - last_arrival > patience:
                    raise NoProgress(f"{len(open_images)} images made no progress for {patience:.0f} s; see the logs")
                time.sleep(0.1)


def _only_from(topic: str, queue: str) -> str:
    """A queue policy that lets one topic send, and nobody else."""
    statement = {
        "Effect": "Allow",
        "Principal": {"Service": "sns.amazonaws.com"},
        "Action": "sqs:SendMessage",
        "Resource": queue,
        "Condition": {"ArnEquals": {"aws:SourceArn": topic}},
    }
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})
