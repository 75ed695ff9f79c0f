"""What went wrong is settled: failed jobs, dead letters and stuck images become FAILED, and are announced."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Annotated

from aws_lambda_powertools import Logger, Metrics
from aws_lambda_powertools.metrics import MetricUnit
from aws_lambda_powertools.utilities.batch.types import PartialItemFailureResponse
from aws_lambda_powertools.utilities.data_classes.sqs_event import SQSRecord
from aws_lambda_powertools.utilities.typing import LambdaContext
from pydantic import Field

from heatdrop import identity
from heatdrop.messages import Announcer, DeadDrops, JobFailure, trouble_in
from heatdrop.pipeline.announcing import announce_once
from heatdrop.pipeline.queues import each_message
from heatdrop.pipeline.settings import Destinations
from heatdrop.records import Records
from heatdrop.storage import Storage
from heatdrop.vocabulary import Drop, State

logger = Logger(child=True)
metrics = Metrics()


class JobEventSettings(Destinations):
    """The environment of the job events function."""

    input_bucket: str
    stuck_after_minutes: Annotated[int, Field(gt=0)]


class JobEvents:
    """The services that settling needs; made once, used for every invocation."""

    def __init__(self, settings: JobEventSettings) -> None:
        self._input_bucket = settings.input_bucket
        self._patience = timedelta(minutes=settings.stuck_after_minutes)
        self._records = Records(settings.images_table)
        self._storage = Storage(settings.results_bucket)
        self._announcer = Announcer(settings.notifications_topic, settings.notifications_bus)

    def handle(self, event: dict[str, object], context: LambdaContext) -> PartialItemFailureResponse:
        """Settle every message of an SQS event; returns the messages to retry."""

        def settle(message: SQSRecord) -> None:
            match trouble_in(message.body, self._input_bucket):
                case JobFailure() as failure:
                    self._settle_job(failure)
                case DeadDrops(drops=drops):
                    self._settle_dead(drops)
                case _:
                    self._settle_stuck()

        return each_message(event, context, settle)

    def _settle_job(self, failure: JobFailure) -> None:
        """Only what has no result fails, and only if no later job has taken it on."""
        manifest = self._storage.get_manifest(failure.manifest_key)
        reason = f"the heatmap job failed: {failure.reason}"
        for entry in manifest.images:
            record = self._records.get(entry.image_id)
            if record is None:
                continue
            requested = record.explanations.get(manifest.manifest_id)
            if (requested or record).job_id not in {None, failure.job_id}:
                continue
            if requested:
                logger.warning("explanation on request failed", image_id=entry.image_id, reason=reason)
                values = {"state": State.FAILED, "reason": reason}
                self._records.settle_explanation(entry.image_id, manifest.manifest_id, values)
            else:
                self._fail(entry.image_id, reason)

    def _settle_dead(self, drops: Iterable[Drop]) -> None:
        for drop in drops:
            name = identity.image_id(drop)
            if self._records.receive(name, drop).state is State.RECEIVED:
                self._fail(name, "inference gave up on this image after several attempts; drop it again")

    def _settle_stuck(self) -> None:
        for image_id in self._records.open_since(datetime.now(UTC) - self._patience):
            metrics.add_metric("ImagesStuck", MetricUnit.Count, 1)
            self._fail(image_id, f"no progress for {self._patience.total_seconds() / 60:.0f} minutes; drop it again")

    def _fail(self, image_id: str, reason: str) -> None:
        record = self._records.fail(image_id, reason)
        if record.state is State.FAILED:
            logger.warning("failed", image_id=image_id, reason=record.reason)
            metrics.add_metric("ImagesFailed", MetricUnit.Count, 1)
        announce_once(record, self._records, self._announcer)
