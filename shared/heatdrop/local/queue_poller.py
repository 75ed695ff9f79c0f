"""An event source mapping on one machine: a function is invoked with the messages of a queue.

Batch size, batching window and partial batch responses are those of the deployed mapping. One thing differs from AWS:
a message that failed is delivered again after two seconds instead of the queue's visibility timeout.
"""

import logging
import threading
import time
from typing import TYPE_CHECKING, Any

import boto3
from moto.sqs.models import sqs_backends

from heatdrop.errors import FunctionFailed
from heatdrop.local.deployment import EventSource
from heatdrop.local.lambda_runtime import FunctionProcess
from heatdrop.local.roles import session_of

if TYPE_CHECKING:
    from mypy_boto3_sqs.client import SQSClient
    from mypy_boto3_sqs.type_defs import MessageTypeDef

logger = logging.getLogger(__name__)

LOOK_SECONDS = 0.1
"""A message that arrives is seen at once; one that was given back, or the end, when this time has passed."""
RETRY_SECONDS = 2
SQS_PAGE = 10
"""Messages that SQS returns at most for one request."""


class QueuePoller(threading.Thread):
    """A thread that feeds one function from one queue until it is stopped."""

    def __init__(self, source: EventSource, function: FunctionProcess) -> None:
        super().__init__(name=f"poller-{function.function.name}", daemon=True)
        self._source, self._function = source, function
        self._sqs: SQSClient = boto3.client("sqs")
        # In AWS an event source takes and deletes messages under the role of its function.
        self._under_role: SQSClient = session_of(function.function.role).client("sqs")
        self._arn = self._sqs.get_queue_attributes(QueueUrl=source.queue_url, AttributeNames=["QueueArn"])[
            "Attributes"
        ]["QueueArn"]
        region, account, name = self._arn.split(":")[3:]
        # moto's own queue says without a call when something arrives; only then is it asked for.
        self._queue = sqs_backends[account][region].get_queue(name)
        self._stopping = threading.Event()

    def run(self) -> None:
        """Receive messages, invoke the function, delete what it handled; again and again."""
        while not self._stopping.is_set():
            messages = self._gather()
            if messages:
                self._deliver(messages)

    def stop(self) -> None:
        """Finish the current batch, then stop."""
        self._stopping.set()
        self.join(timeout=10)

    def _gather(self) -> list["MessageTypeDef"]:
        """Wait for a message, then for more until the batch is full or the batching window has passed."""
        messages: list[MessageTypeDef] = []
        deadline = None
        while len(messages) < self._source.batch_size and not self._stopping.is_set():
            if deadline is not None and time.monotonic() >= deadline:
                break
            self._queue.wait_for_messages(LOOK_SECONDS)
            if not self._queue.messages:
                continue
            wanted = min(SQS_PAGE, self._source.batch_size - len(messages))
            page = self._under_role.receive_message(
                QueueUrl=self._source.queue_url,
                MaxNumberOfMessages=wanted,
                AttributeNames=["All"],
                MessageAttributeNames=["All"],
            ).get("Messages", [])
            messages += page
            if messages and deadline is None:
                deadline = time.monotonic() + self._source.window_s
        return messages

    def _deliver(self, messages: list["MessageTypeDef"]) -> None:
        try:
            answer = self._function.invoke({"Records": [sqs_record(message, self._arn) for message in messages]})
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
    """A message in the form that Lambda passes to a function."""
    return {
        "messageId": message["MessageId"],
        "receiptHandle": message["ReceiptHandle"],
        "body": message["Body"],
        "attributes": message.get("Attributes", {}),
        "messageAttributes": {
            name: {"stringValue": value["StringValue"], "dataType": value["DataType"]}
            for name, value in message.get("MessageAttributes", {}).items()
        },
        "md5OfBody": message["MD5OfBody"],
        "eventSource": "aws:sqs",
        "eventSourceARN": queue_arn,
        "awsRegion": queue_arn.split(":")[3],
    }
