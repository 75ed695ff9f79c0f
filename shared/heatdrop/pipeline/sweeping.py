"""The sweep: images without progress are retried, and FAILED in the end, whatever event was lost on the way."""

from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from itertools import islice

from aws_lambda_powertools import Logger, Metrics
from aws_lambda_powertools.metrics import MetricUnit

from heatdrop.aws.explanation_table import ExplanationTable
from heatdrop.aws.image_table import ImageTable, OpenImages
from heatdrop.aws.item_table import ItemTable, now
from heatdrop.aws.jobs import JobPhase, JobStatus, JobStatuses
from heatdrop.aws.notifications import Announcer
from heatdrop.aws.queues import DropQueue
from heatdrop.aws.record import Record, RequestedExplanation
from heatdrop.pipeline.announcing import announce_once
from heatdrop.vocabulary import State

logger = Logger(child=True)
metrics = Metrics()

MAX_STUCK = 3
"""An image that was found without progress this often is FAILED."""

IMAGES_AT_ONCE = 5000
"""Images whose jobs are looked up together: about a page of the index."""


class Sweeper:
    """Finds the open images that have made no progress for ``patience``, and does what each needs.

    An image is final ``MAX_STUCK`` times ``patience`` after its last progress (and the time between two sweeps), unless
    its job runs, or waits in a queue in which jobs run. The same is true of an explanation on request.
    """

    def __init__(
        self,
        patience: timedelta,
        items: ItemTable,
        announcer: Announcer,
        drops: DropQueue,
        job_queues: Iterable[str],
    ) -> None:
        self._patience, self._job_queues = patience, tuple(job_queues)
        self._images, self._open, self._explanations = ImageTable(items), OpenImages(items), ExplanationTable(items)
        self._announcer, self._drops = announcer, drops

    def sweep(self, enough_time: Callable[[], bool]) -> None:
        """See to every image without progress, while there is ``enough_time``; the next sweep sees to the rest."""
        # First, so that the alarm on it does not depend on how much time is left.
        oldest = self._open.oldest_classified()
        age = (now() - oldest).total_seconds() if oldest else 0
        metrics.add_metric("OldestOpenImageSeconds", MetricUnit.Seconds, age)
        jobs = JobStatuses(self._job_queues)
        moment = now() - self._patience
        unchanged = self._open.unchanged_since(moment)
        # A backlog of many images waits for few jobs. Images whose job runs or waits for its turn cost no more than
        # these queries: their records are neither read nor written.
        while images := tuple(islice(unchanged, IMAGES_AT_ONCE)):
            jobs.look_up(image.job_id for image in images)
            for image in images:
                if not enough_time():
                    logger.warning("no time is left; the next sweep sees to the rest")
                    return
                if image.job_id is None or jobs.of(image.job_id).phase is not JobPhase.ACTIVE:
                    self._check_now(image.image_id, moment, jobs)

    def _check_now(self, image_id: str, moment: datetime, jobs: JobStatuses) -> None:
        """See to an image if its record, unlike the index, which lags behind a little, still shows no progress."""
        record = self._images.get(image_id)
        if record and record.updated_at < moment:
            self._check(record, jobs)

    def _check(self, record: Record, jobs: JobStatuses) -> None:
        """See to one image: first to its explanations on request, then to the image itself."""
        pending = [wanted for wanted in record.pending_explanations if self._may_still_come(record, wanted, jobs)]
        if record.state.final:
            # A final image is open for its explanations, or because its state was never announced.
            announce_once(record, self._images, self._announcer)
            if pending:
                self._open.mark_active(record)
            elif record.explanations:
                self._open.close(record)
            return
        job = jobs.of(record.job_id)
        match job.phase:
            case JobPhase.ACTIVE:
                self._open.mark_active(record)
            case JobPhase.FAILED:
                self._fail(record, job.problem)
            case _:
                self._retry_or_fail(record, job, jobs)

    def _retry_or_fail(self, record: Record, job: JobStatus, jobs: JobStatuses) -> None:
        """Let a stalled job wait on, or send the drop to inference again for another job; in the end, fail."""
        metrics.add_metric("ImagesStuck", MetricUnit.Count, 1)
        stalled = job.phase is JobPhase.STALLED
        if record.times_stuck + 1 < MAX_STUCK:
            if self._open.mark_stuck(record, forget_job=not stalled) and not stalled:
                self._drops.send(record.drop)
            logger.warning("stuck", image_id=record.image_id, problem=job.problem, times=record.times_stuck + 1)
            return
        minutes = self._patience.total_seconds() / 60
        self._fail(record, f"no progress for {minutes:.0f} minutes, {MAX_STUCK} times: {job.problem}; redrive it")
        if stalled and record.job_id:
            jobs.cancel(record.job_id, "its images are FAILED: it waited too long")

    def _may_still_come(self, record: Record, wanted: RequestedExplanation, jobs: JobStatuses) -> bool:
        """Whether an explanation on request may still be made; else it is FAILED, and may be asked for again."""
        job = jobs.of(wanted.job_id)
        latest = wanted.requested_at + MAX_STUCK * self._patience
        stalled = job.phase is JobPhase.STALLED
        if job.phase is JobPhase.ACTIVE or (stalled and now() < latest):
            return True
        reason = job.problem if job.phase is JobPhase.FAILED else f"{job.problem}; ask again"
        logger.warning("explanation on request failed", image_id=record.image_id, reason=reason)
        self._explanations.mark_failed(record.image_id, wanted.explanation_id, reason)
        if stalled and wanted.job_id:
            jobs.cancel(wanted.job_id, "the explanation has FAILED: it waited too long")
        return False

    def _fail(self, record: Record, reason: str) -> None:
        failed = self._images.mark_failed(record.image_id, reason)
        if failed.state is State.FAILED:
            logger.warning("failed", image_id=record.image_id, reason=failed.reason)
            metrics.add_metric("ImagesFailed", MetricUnit.Count, 1)
        announce_once(failed, self._images, self._announcer)
