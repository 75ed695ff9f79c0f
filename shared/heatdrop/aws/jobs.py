"""Heatmap jobs on AWS Batch: submitted, asked about, cancelled. Nothing else calls Batch."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

import boto3
from botocore.exceptions import ClientError

if TYPE_CHECKING:
    from mypy_boto3_batch.client import BatchClient


RETRY_EXIT_CODE = 75
"""Exit code (EX_TEMPFAIL of sysexits.h) that the job definition retries: the images that are left are not at fault."""


class JobQueue:
    """Where heatmap jobs are submitted."""

    def __init__(self, queue: str, definition: str) -> None:
        self._queue, self._definition = queue, definition
        self._batch: BatchClient = boto3.client("batch")

    def submit(self, manifest_id: str, manifest_key: str) -> str:
        """Submit a job named after its manifest; returns the job's id."""
        answer = self._batch.submit_job(
            jobName=f"heatdrop-{manifest_id}",
            jobQueue=self._queue,
            jobDefinition=self._definition,
            parameters={"manifest": manifest_key},
        )
        return answer["jobId"]


class JobPhase(StrEnum):
    """What a job's status means for the images that wait for it."""

    ACTIVE = "ACTIVE"
    """It runs, or other jobs of its queue do, so that its turn will come."""
    STALLED = "STALLED"
    """It waits, and no job of its queue runs."""
    FAILED = "FAILED"
    ENDED = "ENDED"
    """It has succeeded, or ended so long ago that Batch no longer knows it."""
    MISSING = "MISSING"
    """No job was submitted, or its id was never written down."""


@dataclass(frozen=True)
class JobStatus:
    """The phase of a job, and what is wrong for an image that still waits for it, as a clause of a sentence."""

    phase: JobPhase
    problem: str = ""


class JobStatuses:
    """What has become of heatmap jobs, at one moment: Batch is asked once about each, and its answer is kept."""

    def __init__(self, queue: str) -> None:
        self._queue = queue
        self._batch: BatchClient = boto3.client("batch")
        self._known: dict[str, JobStatus] = {}
        self._queue_runs: bool | None = None

    def of(self, job_id: str | None) -> JobStatus:
        """The status of a job; None is a job that was never submitted."""
        if job_id is None:
            return JobStatus(JobPhase.MISSING, "it was left without a heatmap job")
        if job_id not in self._known:
            jobs = self._batch.describe_jobs(jobs=[job_id])["jobs"]
            self._known[job_id] = self._status(jobs[0] if jobs else {"status": "SUCCEEDED"})
        return self._known[job_id]

    def _status(self, job: Mapping[str, Any]) -> JobStatus:
        match job["status"]:
            case "FAILED":
                return JobStatus(JobPhase.FAILED, f"the heatmap job failed: {failure_reason(job)}")
            case "SUCCEEDED":
                return JobStatus(JobPhase.ENDED, "its heatmap job has ended without it")
            case "RUNNING" | "STARTING":
                return JobStatus(JobPhase.ACTIVE)
            case _ if self._any_job_runs():
                return JobStatus(JobPhase.ACTIVE)
            case _:
                return JobStatus(JobPhase.STALLED, "its heatmap job waits, and no job of the queue runs")

    def _any_job_runs(self) -> bool:
        """Whether a job of the queue runs or is about to; then those behind it merely wait for their turn."""
        if self._queue_runs is None:
            self._queue_runs = any(
                self._batch.list_jobs(jobQueue=self._queue, jobStatus=status, maxResults=1)["jobSummaryList"]
                for status in ("RUNNING", "STARTING")
            )
        return self._queue_runs

    def cancel(self, job_id: str, reason: str) -> None:
        """Cancel a job that has not started; one that has, or that Batch no longer knows, is left alone."""
        try:
            self._batch.cancel_job(jobId=job_id, reason=reason)
        except ClientError as error:
            if error.response["Error"]["Code"] != "ClientException":
                raise


def failure_reason(detail: Mapping[str, Any]) -> str:
    """Why a job failed: all that Batch's description of it says, in one line."""
    container = detail.get("container") or {}
    parts = [detail.get("statusReason"), container.get("reason")]
    if container.get("exitCode") is not None:
        parts.append(f"exit code {container['exitCode']}")
    return "; ".join(part for part in parts if part) or "no reason given"
