"""Heatmap jobs on AWS Batch: submitted, asked about, cancelled. Nothing else calls Batch."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

import boto3
from botocore.exceptions import ClientError

if TYPE_CHECKING:
    from mypy_boto3_batch.client import BatchClient


RETRY_EXIT_CODE = 75
"""Exit code (EX_TEMPFAIL of sysexits.h) that the job definition retries: the images that are left are not at fault."""


_MOST_DESCRIBED = 100
"""Jobs that one call of DescribeJobs takes."""


class JobQueue:
    """Where heatmap jobs are submitted."""

    def __init__(self, queue: str, definition: str) -> None:
        self._queue, self._definition = queue, definition
        self._batch: BatchClient = boto3.client("batch")

    def submit(self, manifest_id: str, manifest_key: str, definition: str | None = None) -> str:
        """Submit a job named after its manifest; returns the job's id.

        ``definition`` is the job definition that was deployed with the model of the manifest. Where that is None, or no
        longer active, the job is submitted with today's: it can load every bundle that lies in S3.
        """
        try:
            return self._submit(manifest_id, manifest_key, definition or self._definition)
        except ClientError as error:
            inactive = error.response["Error"]["Code"] == "ClientException"
            if not (inactive and definition and definition != self._definition):
                raise
            return self._submit(manifest_id, manifest_key, self._definition)

    def _submit(self, manifest_id: str, manifest_key: str, definition: str) -> str:
        answer = self._batch.submit_job(
            jobName=f"heatdrop-{manifest_id}",
            jobQueue=self._queue,
            jobDefinition=definition,
            parameters={"manifest": manifest_key},
        )
        return answer["jobId"]


class JobPhase(StrEnum):
    """What a job's status means for the images that wait for it."""

    ACTIVE = "ACTIVE"
    """It runs, or other jobs do, so that its turn will come."""
    STALLED = "STALLED"
    """It waits, and no job runs."""
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
    """What has become of heatmap jobs, at one moment: Batch is asked once about each, and its answer is kept.

    All queues share their compute environments, so while a job of any of them runs, those that wait have their turn yet
    to come.
    """

    def __init__(self, queues: Iterable[str]) -> None:
        self._queues = tuple(queues)
        self._batch: BatchClient = boto3.client("batch")
        self._known: dict[str, JobStatus] = {}
        self._any_runs: bool | None = None

    def of(self, job_id: str | None) -> JobStatus:
        """The status of a job; None is a job that was never submitted."""
        if job_id is None:
            return JobStatus(JobPhase.MISSING, "it was left without a heatmap job")
        self.look_up([job_id])
        return self._known[job_id]

    def look_up(self, job_ids: Iterable[str | None]) -> None:
        """Ask Batch about many jobs at once, so that ``of`` need not ask about each."""
        unknown = sorted({job_id for job_id in job_ids if job_id is not None} - self._known.keys())
        for start in range(0, len(unknown), _MOST_DESCRIBED):
            asked = unknown[start : start + _MOST_DESCRIBED]
            found = {job["jobId"]: job for job in self._batch.describe_jobs(jobs=asked)["jobs"]}
            self._known |= {job_id: self._status(found.get(job_id, {"status": "SUCCEEDED"})) for job_id in asked}

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
                return JobStatus(JobPhase.STALLED, "its heatmap job waits, and no other job runs")

    def _any_job_runs(self) -> bool:
        if self._any_runs is None:
            self._any_runs = any(
                self._batch.list_jobs(jobQueue=queue, jobStatus=status, maxResults=1)["jobSummaryList"]
                for queue in self._queues
                for status in ("RUNNING", "STARTING")
            )
        return self._any_runs

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
