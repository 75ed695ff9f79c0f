"""Lambda: drops in, predictions out, one heatmap job for all of them."""

from typing import Any

from aws_lambda_powertools import Logger, Metrics
from aws_lambda_powertools.utilities.batch.types import PartialItemFailureResponse
from aws_lambda_powertools.utilities.typing import LambdaContext

from heatdrop.pipeline.ingest import InferenceSettings, Ingest

logger = Logger()
metrics = Metrics()
ingest = Ingest(InferenceSettings())


@logger.inject_lambda_context
@metrics.log_metrics(capture_cold_start_metric=True)
def handler(event: dict[str, Any], context: LambdaContext) -> PartialItemFailureResponse:
    """Classify the drops that an SQS event of S3 notifications tells of."""
    return ingest.handle(event, context)
