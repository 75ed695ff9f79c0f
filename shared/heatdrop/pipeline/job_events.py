"""What went wrong is settled: images of failed jobs and dead letters become FAILED, the stuck are looked after."""

from collections.abc import Iterable
from datetime import timedelta
from typing import Annotated

from aws_lambda_powertools import Logger, Metrics
from aws_lambda_powertools.metrics import MetricUnit
from aws_lambda_powertools.utilities.batch.types import PartialItemFailureResponse
from aws_lambda_powertools.utilities.data_classes.sqs_event import SQSRecord
from aws_lambda_powertools.utilities.typing import LambdaContext
from pydantic import Field

from heatdrop import ids
from heatdrop.aws.events import DeadDrops, JobFailure, Sweep, read_job_event
from heatdrop.aws.image_table import ImageTable
from heatdrop.aws.notifications import Announcer
from heatdrop.aws.queues import DropQueue
from heatdrop.aws.settings import Destinations
from heatdrop.aws.storage import Storage
from heatdrop.pipeline.announcing import announce_once
from heatdrop.pipeline.queues import RESERVE_MS, each_message
from heatdrop.pipeline.sweeping import Sweeper
from heatdrop.vocabulary import Drop, State

logger = Logger(child=True)
metrics = Metrics()


class JobEventSettings(Destinations):
    """The environment of the job events function."""

    input_bucket: str
    ingest_queue: str
    job_queue: str
    stuck_after_minutes: Annotated[int, Field(gt=0)]


class JobEvents:
    """The services that settling needs; made once, used for every invocation."""

    def __init__(self, settings: JobEventSettings) -> None:
        self._input_bucket, self._job_queue = settings.input_bucket, settings.job_queue
        self._records = ImageTable(settings.images_table)
        self._storage = Storage(settings.results_bucket)
        self._announcer = Announcer(settings.notifications_topic, settings.notifications_bus)
        self._sweeper = Sweeper(
            timedelta(minutes=settings.stuck_after_minutes),
            self._records,
            self._announcer,
            DropQueue(settings.ingest_queue),
            settings.job_queue,
        )

    def handle(self, event: dict[str, object], context: LambdaContext) -> PartialItemFailureResponse:
        """Settle every message of an SQS event; returns the messages to retry."""

        def settle(message: SQSRecord) -> None:
            match read_job_event(message.body, self._input_bucket, self._job_queue):
                case JobFailure() as failure:
                    self._settle_job(failure)
                case DeadDrops(drops=drops):
                    self._settle_dead(drops)
                case Sweep():
                    self._sweeper.sweep(lambda: context.get_remaining_time_in_millis() > RESERVE_MS)

        return each_message(event, context, settle)

    def _settle_job(self, failure: JobFailure) -> None:
        """Only what has no result fails, and only if this is its job: another one may have taken it on."""
        manifest = self._storage.get_manifest(failure.manifest_key)
        reason = f"the heatmap job failed: {failure.reason}"
        for entry in manifest.images:
            record = self._records.get(entry.image_id)
            if record is None:
                continue
            requested = record.explanations.get(manifest.manifest_id)
            # The job of a request may end before its id is noted; that of a drop is then the sweep's matter.
            if requested and requested.job_id in {None, failure.job_id}:
                logger.warning("explanation on request failed", image_id=entry.image_id, reason=reason)
                self._records.fail_explanation(entry.image_id, manifest.manifest_id, reason)
            elif not requested and record.job_id == failure.job_id:
                self._fail(entry.image_id, reason)

    def _settle_dead(self, drops: Iterable[Drop]) -> None:
        """What inference could not begin fails; what it could not finish is told, and its job is the sweep's matter."""
        for drop in drops:
            name = ids.image_id(drop)
            record = self._records.receive(name, drop)
            if record.state is State.RECEIVED:
                self._fail(name, "inference gave up on this image after several attempts; redrive it or drop it again")
            else:
                announce_once(record, self._records, self._announcer)

    def _fail(self, image_id: str, reason: str) -> None:
        record = self._records.fail(image_id, reason)
        if record.state is State.FAILED:
            logger.warning("failed", image_id=image_id, reason=record.reason)
            metrics.add_metric("ImagesFailed", MetricUnit.Count, 1)
        announce_once(record, self._records, self._announcer)
