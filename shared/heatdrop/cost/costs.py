"""Dollars for a thousand images: the requests that one image makes to each service, times their prices."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from statistics import median
from typing import Any

from heatdrop.cost import prices
from heatdrop.errors import InvalidRequest
from heatdrop.vocabulary import HeatmapFiles


@dataclass(frozen=True)
class Timings:
    """Seconds that an image takes at each step; ``origin`` says where the figures come from."""

    infer: float
    """Fetch, decode and predict, in the inference function."""
    explain: float
    """Explain, render and store, on the compute of the heatmap job."""
    origin: str


@dataclass(frozen=True)
class Setup:
    """The parameters that costs depend on, with the template's defaults."""

    lambda_gb: float = 2.0
    images_per_job: int = 50
    top: int = 3
    job_start: float = 30.0
    """Seconds until a job begins its first image: starting the container and loading the model."""
    spot_discount: float = 0.0
    stored_mb: float = 1.0
    """The picture, heatmaps and raw maps of an image, together."""
    keep_results_days: float = 365.0
    classes: int = 3
    """That the model knows: a record holds the score of each."""
    shards: int = 8


def measured_timings(records: Iterable[Mapping[str, Any]], origin: str) -> Timings:
    """The median times of the explained images in a ``results.jsonl``.

    Raises:
        InvalidRequest: it contains no explained image.
    """
    timed = [record["timings_ms"] for record in records if record["state"] == "EXPLAINED"]
    if not timed:
        raise InvalidRequest(f"{origin} holds no explained image to take times from")

    def seconds(*steps: str) -> float:
        return float(median(sum(times.get(step, 0.0) for step in steps) for times in timed)) / 1000

    return Timings(seconds("fetch", "decode", "predict"), seconds("explain", "render", "store"), origin)


def class_count(records: Iterable[Mapping[str, Any]]) -> int:
    """How many classes the images of a ``results.jsonl`` have scores of; those of another model count as well."""
    return max((len(record.get("predictions", ())) for record in records), default=0) or Setup.classes


def stored_mb(records: Iterable[Mapping[str, Any]], folder: Path) -> float:
    """The median size in MB of an explained image's artefacts, which lie below ``folder``."""
    sizes = [
        sum((folder / path).stat().st_size for path in _artefacts(record))
        for record in records
        if record["state"] == "EXPLAINED"
    ]
    return float(median(sizes)) / 1e6


def _artefacts(record: Mapping[str, Any]) -> Iterator[str]:
    if record.get("picture"):
        yield record["picture"]
    for heatmap in record["heatmaps"]:
        yield from HeatmapFiles.model_validate(heatmap).paths


def write_units(classes: int, top: int) -> int:
    """Write units that DynamoDB bills for one image: one for each KB, begun or whole, of each write. A test counts.

    A record holds the score of every class, and each of the five writes from CLASSIFIED on is billed for all of it. The
    index of open images takes 8 units and the three that lists are read from 10: they hold no scores of other classes,
    but a write that moves an entry to another partition or place counts twice.
    """
    classified = _RECORD_BYTES + _CLASS_BYTES * classes
    explained = classified + _PICTURE_BYTES + _HEATMAP_BYTES * top
    return 1 + 3 * ceil(classified / 1024) + 2 * ceil(explained / 1024) + OPEN_INDEX_UNITS + _LIST_INDEX_UNITS


_RECORD_BYTES, _CLASS_BYTES, _PICTURE_BYTES, _HEATMAP_BYTES = 740, 36, 140, 260
"""Sizes of the parts of an item, with keys and labels of usual length."""

OPEN_INDEX_UNITS, _LIST_INDEX_UNITS = 8, 10


def calls_per_image(setup: Setup) -> dict[str, float]:
    """Requests of one image to each service, from the drop to the last notification. A test counts them."""
    return {
        # The drop itself, its picture, three artefacts a class, and its share of the manifest.
        "PutObject": 2 + 3 * setup.top + 1 / setup.images_per_job,
        # By inference and by the job, which reads the manifest too.
        "GetObject": 2 + 1 / setup.images_per_job,
        "PutItem": 1,
        # Classified, announced, submitted, explained, announced.
        "UpdateItem": 5,
        "GetItem": 1,
        "Publish": 2,
    }


def per_thousand(timings: Timings, setup: Setup, compute: str) -> dict[str, float]:
    """Dollars a thousand images, by service; storage is for as long as their results are kept."""
    batch, calls = setup.images_per_job, calls_per_image(setup)
    explain = timings.explain + setup.job_start / batch
    kept_months = setup.keep_results_days / _DAYS_A_MONTH
    units = write_units(setup.classes, setup.top)
    image = {
        "Lambda": timings.infer * setup.lambda_gb * prices.LAMBDA_GB_SECOND + prices.LAMBDA_REQUEST / batch,
        f"Batch ({compute})": explain * prices.compute_hour(compute) / 3600 * (1 - setup.spot_discount),
        "S3 requests": calls["PutObject"] * prices.S3_PUT + calls["GetObject"] * prices.S3_GET,
        f"S3 storage, {setup.keep_results_days:.0f} days": setup.stored_mb / 1000 * prices.S3_GB_MONTH * kept_months,
        "DynamoDB": units * prices.DYNAMODB_WRITE_UNIT + calls["GetItem"] * prices.DYNAMODB_READ_UNIT,
        # Sent by S3, received and deleted by Lambda in tens.
        "SQS": (1 + 2 / 10) * prices.SQS_REQUEST,
        "SNS": calls["Publish"] * prices.SNS_PUBLISH,
    }
    return {service: 1000 * dollars for service, dollars in image.items()}


def idle_month() -> float:
    """Dollars a month without a single image: Lambda polls each queue all the time."""
    polls = _QUEUES * POLLERS * _DAYS_A_MONTH * 24 * 3600 / _POLL_SECONDS
    return polls * prices.SQS_REQUEST


_DAYS_A_MONTH = 365 / 12

POLLERS = 5
"""Lambda starts with so many pollers for each queue, which share its messages and invoke the function side by side."""

_QUEUES = 3
"""Drops, dead letters and job events."""

_POLL_SECONDS = 20.0
"""How long a poll of an empty queue waits."""
