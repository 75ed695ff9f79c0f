"""A subscriber to the notifications: an SQS queue of its own behind the topic."""

import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import boto3

from heatdrop.errors import HeatdropError
from heatdrop.messages import Notification

if TYPE_CHECKING:
    from mypy_boto3_sqs.client import SQSClient

PATIENCE_SECONDS = 600
"""The longest step without news, loading TensorFlow and compiling the gradients, takes about a minute."""


class NoProgress(HeatdropError):
    """The cloud has gone quiet before every image was final."""


class Subscription:
    """Everything that is published to a topic from now on."""

    def __init__(self, topic: str) -> None:
        self._sqs: SQSClient = boto3.client("sqs")
        self._url = self._sqs.create_queue(QueueName="heatdrop-run")["QueueUrl"]
        attributes = self._sqs.get_queue_attributes(QueueUrl=self._url, AttributeNames=["QueueArn"])["Attributes"]
        boto3.client("sns").subscribe(
            TopicArn=topic,
            Protocol="sqs",
            Endpoint=attributes["QueueArn"],
            Attributes={"RawMessageDelivery": "true"},
        )

    def pending(self) -> Iterator[Notification]:
        """The notifications that have arrived and were not read yet."""
        while messages := self._sqs.receive_message(QueueUrl=self._url, MaxNumberOfMessages=10).get("Messages"):
            for message in messages:
                self._sqs.delete_message(QueueUrl=self._url, ReceiptHandle=message["ReceiptHandle"])
                yield Notification.model_validate_json(message["Body"])

    def until_final(
        self, waiting: set[str], check: Callable[[], None], patience: float = PATIENCE_SECONDS
    ) -> Iterator[Notification]:
        """Every notification, until each of the images ``waiting`` has been said to be final.

        ``check`` is called while there is no news; what it raises ends the waiting.

        Raises:
            NoProgress: there was no news for ``patience`` seconds.
        """
        open_images = set(waiting)
        last_news = time.monotonic()
        while open_images:
            for notification in self.pending():
                if notification.state.final:
                    open_images.discard(notification.image_id)
                last_news = time.monotonic()
                yield notification
            if open_images:
                check()
                if time.monotonic() - last_news > patience:
                    raise NoProgress(f"{len(open_images)} images made no progress for {patience:.0f} s; see the logs")
                time.sleep(0.1)
