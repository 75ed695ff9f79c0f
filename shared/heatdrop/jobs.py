"""Heatmap jobs on AWS Batch: the only place that knows it."""

from typing import TYPE_CHECKING

import boto3

if TYPE_CHECKING:
    from mypy_boto3_batch.client import BatchClient


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
