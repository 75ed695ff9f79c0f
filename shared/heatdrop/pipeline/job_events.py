"""What went wrong: images of failed jobs and of dead letters become FAILED, and the sweep sees to stuck ones."""

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
from heatdrop.aws.explanation_table import ExplanationTable
from heatdrop.aws.image_table import ImageTable
from heatdrop.aws.item_table import ItemTable
from heatdrop.aws.notifications import Announcer
from heatdrop.aws.queues import DropQueue
from heatdrop.aws.settings import Destinations
from heatdrop.aws.storage import Storage
from heatdrop.errors import ManifestMissing
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
    request_job_queue: str
    stuck_after_minutes: Annotated[int, Field(gt=0)]


class JobEvents:
    """Handles the messages of the job events queue and of the dead-letter queue of drops; made once a container."""

    def __init__(self, settings: JobEventSettings) -> None:
        self._input_bucket, self._job_queues = settings.input_bucket, {settings.job_queue, settings.request_job_queue}
        items = ItemTable(settings.images_table, settings.layout)
        self._images, self._explanations = ImageTable(items), ExplanationTable(items)
        self._storage = Storage(settings.results_bucket)
        self._announcer = Announcer(settings.notifications_topic, settings.notifications_bus)
        self._sweeper = Sweeper(
            timedelta(minutes=settings.stuck_after_minutes),
            items,
            self._announcer,
            DropQueue(settings.ingest_queue),
            self._job_queues,
        )

    def handle(self, event: dict[str, object], context: LambdaContext) -> PartialItemFailureResponse:
        """Handle every message of an SQS event; returns those to retry."""

        def handle(message: SQSRecord) -> None:
            match read_job_event(message.body, self._input_bucket, self._job_queues):
                case JobFailure() as failure:
                    self._fail_images_of(failure)
                case DeadDrops(drops=drops):
                    self._fail_dead(drops)
                case Sweep():
                    self._sweeper.sweep(lambda: context.get_remaining_time_in_millis() > RESERVE_MS)

        return each_message(event, context, handle)

    def _fail_images_of(self, failure: JobFailure) -> None:
        """Fail what a job left without a result, unless another job was submitted for it since."""
        try:
            manifest = self._storage.get_manifest(failure.manifest_key)
        except ManifestMissing as gone:
            # Erased images have no record that could fail.
            logger.info(str(gone), job_id=failure.job_id)
            return
        reason = f"the heatmap job failed: {failure.reason}"
        for entry in manifest.images:
            record = self._images.get(entry.image_id)
            if record is None:
                continue
            requested = record.explanations.get(manifest.manifest_id)
            # A job may fail before its id is in the record. A request then has no other job, so it fails; a drop may
            # have one, and the sweep sees to it.
            if requested and requested.job_id in {None, failure.job_id}:
                logger.warning("explanation on request failed", image_id=entry.image_id, reason=reason)
                self._explanations.mark_failed(entry.image_id, manifest.manifest_id, reason)
            elif not requested and record.job_id == failure.job_id:
                self._fail(entry.image_id, reason)

    def _fail_dead(self, drops: Iterable[Drop]) -> None:
        """Fail the images that inference gave up on; those that it has classified go on, with the sweep's help."""
        for drop in drops:
            name = ids.image_id(drop)
            record = self._images.find_or_add(name, drop)
            if record.state is State.RECEIVED:
                self._fail(name, "inference gave up on this image after several attempts; redrive it or drop it again")
            else:
                announce_once(record, self._images, self._announcer)

    def _fail(self, image_id: str, reason: str) -> None:
        record = self._images.mark_failed(image_id, reason)
        if record.state is State.FAILED:
            logger.warning("failed", image_id=image_id, reason=record.reason)
            metrics.add_metric("ImagesFailed", MetricUnit.Count, 1)
        announce_once(record, self._images, self._announcer)
