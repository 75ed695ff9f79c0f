"""Handles a batch of SQS messages one by one; only those that failed return to the queue."""

from collections.abc import Callable

from aws_lambda_powertools import Logger
from aws_lambda_powertools.utilities.batch import BatchProcessor, EventType, process_partial_response
from aws_lambda_powertools.utilities.batch.types import PartialItemFailureResponse
from aws_lambda_powertools.utilities.data_classes.sqs_event import SQSRecord
from aws_lambda_powertools.utilities.typing import LambdaContext

from heatdrop.aws.queues import Attempts

logger = Logger(child=True)

RESERVE_MS = 15_000
"""Milliseconds. No message is begun with less time left: after a time-out the whole batch would return to the queue."""


def each_message(
    event: dict[str, object], context: LambdaContext, handle: Callable[[SQSRecord], object]
) -> PartialItemFailureResponse:
    """Call ``handle`` for every message of an SQS event, while there is time; returns the messages that are to return.

    A message for which it raises is logged and returns to the queue. One that is not begun is sent to the queue again
    as a new message, since SQS counts every return as a failed attempt.
    """
    attempts, not_begun = Attempts(), list[SQSRecord]()

    def guarded(record: SQSRecord) -> None:
        if context.get_remaining_time_in_millis() < RESERVE_MS:
            not_begun.append(record)
            return
        try:
            handle(record)
        except Exception:
            logger.exception("message failed", message_id=record.message_id)
            if not attempts.bury(record):
                raise

    # Where every message failed, Powertools would raise; the answer that names them all is the same, without an alarm.
    processor = BatchProcessor(event_type=EventType.SQS, raise_on_entire_batch_failure=False)
    response = process_partial_response(event, record_handler=guarded, processor=processor, context=context)
    if not_begun:
        logger.warning("no time is left; messages are sent to the queue again", messages=len(not_begun))
        response["batchItemFailures"] += [{"itemIdentifier": name} for name in _sent_again(attempts, not_begun)]
    return response


def _sent_again(attempts: Attempts, messages: list[SQSRecord]) -> list[str]:
    """Send copies of messages; returns the ids of those that could not be sent, which return to the queue instead."""
    try:
        return attempts.send_copies(messages)
    except Exception:
        logger.exception("messages that were not begun could not be sent again")
        return [message.message_id for message in messages]
