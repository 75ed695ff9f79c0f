"""Lambda: failed heatmap jobs, dead letters and the sweep for stuck images."""

from typing import Any

from aws_lambda_powertools import Logger, Metrics
from aws_lambda_powertools.utilities.batch.types import PartialItemFailureResponse
from aws_lambda_powertools.utilities.typing import LambdaContext

from heatdrop.pipeline.job_events import JobEvents, JobEventSettings

logger = Logger()
metrics = Metrics()
job_events = JobEvents(JobEventSettings())


@logger.inject_lambda_context
@metrics.log_metrics(capture_cold_start_metric=True)
def handler(event: dict[str, Any], context: LambdaContext) -> PartialItemFailureResponse:
    """Settle what an SQS event of Batch state changes, dead letters or sweeps tells of."""
    return job_events.handle(event, context)
