"""The heatmap job: explains every image of a manifest."""

import os
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from types import FrameType
from typing import Annotated

from aws_lambda_powertools import Logger, Metrics
from aws_lambda_powertools.metrics import MetricUnit
from pydantic import Field

from heatdrop.aws.bundles import in_s3, model_at, open_bundle_at
from heatdrop.aws.explanation_table import ExplanationTable
from heatdrop.aws.image_table import ImageTable
from heatdrop.aws.item_table import ItemTable
from heatdrop.aws.jobs import RETRY_EXIT_CODE
from heatdrop.aws.notifications import Announcer
from heatdrop.aws.record import Record
from heatdrop.aws.settings import Destinations
from heatdrop.aws.storage import Manifest, Storage
from heatdrop.errors import HeatdropError, InvalidBundle, RecordGone
from heatdrop.explaining.explainer import Explainer
from heatdrop.explaining.stages import in_stages
from heatdrop.images import Limits
from heatdrop.images.guarded import GuardedDecoder
from heatdrop.model.bundle import Bundle
from heatdrop.model.gpu import find_gpus
from heatdrop.pipeline.announcing import announce_once
from heatdrop.pipeline.correlation import correlated
from heatdrop.pipeline.heatmap_maker import Flaw, HeatmapMaker, Pending, ReadImage, Stored, WorkedImage
from heatdrop.vocabulary import State

logger = Logger(child=True)


class HeatmapSettings(Destinations):
    """The environment of the heatmap job."""

    bundle_uri: str
    max_bytes: Annotated[int, Field(gt=0)]
    max_pixels: Annotated[int, Field(gt=0)]
    require_gpu: bool


@dataclass
class JobReport:
    """How many images of its manifest a job explained, failed, or found done already."""

    explained: int = 0
    failed: int = 0
    skipped: int = 0
    interrupted: bool = False

    @property
    def exit_code(self) -> int:
        """0: no image failed; 1: at least one did; RETRY_EXIT_CODE: Batch is to retry, for what is left."""
        return RETRY_EXIT_CODE if self.interrupted else int(self.failed > 0)


