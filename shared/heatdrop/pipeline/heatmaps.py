"""A manifest of classified images to their heatmaps: what the Batch job does."""

import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import FrameType
from typing import Annotated

from aws_lambda_powertools import Logger
from pydantic import Field

from heatdrop.aws.bundles import open_bundle_at
from heatdrop.aws.image_table import ImageTable
from heatdrop.aws.jobs import RETRY_EXIT_CODE
from heatdrop.aws.notifications import Announcer
from heatdrop.aws.record import Record
from heatdrop.aws.settings import Destinations
from heatdrop.aws.storage import Manifest, ManifestEntry, Storage
from heatdrop.errors import HeatdropError, InvalidBundle
from heatdrop.explaining.explainer import Explainer, Explanation
from heatdrop.images import Limits
from heatdrop.images.guarded import GuardedDecoder
from heatdrop.model.bundle import KERAS_MODEL
from heatdrop.model.gpu import find_gpus
from heatdrop.pipeline.announcing import announce_once
from heatdrop.timing import milliseconds
from heatdrop.vocabulary import HeatmapFiles, State

logger = Logger(child=True)


class HeatmapSettings(Destinations):
    """The environment of the heatmap job."""

    bundle_uri: str
    max_bytes: Annotated[int, Field(gt=0)]
    max_pixels: Annotated[int, Field(gt=0)]
    require_gpu: bool


@dataclass
class JobReport:
    """What a job did with the images of its manifest."""

    explained: int = 0
    failed: int = 0
    skipped: int = 0
    interrupted: bool = False

    @property
    def exit_code(self) -> int:
        """0: every image has its result; 1: one failed for good; RETRY_EXIT_CODE: Batch is to try the rest again."""
        return RETRY_EXIT_CODE if self.interrupted else int(self.failed > 0)


class HeatmapJob:
    """One run over one manifest. A second run renders only what is missing."""

    def __init__(self, settings: HeatmapSettings) -> None:
        self._settings = settings
        self._limits = Limits(settings.max_bytes, settings.max_pixels)
        self._records = ImageTable(settings.images_table)
        self._storage = Storage(settings.results_bucket)
        self._announcer = Announcer(settings.notifications_topic, settings.notifications_bus)
        self._stopping = False

    def run(self, manifest_key: str) -> JobReport:
        """Explain every image of the manifest that has no result yet.

        On SIGTERM, which comes two minutes before a Spot host is taken away, the image in hand is finished and the
        rest is left to the retry.

        Raises:
            GpuMissing: the job was promised a GPU and finds none.
            InvalidBundle: the bundle cannot be used, or is not the model that made the predictions. As with
                GpuMissing, the images are FAILED and say why.
        """
        signal.signal(signal.SIGTERM, self._stop)
        manifest = self._storage.get_manifest(manifest_key)
        with GuardedDecoder() as decoder:
            try:
                explainer = self._load(manifest, decoder)
            except HeatdropError as error:
                reason = f"the heatmap job failed: {error}"
                self._each(manifest, lambda entry, record: self._fail(record, manifest, reason))
                raise
            return self._each(manifest, lambda entry, record: self._explain(explainer, manifest, entry, record))

    def _each(self, manifest: Manifest, settle: Callable[[ManifestEntry, Record], Record]) -> JobReport:
        """Settle every image of the manifest that still is this job's to settle."""
        report = JobReport()
        for entry in manifest.images:
            if self._stopping:
                report.interrupted = True
                break
            record = self._records.get(entry.image_id)
            if record is None:
                raise LookupError(f"image {entry.image_id} has no record; was the table emptied?")
            requested = record.explanations.get(manifest.manifest_id)
            if _is_left(record, manifest):
                record = settle(entry, record)
                state = record.explanations[manifest.manifest_id].state if requested else record.state
                report.explained += state is State.EXPLAINED
                report.failed += state is State.FAILED
            else:
                report.skipped += 1
            if record.state.final and not requested:
                announce_once(record, self._records, self._announcer)
        return report

    def _load(self, manifest: Manifest, decoder: GuardedDecoder) -> Explainer:
        gpus = find_gpus(required=self._settings.require_gpu)
        bundle = open_bundle_at(self._settings.bundle_uri, KERAS_MODEL)
        if bundle.model != manifest.model:
            raise InvalidBundle(
                f"the predictions are of {manifest.model.name} {manifest.model.version}, but the job holds "
                f"{bundle.model.name} {bundle.model.version}; deploy both containers with one bundle, then redrive"
            )
        started = time.perf_counter()
        explainer = Explainer(bundle, manifest.settings, self._limits, decoder.decode)
        seconds = round(time.perf_counter() - started, 1)
        logger.info("model loaded", seconds=seconds, images=len(manifest.images), gpus=gpus)
        return explainer

    def _explain(self, explainer: Explainer, manifest: Manifest, entry: ManifestEntry, record: Record) -> Record:
        """Render and store, or fail; returns the record as it is then."""
        try:
            data = self._storage.fetch_drop(entry.drop, self._limits.max_bytes)
        except HeatdropError as error:
            return self._fail(record, manifest, str(error))
        # What S3 raises beyond that says nothing about the image: the job ends, and its retry does what is left.
        try:
            explanation = explainer.explain(data, entry.predictions)
        except HeatdropError as error:
            return self._fail(record, manifest, str(error))
        except Exception as error:
            # One image must not take the rest of its job down; the log has the traceback.
            logger.exception("explanation failed", image_id=record.image_id)
            return self._fail(record, manifest, f"the heatmaps could not be made ({type(error).__name__})")
        return self._store(record, manifest, explanation)

    def _fail(self, record: Record, manifest: Manifest, reason: str) -> Record:
        if manifest.manifest_id in record.explanations:
            return self._records.fail_explanation(record.image_id, manifest.manifest_id, reason)
        return self._records.fail(record.image_id, reason)

    def _store(self, record: Record, manifest: Manifest, explanation: Explanation) -> Record:
        started = time.perf_counter()
        requested = manifest.manifest_id in record.explanations
        # Beside the first explanation, never over it: its record and its artefacts stay what they are.
        folder = f"{manifest.manifest_id}/" if requested else ""

        def put(artefact: tuple[str, bytes]) -> str:
            name, content = artefact
            return self._storage.put_artefact(record.image_id, manifest.model, folder + name, content)

        picture, heatmaps = put(explanation.picture), []
        for heatmap in explanation.heatmaps:
            heatmaps.append(HeatmapFiles.of(heatmap.label, [put(artefact) for artefact in heatmap.files]))
        timings = explanation.timings_ms | {"store": milliseconds(started, time.perf_counter())}
        logger.info("explained", image_id=record.image_id, timings_ms=timings)
        if requested:
            values = {"state": State.EXPLAINED, "picture": picture, "heatmaps": heatmaps, "timings_ms": timings}
            return self._records.settle_explanation(record.image_id, manifest.manifest_id, values)
        return self._records.explain(record, picture, tuple(heatmaps), timings)

    def _stop(self, signum: int, frame: FrameType | None) -> None:
        logger.warning("told to stop: the image in hand is finished, the rest is left to the retry")
        self._stopping = True


def _is_left(record: Record, manifest: Manifest) -> bool:
    """Whether an image's first explanation, or the one on request that bears the manifest's id, is still to be made."""
    requested = record.explanations.get(manifest.manifest_id)
    if requested:
        return not requested.state.final
    return record.state is State.CLASSIFIED and record.model == manifest.model
