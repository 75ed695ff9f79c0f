"""Images without progress get another chance, and in the end a final state: the net under events that were lost."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from aws_lambda_powertools import Logger, Metrics
from aws_lambda_powertools.metrics import MetricUnit

from heatdrop.aws.image_table import ImageTable
from heatdrop.aws.jobs import JobOutlook, JobPhase, JobWatch
from heatdrop.aws.notifications import Announcer
from heatdrop.aws.queues import DropQueue
from heatdrop.aws.record import Record, RequestedExplanation
from heatdrop.pipeline.announcing import announce_once
from heatdrop.vocabulary import State

logger = Logger(child=True)
metrics = Metrics()

CHANCES = 2
"""How often an image without progress may go on before it is FAILED."""


class Sweeper:
    """Looks after every image that has made no progress for a while.

    An image is final at the latest ``1 + CHANCES`` times that while (and the time between two sweeps) after its last
    progress, unless its job runs, or waits in a queue that works. The same is true of an explanation on request.
    """

    def __init__(
        self, patience: timedelta, records: ImageTable, announcer: Announcer, drops: DropQueue, job_queue: str
    ) -> None:
        self._patience, self._job_queue = patience, job_queue
        self._records, self._announcer, self._drops = records, announcer, drops

    def sweep(self, enough_time: Callable[[], bool]) -> None:
        """Look after the images that are stuck, as long as there is ``enough_time``; the next sweep goes on."""
        watch = JobWatch(self._job_queue)
        moment = datetime.now(UTC) - self._patience
        for image_id in self._records.open_since(moment):
            if not enough_time():
                logger.warning("the time is over; the next sweep goes on")
                return
            record = self._records.get(image_id)
            # The index is a little late: the record itself says whether there was progress.
            if record and record.updated_at < moment:
                self._look_after(record, watch)

    def _look_after(self, record: Record, watch: JobWatch) -> None:
        waiting = [wanted for wanted in record.unsettled if self._still_waits(record, wanted, watch)]
        if record.state.final:
            # Unless it is open for its explanations alone, its last step was lost on the way to its subscribers.
            announce_once(record, self._records, self._announcer)
            if waiting:
                self._records.keep_waiting(record)
            elif record.explanations:
                self._records.close(record)
            return
        outlook = watch.outlook(record.job_id)
        match outlook.phase:
            case JobPhase.IN_HAND:
                self._records.keep_waiting(record)
            case JobPhase.FAILED:
                self._fail(record, outlook.problem)
            case _:
                self._go_on(record, outlook, watch)

    def _go_on(self, record: Record, outlook: JobOutlook, watch: JobWatch) -> None:
        """Give the image another chance, or fail it where it has had them all."""
        metrics.add_metric("ImagesStuck", MetricUnit.Count, 1)
        stalled = outlook.phase is JobPhase.STALLED
        if record.chances < CHANCES:
            if self._records.give_chance(record, new_job=not stalled) and not stalled:
                self._drops.send(record.drop)
            logger.warning("stuck", image_id=record.image_id, problem=outlook.problem, chances=record.chances + 1)
            return
        minutes = self._patience.total_seconds() / 60
        self._fail(record, f"no progress for {minutes:.0f} minutes, {1 + CHANCES} times: {outlook.problem}; redrive it")
        if stalled and record.job_id:
            watch.cancel(record.job_id, "its images are FAILED: it waited too long")

    def _still_waits(self, record: Record, wanted: RequestedExplanation, watch: JobWatch) -> bool:
        """Whether an explanation on request may still be made; else it is FAILED, and can be asked for again."""
        outlook = watch.outlook(wanted.job_id)
        latest = wanted.requested_at + (1 + CHANCES) * self._patience
        stalled = outlook.phase is JobPhase.STALLED
        if outlook.phase is JobPhase.IN_HAND or (stalled and datetime.now(UTC) < latest):
            return True
        reason = outlook.problem if outlook.phase is JobPhase.FAILED else f"{outlook.problem}; ask again"
        logger.warning("explanation on request failed", image_id=record.image_id, reason=reason)
        self._records.fail_explanation(record.image_id, wanted.explanation_id, reason)
        if stalled and wanted.job_id:
            watch.cancel(wanted.job_id, "the explanation has FAILED: it waited too long")
        return False

    def _fail(self, record: Record, reason: str) -> None:
        failed = self._records.fail(record.image_id, reason)
        if failed.state is State.FAILED:
            logger.warning("failed", image_id=record.image_id, reason=failed.reason)
            metrics.add_metric("ImagesFailed", MetricUnit.Count, 1)
        announce_once(failed, self._records, self._announcer)