class HeatmapJob:
    """A run over one manifest; a second run explains only what the first one left out."""

    def __init__(self, settings: HeatmapSettings) -> None:
        self._settings = settings
        self._limits = Limits(settings.max_bytes, settings.max_pixels)
        items = ItemTable(settings.images_table, settings.layout)
        self._images, self._explanations = ImageTable(items), ExplanationTable(items)
        self._storage = Storage(settings.results_bucket)
        self._announcer = Announcer(settings.notifications_topic, settings.notifications_bus)
        self._metrics = Metrics(
            service=os.environ.get("POWERTOOLS_SERVICE_NAME", "heatdrop"),
            namespace=os.environ.get("POWERTOOLS_METRICS_NAMESPACE", "Heatdrop"),
        )
        self._stopping = False

    def run(self, manifest_key: str) -> JobReport:
        """Explain every image of the manifest that has no result yet.

        After a SIGTERM (Spot takes the host, or the job is terminated) the image that is being explained and the one
        that is being drawn are finished, and the rest is left to the retry.

        Raises:
            ManifestMissing: the images were erased before the job could begin.
            GpuMissing: the job was promised a GPU and finds none.
            InvalidBundle: the bundle of the model that made the predictions cannot be read.

        Before either of the last two is raised, all images that are left become FAILED with its message.
        """
        signal.signal(signal.SIGTERM, self._stop)
        manifest = self._storage.get_manifest(manifest_key)
        self._metrics.add_metric("BatchSize", MetricUnit.Count, len(manifest.images))
        try:
            return self._run(manifest)
        finally:
            # To stdout, in a form from which CloudWatch Logs makes metrics (EMF).
            self._metrics.flush_metrics()

    def _run(self, manifest: Manifest) -> JobReport:
        with GuardedDecoder() as decoder:
            try:
                with correlated(logger, manifest.manifest_id):
                    explainer = self._load(manifest, decoder)
            except HeatdropError as error:
                self._fail_all(manifest, f"the heatmap job failed: {error}")
                raise
            return self._explain_all(explainer, manifest)

    def _explain_all(self, explainer: Explainer, manifest: Manifest) -> JobReport:
        """Explain every image still to be explained, each beside the decoding of the next and the drawing of the last.

        Records are read, written and announced by this thread, in the order of the manifest.
        """
        report = JobReport()
        making = HeatmapMaker(explainer, self._storage, manifest, self._limits)

        def work(pending: Pending, read: ReadImage | Flaw) -> WorkedImage | Flaw | None:
            # What was only decoded when the job was told to stop is left to the retry.
            with correlated(logger, pending.entry.image_id, pending.entry.trace_header):
                return None if self._stopping else making.maps(pending, read)

        for pending, made in in_stages(self._pending(manifest, report), making.read, work, making.store):
            if made is None:
                report.interrupted = True
                continue
            with correlated(logger, pending.entry.image_id, pending.entry.trace_header):
                self._settle(report, manifest, pending.record, made)
        return report

    def _fail_all(self, manifest: Manifest, reason: str) -> None:
        """Mark every image FAILED that is still to be explained."""
        report = JobReport()
        for pending in self._pending(manifest, report):
            with correlated(logger, pending.entry.image_id, pending.entry.trace_header):
                self._settle(report, manifest, pending.record, Flaw(reason))

    def _pending(self, manifest: Manifest, report: JobReport) -> Iterator[Pending]:
        """The images still to be explained, until the job is told to stop; the others are announced and counted."""
        for entry in manifest.images:
            if self._stopping:
                report.interrupted = True
                return
            record = self._images.get(entry.image_id)
            if record is None:
                logger.warning("erased before it was explained", image_id=entry.image_id)
                report.skipped += 1
            elif _is_pending(record, manifest):
                yield Pending(entry, record)
            else:
                report.skipped += 1
                self._announce(record, manifest)

    def _settle(self, report: JobReport, manifest: Manifest, record: Record, made: Stored | Flaw) -> None:
        """Write what came of an image into its record, announce it and count it."""
        try:
            if isinstance(made, Flaw):
                record = self._fail(record, manifest, made)
            else:
                self._metrics.add_metric("SecondsPerImage", MetricUnit.Seconds, sum(made.timings_ms.values()) / 1000)
                logger.info("explained", image_id=record.image_id, timings_ms=made.timings_ms)
                record = self._mark_explained(record, manifest, made)
        except RecordGone:
            logger.warning("erased while it was being explained", image_id=record.image_id)
            report.skipped += 1
            return
        requested = record.explanations.get(manifest.manifest_id)
        self._count(report, requested.state if requested else record.state)
        self._announce(record, manifest)

    def _announce(self, record: Record, manifest: Manifest) -> None:
        if record.state.final and manifest.manifest_id not in record.explanations:
            announce_once(record, self._images, self._announcer)

    def _count(self, report: JobReport, state: State) -> None:
        """Count an image that this job has brought to a state."""
        if state is State.EXPLAINED:
            report.explained += 1
            self._metrics.add_metric("ImagesExplained", MetricUnit.Count, 1)
        elif state is State.FAILED:
            report.failed += 1
            self._metrics.add_metric("ImagesFailed", MetricUnit.Count, 1)

    def _load(self, manifest: Manifest, decoder: GuardedDecoder) -> Explainer:
        gpus = find_gpus(required=self._settings.require_gpu)
        bundle = self._bundle_of(manifest)
        started = time.perf_counter()
        explainer = Explainer(bundle, manifest.settings, self._limits, decoder.decode, on_gpu=bool(gpus))
        seconds = round(time.perf_counter() - started, 1)
        logger.info("model loaded", seconds=seconds, images=len(manifest.images), gpus=gpus)
        return explainer

    def _bundle_of(self, manifest: Manifest) -> Bundle:
        """The bundle that made the predictions: the job's own one, or the one that the manifest names in S3.

        Raises:
            InvalidBundle: neither of them is that bundle.
        """
        own, named = self._settings.bundle_uri, manifest.bundle_uri
        held = model_at(own)
        if held == manifest.model:
            return open_bundle_at(own)
        if named and in_s3(named) and model_at(named) == manifest.model:
            return open_bundle_at(named)
        if named and in_s3(named):
            advice = "Let heatmap jobs read that place (parameter BundlesUnder), then redrive the image"
        else:
            advice = "Redrive the image, or drop it again, to have it classified by the deployed model"
        raise InvalidBundle(
            f"the predictions are of {manifest.model.name} {manifest.model.version}, whose bundle the heatmap job "
            f"cannot read at {named or own}; the job holds "
            f"{f'{held.name} {held.version}' if held else 'no bundle'}. {advice}"
        )

    def _fail(self, record: Record, manifest: Manifest, flaw: Flaw) -> Record:
        if flaw.error:
            # One image must not fail the others of its job; the log has the traceback.
            logger.error("explanation failed", image_id=record.image_id, exc_info=flaw.error)
        if manifest.manifest_id in record.explanations:
            return self._explanations.mark_failed(record.image_id, manifest.manifest_id, flaw.reason)
        return self._images.mark_failed(record.image_id, flaw.reason)

    def _mark_explained(self, record: Record, manifest: Manifest, made: Stored) -> Record:
        if manifest.manifest_id in record.explanations:
            return self._explanations.mark_explained(
                record.image_id, manifest.manifest_id, made.picture, made.heatmaps, made.timings_ms, made.trust
            )
        return self._images.mark_explained(record, made.picture, made.heatmaps, made.timings_ms, made.trust)

    def _stop(self, signum: int, frame: FrameType | None) -> None:
        logger.warning("SIGTERM: the images in hand are finished, the rest is left to the retry")
        self._stopping = True


def _is_pending(record: Record, manifest: Manifest) -> bool:
    """Whether what the manifest asks for is still to be made: an explanation on request where one has its id."""
    requested = record.explanations.get(manifest.manifest_id)
    if requested:
        return not requested.state.final
    return record.state is State.CLASSIFIED and record.model == manifest.model
