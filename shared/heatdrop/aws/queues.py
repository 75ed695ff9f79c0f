"""SQS queues that we send to: the drops, and the dead letters that go back to the queue they came from."""

import json
from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING
from urllib.parse import quote_plus

import boto3

from heatdrop.vocabulary import Drop

if TYPE_CHECKING:
    from aws_lambda_powertools.utilities.data_classes.sqs_event import SQSRecord
    from mypy_boto3_sqs.client import SQSClient


class DropQueue:
    """The queue of drops, which invokes the inference function."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._sqs: SQSClient = boto3.client("sqs")

    def send(self, drop: Drop) -> None:
        """Send a drop as S3 would, for an image that is to be classified again."""
        described = {"key": quote_plus(drop.key), "eTag": drop.etag}
        described |= {"versionId": drop.version_id} if drop.version_id else {}
        s3 = {"bucket": {"name": drop.bucket}, "object": described}
        self._sqs.send_message(
            QueueUrl=self._url, MessageBody=json.dumps({"Records": [{"eventName": "ObjectCreated:Again", "s3": s3}]})
        )


class DeadLetters:
    """A dead-letter queue, and the queue that its messages came from."""

    def __init__(self, url: str, origin_url: str) -> None:
        self._url, self._origin_url = url, origin_url
        self._sqs: SQSClient = boto3.client("sqs")

    def count(self) -> int:
        """About how many messages there are."""
        answer = self._sqs.get_queue_attributes(QueueUrl=self._url, AttributeNames=["ApproximateNumberOfMessages"])
        return int(answer["Attributes"]["ApproximateNumberOfMessages"])

    def send_back(self) -> int:
        """Send every message back to where it came from; returns how many there were."""
        sent = 0
        while messages := self._sqs.receive_message(QueueUrl=self._url, MaxNumberOfMessages=10, WaitTimeSeconds=1).get(
            "Messages"
        ):
            for message in messages:
                # Sent before it is deleted: after a crash in between it is there twice, and never lost.
                self._sqs.send_message(QueueUrl=self._origin_url, MessageBody=message["Body"])
                self._sqs.delete_message(QueueUrl=self._url, ReceiptHandle=message["ReceiptHandle"])
                sent += 1
        return sent


class Attempts:
    """Corrects how often a message of an SQS event was tried, which SQS takes for how often it was received.

    A message that was received but not begun is replaced by a copy, which SQS counts anew. The copy carries the number
    of attempts before it, so that a message that fails again and again is a dead letter after as many as ever.
    """

    @cached_property
    def _sqs(self) -> "SQSClient":
        # Made only when a message is copied: each client adds 20 ms to a cold start.
        return boto3.client("sqs")

    def send_copies(self, messages: "Sequence[SQSRecord]") -> list[str]:
        """Send messages that were not begun to their queue again, as new ones; returns the ids of those that failed.

        The others may be deleted now. After a crash before that there are two of a message, which is harmless: what a
        message asks for is done once. In no order of events is there none.
        """
        failed = []
        for start in range(0, len(messages), _MOST_AT_ONCE):
            some = {str(number): one for number, one in enumerate(messages[start : start + _MOST_AT_ONCE])}
            url = self._url(next(iter(some.values()))["eventSourceARN"])
            entries = [_copy(number, message) for number, message in some.items()]
            answer = self._sqs.send_message_batch(QueueUrl=url, Entries=entries)  # type: ignore[arg-type]
            failed += [some[entry["Id"]].message_id for entry in answer.get("Failed", [])]
        return failed

    def bury(self, message: "SQSRecord") -> bool:
        """Send a copy that has failed as often as its queue allows to the dead-letter queue, where SQS would not yet.

        Returns:
            Whether it was sent there, and may be deleted. Else it returns to its queue.
        """
        if not _carried(message):
            return False
        url = self._url(message["eventSourceARN"])
        attributes = self._sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["RedrivePolicy"])["Attributes"]
        policy = json.loads(attributes.get("RedrivePolicy", "{}"))
        if not policy or _received(message) + _carried(message) < int(policy["maxReceiveCount"]):
            return False
        self._sqs.send_message(QueueUrl=self._url(policy["deadLetterTargetArn"]), MessageBody=message.body)
        return True

    def _url(self, arn: str) -> str:
        account, name = arn.split(":")[4:6]
        return f"{self._sqs.meta.endpoint_url}/{account}/{name}"


_MOST_AT_ONCE = 10
"""Messages that SQS takes in one call."""

_CARRIED = "attempts"
"""Message attribute of a copy: how often the message was begun before it was copied."""


def _copy(number: str, message: "SQSRecord") -> dict[str, object]:
    """A message as an entry of a batch that is sent; with the header by which X-Ray follows it."""
    entry: dict[str, object] = {"Id": number, "MessageBody": message.body}
    if attempts := _carried(message) + _received(message) - 1:
        entry["MessageAttributes"] = {_CARRIED: {"DataType": "Number", "StringValue": str(attempts)}}
    if header := message["attributes"].get("AWSTraceHeader"):
        entry["MessageSystemAttributes"] = {"AWSTraceHeader": {"DataType": "String", "StringValue": header}}
    return entry


def _received(message: "SQSRecord") -> int:
    return int(message["attributes"].get("ApproximateReceiveCount", 1))


def _carried(message: "SQSRecord") -> int:
    return int(message["messageAttributes"].get(_CARRIED, {}).get("stringValue", 0))
