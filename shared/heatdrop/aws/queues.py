"""SQS queues that we send to: the drops, and the dead letters that go back to the queue they came from."""

import json
from typing import TYPE_CHECKING
from urllib.parse import quote_plus

import boto3

from heatdrop.vocabulary import Drop

if TYPE_CHECKING:
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
