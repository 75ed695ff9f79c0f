"""The inference function: classifies drops, and submits one heatmap job for all of an invocation."""

import time
from itertools import groupby
from typing import Annotated

from aws_lambda_powertools import Logger, Metrics
from aws_lambda_powertools.metrics import MetricUnit
from aws_lambda_powertools.utilities.batch.types import PartialItemFailureResponse
from aws_lambda_powertools.utilities.data_classes.sqs_event import SQSRecord
from aws_lambda_powertools.utilities.typing import LambdaContext
from pydantic import Field

from heatdrop import ids
from heatdrop.aws.bundles import open_bundle_at
from heatdrop.aws.events import drops_in
from heatdrop.aws.image_table import ImageTable
from heatdrop.aws.item_table import ItemTable
from heatdrop.aws.jobs import JobQueue
from heatdrop.aws.model_table import ModelTable
from heatdrop.aws.notifications import Announcer
from heatdrop.aws.record import Record
from heatdrop.aws.settings import Destinations, ExplanationDefaults
from heatdrop.aws.storage import Manifest, ManifestEntry, Storage
from heatdrop.errors import RejectedImage, SourceMissing
from heatdrop.images import Limits
from heatdrop.images.guarded import GuardedDecoder
from heatdrop.model.classifier import Classifier
from heatdrop.pipeline.announcing import announce_once
from heatdrop.pipeline.correlation import correlated
from heatdrop.pipeline.queues import each_message
from heatdrop.timing import milliseconds
from heatdrop.vocabulary import Drop, State

logger = Logger(child=True)
metrics = Metrics()


class InferenceSettings(Destinations, ExplanationDefaults):
    """The environment of the inference function."""

    bundle_uri: str
    input_bucket: str
    job_queue: str
    job_definition: str
    max_bytes: Annotated[int, Field(gt=0)]
    max_pixels: Annotated[int, Field(gt=0)]


class Ingest:
    """A loaded model and the services it needs; made once a container, used for every invocation."""

    def __init__(self, settings: InferenceSettings) -> None:
        self._input_bucket = settings.input_bucket
        self._limits = Limits(settings.max_bytes, settings.max_pixels)
        self._explanation = settings.explanation
        self._decoder = GuardedDecoder()
        # Its process starts while this one loads the model.
        self._decoder.start()
        self._bundle_uri, self._job_definition = settings.bundle_uri, settings.job_definition
        self._classifier = Classifier(open_bundle_at(settings.bundle_uri))
        items = ItemTable(settings.images_table, settings.layout)
        self._images, self._models = ImageTable(items), ModelTable(items)
        self._storage = Storage(settings.results_bucket)
        self._announcer = Announcer(settings.notifications_topic, settings.notifications_bus)
        self._jobs = JobQueue(settings.job_queue, settings.job_definition)
        self._model_is_added = False

    def handle(self, event: dict[str, object], context: LambdaContext) -> PartialItemFailureResponse:
        """Classify the drops of an SQS event and submit one heatmap job for them; returns the messages to retry."""
        waiting: dict[str, list[Record]] = {}
        traces: dict[str, str | None] = {}

        def take(message: SQSRecord) -> None:
            trace, records = message.attributes.aws_trace_header, []
            for drop in drops_in(message.body, self._input_bucket):
                image_id = ids.image_id(drop)
                traces[image_id] = trace
                with correlated(logger, image_id, trace):
                    records.append(self._take(image_id, drop))
            waiting[message.message_id] = [record for record in records if record.waits_for_job]

        response = each_message(event, context, take)
        try:
            self._submit({record.image_id: record for records in waiting.values() for record in records}, traces)
        except Exception:
            # Their images are CLASSIFIED already; when the messages return, only the job is submitted.
            logger.exception("no heatmap job could be submitted")
            response["batchItemFailures"] += [{"itemIdentifier": name} for name, records in waiting.items() if records]
        return response

    def _take(self, image_id: str, drop: Drop) -> Record:
        record = self._images.find_or_add(image_id, drop)
        if record.state is State.RECEIVED:
            record = self._classify(record)
        if record.state is not State.RECEIVED:
            announce_once(record, self._images, self._announcer)
        return record

    def _classify(self, record: Record) -> Record:
        started = time.perf_counter()
        try:
            data = self._storage.fetch_drop(record.drop, self._limits.max_bytes)
            fetched = time.perf_counter()
            image = self._decoder.decode(data, at_least=self._classifier.bundle.decoded_size, limits=self._limits)
            decoded = time.perf_counter()
            predictions, unusual = self._classifier.look_at(image)
        except RejectedImage as error:
            logger.info("rejected", image_id=record.image_id, reason=str(error))
            metrics.add_metric("ImagesRejected", MetricUnit.Count, 1)
            return self._images.mark_rejected(record.image_id, str(error))
        except SourceMissing as error:
            metrics.add_metric("ImagesFailed", MetricUnit.Count, 1)
            return self._images.mark_failed(record.image_id, str(error))
        moments = (started, fetched, decoded, time.perf_counter())
        timings = {
            name: milliseconds(start, end)
            for name, start, end in zip(("fetch", "decode", "predict"), moments, moments[1:], strict=False)
        }
        metrics.add_metric("ImagesClassified", MetricUnit.Count, 1)
        if not self._model_is_added:
            bundle = self._classifier.bundle
            self._models.add(bundle.model, bundle.labels, bundle.description.certificates)
            self._model_is_added = True
        return self._images.mark_classified(
            record.image_id,
            predictions,
            self._classifier.bundle.model,
            timings,
            bundle_uri=self._bundle_uri,
            job_definition=self._job_definition,
            unusual=unusual,
        )

    def _submit(self, waiting: dict[str, Record], traces: dict[str, str | None]) -> None:
        """Submit one job for each bundle: what an older model has classified is explained by that model."""

        def bundle(record: Record) -> tuple[str, ...]:
            version = record.model.version if record.model else ""
            return version, record.bundle_uri or "", record.job_definition or ""

        for _, records in groupby(sorted(waiting.values(), key=lambda r: (*bundle(r), r.image_id)), key=bundle):
            self._submit_job(tuple(records), traces)

    def _submit_job(self, records: tuple[Record, ...], traces: dict[str, str | None]) -> None:
        """Submit one job for records of one bundle."""
        first = records[0]
        if first.model is None:
            raise LookupError(f"image {first.image_id} is CLASSIFIED, but its record names no model")
        name = ids.manifest_id(
            [record.image_id for record in records], first.model.version, self._explanation.model_dump_json()
        )
        manifest = Manifest(
            manifest_id=name,
            model=first.model,
            bundle_uri=first.bundle_uri,
            settings=self._explanation,
            images=tuple(
                ManifestEntry(
                    image_id=r.image_id, drop=r.drop, predictions=r.predictions, trace_header=traces[r.image_id]
                )
                for r in records
            ),
        )
        job_id = self._jobs.submit(name, self._storage.put_manifest(manifest), first.job_definition)
        for record in records:
            with correlated(logger, record.image_id, traces[record.image_id]):
                logger.info("submitted", job_id=job_id, manifest_id=name)
            self._images.mark_submitted(record.image_id, name, job_id)
