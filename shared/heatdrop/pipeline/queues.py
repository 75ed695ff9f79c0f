"""An invocation by SQS: each message on its own, and only those that failed come back."""

from collections.abc import Callable

from aws_lambda_powertools import Logger
from aws_lambda_powertools.utilities.batch import BatchProcessor, EventType, process_partial_response
from aws_lambda_powertools.utilities.batch.types import PartialItemFailureResponse
from aws_lambda_powertools.utilities.data_classes.sqs_event import SQSRecord
from aws_lambda_powertools.utilities.typing import LambdaContext

logger = Logger(child=True)

RESERVE_MS = 15_000
"""A message is not begun with less time left than this: a time-out would return the whole batch."""


class NotEnoughTime(Exception):
    """The invocation is about to end; the message comes back in another one."""


def each_message(
    event: dict[str, object], context: LambdaContext, handle: Callable[[SQSRecord], object]
) -> PartialItemFailureResponse:
    """Call ``handle`` for every message; whatever it raises is logged and returns that message alone."""

    def guarded(record: SQSRecord) -> None:
        if context.get_remaining_time_in_millis() < RESERVE_MS:
            raise NotEnoughTime(record.message_id)
        try:
            handle(record)
        except Exception:
            logger.exception("message failed", message_id=record.message_id)
            raise

    # A processor of its own for each invocation: a failure of the whole batch is an answer, not an exception.
    processor = BatchProcessor(event_type=EventType.SQS, raise_on_entire_batch_failure=False)
    return process_partial_response(event, record_handler=guarded, processor=processor, context=context)
