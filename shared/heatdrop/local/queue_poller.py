"""An event source mapping on one machine: messages of a queue become invocations of a function.

Batch size, window and partial failures are those of the deployed mapping. One thing differs from AWS: a message that
failed comes back after seconds, not after the queue's whole visibility timeout.
"""

import logging
import threading
import time
from typing import TYPE_CHECKING, Any

import boto3

from heatdrop.errors import FunctionFailed
from heatdrop.local.deployment import EventSource
from heatdrop.local.lambda_runtime import LambdaWorker
from heatdrop.local.roles import session_of

if TYPE_CHECKING:
    from mypy_boto3_sqs.client import SQSClient
    from mypy_boto3_sqs.type_defs import MessageTypeDef

logger = logging.getLogger(__name__)

POLL_SECONDS = 0.1
RETRY_SECONDS = 2
SQS_PAGE = 10


class QueuePoller(threading.Thread):
    """Feeds one function from one queue until stopped."""

    def __init__(self, source: EventSource, worker: LambdaWorker) -> None:
        super().__init__(name=f"poller-{worker.function.name}", daemon=True)
        self._source, self._worker = source, worker
        self._sqs: SQSClient = boto3.client("sqs")
        # In AWS an event source takes and deletes messages under the role of its function.
        self._under_role: SQSClient = session_of(worker.function.role).client("sqs")
        self._arn = self._sqs.get_queue_attributes(QueueUrl=source.queue_url, AttributeNames=["QueueArn"])[
            "Attributes"
        ]["QueueArn"]
        self._stopping = threading.Event()

    def run(self) -> None:
        """Poll, invoke, delete what was handled."""
        while not self._stopping.is_set():
            messages = self._gather()
            if messages:
                self._deliver(messages)

    def stop(self) -> None:
        """Stop after the batch in hand."""
        self._stopping.set()
        self.join(timeout=10)

    def _gather(self) -> list["MessageTypeDef"]:
        """Up to a batch; once there is one message, wait no longer than the window for more."""
        messages: list[MessageTypeDef] = []
        deadline = None
        while len(messages) < self._source.batch_size and not self._stopping.is_set():
            wanted = min(SQS_PAGE, self._source.batch_size - len(messages))
            page = self._under_role.receive_message(
                QueueUrl=self._source.queue_url, MaxNumberOfMessages=wanted, AttributeNames=["All"]
            ).get("Messages", [])
            messages += page
            if messages and deadline is None:
                deadline = time.monotonic() + self._source.window_s
            if deadline is not None and time.monotonic() >= deadline:
                break
            if not page:
                time.sleep(POLL_SECONDS)
        return messages

    def _deliver(self, messages: list["MessageTypeDef"]) -> None:
        try:
            answer = self._worker.invoke({"Records": [sqs_record(message, self._arn) for message in messages]})
        except FunctionFailed as error:
            logger.warning("%s", error)
            failed = {message["MessageId"] for message in messages}
        else:
            failed = {entry["itemIdentifier"] for entry in (answer or {}).get("batchItemFailures", [])}
            if not self._source.partial_failures:
                failed = set()
        for message in messages:
            handle = message["ReceiptHandle"]
            if message["MessageId"] in failed:
                self._sqs.change_message_visibility(
                    QueueUrl=self._source.queue_url, ReceiptHandle=handle, VisibilityTimeout=RETRY_SECONDS
                )
            else:
                self._under_role.delete_message(QueueUrl=self._source.queue_url, ReceiptHandle=handle)


def sqs_record(message: "MessageTypeDef", queue_arn: str) -> dict[str, Any]:
    """A message as a function is told of it."""
    return {
        "messageId": message["MessageId"],
        "receiptHandle": message["ReceiptHandle"],
        "body": message["Body"],
        "attributes": message.get("Attributes", {}),
        "messageAttributes": {},
        "md5OfBody": message["MD5OfBody"],
        "eventSource": "aws:sqs",
        "eventSourceARN": queue_arn,
        "awsRegion": queue_arn.split(":")[3],
    }
