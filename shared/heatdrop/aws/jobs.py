"""Heatmap jobs on AWS Batch: the only place that knows it."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

import boto3
from botocore.exceptions import ClientError

if TYPE_CHECKING:
    from mypy_boto3_batch.client import BatchClient


RETRY_EXIT_CODE = 75
"""Exit code (EX_TEMPFAIL) that the job definition retries: nothing is wrong with the images that are left."""


class JobQueue:
    """Where heatmap jobs are submitted."""

    def __init__(self, queue: str, definition: str) -> None:
        self._queue, self._definition = queue, definition
        self._batch: BatchClient = boto3.client("batch")

    def submit(self, manifest_id: str, manifest_key: str) -> str:
        """Submit the job of a manifest, named after it; returns the job's id."""
        answer = self._batch.submit_job(
            jobName=f"heatdrop-{manifest_id}",
            jobQueue=self._queue,
            jobDefinition=self._definition,
            parameters={"manifest": manifest_key},
        )
        return answer["jobId"]


class JobPhase(StrEnum):
    """Where a job is, as far as its images are concerned."""

    IN_HAND = "IN_HAND"
    """It runs, or waits for its turn in a queue that works."""
    STALLED = "STALLED"
    """It waits, and no job of the queue runs."""
    FAILED = "FAILED"
    OVER = "OVER"
    """It has succeeded, or Batch has forgotten it."""
    MISSING = "MISSING"
    """There is none."""


@dataclass(frozen=True)
class JobOutlook:
    """A job's phase, and what that means for an image that still waits for it."""

    phase: JobPhase
    problem: str = ""


class JobWatch:
    """What has become of heatmap jobs. Answers are kept: make a new one for a new look."""

    def __init__(self, queue: str) -> None:
        self._queue = queue
        self._batch: BatchClient = boto3.client("batch")
        self._outlooks: dict[str, JobOutlook] = {}
        self._working: bool | None = None

    def outlook(self, job_id: str | None) -> JobOutlook:
        """What has become of a job."""
        if job_id is None:
            return JobOutlook(JobPhase.MISSING, "it was left without a heatmap job")
        if job_id not in self._outlooks:
            jobs = self._batch.describe_jobs(jobs=[job_id])["jobs"]
            self._outlooks[job_id] = self._judge(jobs[0] if jobs else {"status": "SUCCEEDED"})
        return self._outlooks[job_id]

    def _judge(self, job: Mapping[str, Any]) -> JobOutlook:
        match job["status"]:
            case "FAILED":
                return JobOutlook(JobPhase.FAILED, f"the heatmap job failed: {failure_reason(job)}")
            case "SUCCEEDED":
                return JobOutlook(JobPhase.OVER, "its heatmap job is over and left it out")
            case "RUNNING" | "STARTING":
                return JobOutlook(JobPhase.IN_HAND)
            case _ if self._queue_works():
                return JobOutlook(JobPhase.IN_HAND)
            case _:
                return JobOutlook(JobPhase.STALLED, "its heatmap job waits, and no job of the queue runs")

    def _queue_works(self) -> bool:
        """Whether any job of the queue is running or about to, so that those behind it wait for their turn."""
        if self._working is None:
            self._working = any(
                self._batch.list_jobs(jobQueue=self._queue, jobStatus=status, maxResults=1)["jobSummaryList"]
                for status in ("RUNNING", "STARTING")
            )
        return self._working

    def cancel(self, job_id: str, reason: str) -> None:
        """Take a job back that has not started; one that has is left alone."""
        try:
            self._batch.cancel_job(jobId=job_id, reason=reason)
        except ClientError as error:
            # It is over and forgotten.
            if error.response["Error"]["Code"] != "ClientException":
                raise


def failure_reason(detail: Mapping[str, Any]) -> str:
    """Why a job failed, from Batch's description of it."""
    container = detail.get("container") or {}
    parts = [detail.get("statusReason"), container.get("reason")]
    if container.get("exitCode") is not None:
        parts.append(f"exit code {container['exitCode']}")
    return "; ".join(part for part in parts if part) or "no reason given"
