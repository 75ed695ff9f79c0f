"""Handles a batch of SQS messages one by one; only those that failed return to the queue."""

from collections.abc import Callable

from aws_lambda_powertools import Logger
from aws_lambda_powertools.utilities.batch import BatchProcessor, EventType, process_partial_response
from aws_lambda_powertools.utilities.batch.types import PartialItemFailureResponse
from aws_lambda_powertools.utilities.data_classes.sqs_event import SQSRecord
from aws_lambda_powertools.utilities.typing import LambdaContext

logger = Logger(child=True)

RESERVE_MS = 15_000
"""Milliseconds. No message is begun with less time left: a time-out would return the whole batch to the queue."""


class NotEnoughTime(Exception):
    """Too little time is left to begin a message: it returns to the queue for another invocation."""


def each_message(
    event: dict[str, object], context: LambdaContext, handle: Callable[[SQSRecord], object]
) -> PartialItemFailureResponse:
    """Call ``handle`` for every message of an SQS event.

    A message for which it raises is logged and returns to the queue, as the answer tells Lambda; the others do not.
    """

    def guarded(record: SQSRecord) -> None:
        if context.get_remaining_time_in_millis() < RESERVE_MS:
            raise NotEnoughTime(record.message_id)
        try:
            handle(record)
        except Exception:
            logger.exception("message failed", message_id=record.message_id)
            raise

    # Where every message failed, Powertools would raise; the answer that names them all is the same, without an alarm.
    processor = BatchProcessor(event_type=EventType.SQS, raise_on_entire_batch_failure=False)
    return process_partial_response(event, record_handler=guarded, processor=processor, context=context)
