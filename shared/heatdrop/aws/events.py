"""Reads SQS messages: S3 events, failed Batch jobs, the schedule of the sweep, and dead letters."""

import json
from collections.abc import Collection
from typing import Any
from urllib.parse import unquote_plus

from heatdrop.aws.jobs import failure_reason
from heatdrop.errors import UnknownEvent
from heatdrop.vocabulary import Drop, FrozenModel


def drops_in(body: str, bucket: str) -> list[Drop]:
    """The uploads that an SQS message with an S3 event notification names; none for ``s3:TestEvent``.

    Keys are form-encoded in events, and decoded nowhere but here. Events of other buckets are ignored, so that a forged
    message cannot make us read them. So are the empty objects ``folder/`` that consoles and tools make as folders.

    Raises:
        UnknownEvent: the body is not an S3 event notification.
    """
    try:
        event = json.loads(body)
        if event.get("Event") == "s3:TestEvent":
            return []
        drops = [
            _drop(entry["s3"])
            for entry in event["Records"]
            if entry["eventName"].startswith("ObjectCreated:") and entry["s3"]["bucket"]["name"] == bucket
        ]
        return [drop for drop in drops if not (drop.key.endswith("/") and drop.size == 0)]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        # The body is not quoted: a key may hold the name of a patient.
        raise UnknownEvent(f"not an S3 event notification ({len(body)} characters)") from error


def _drop(entry: dict[str, Any]) -> Drop:
    described = entry["object"]
    return Drop(
        bucket=entry["bucket"]["name"],
        key=unquote_plus(described["key"]),
        version_id=described.get("versionId"),
        etag=described.get("eTag", ""),
        size=described.get("size"),
    )


class JobFailure(FrozenModel):
    """A heatmap job that failed after all its attempts."""

    job_id: str
    manifest_key: str
    reason: str


class Sweep(FrozenModel):
    """The schedule's message: look for images without progress."""


class DeadDrops(FrozenModel):
    """Uploads that inference gave up on."""

    drops: tuple[Drop, ...]


def read_job_event(body: str, bucket: str, job_queues: Collection[str]) -> JobFailure | Sweep | DeadDrops | None:
    """What a message of the job events queue, or of the dead-letter queue of ``bucket``, says.

    None for a job of another queue than ``job_queues``.

    Raises:
        UnknownEvent: it is none of the three.
    """
    try:
        event = json.loads(body)
        if "detail-type" not in event:
            return DeadDrops(drops=tuple(drops_in(body, bucket)))
        if event["detail-type"] == "Sweep":
            return Sweep()
        detail = event["detail"]
        failure = JobFailure(
            job_id=detail["jobId"], manifest_key=detail["parameters"]["manifest"], reason=failure_reason(detail)
        )
        return failure if detail["jobQueue"] in job_queues else None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UnknownEvent(f"not a failed job, a sweep or a drop ({len(body)} characters)") from error
