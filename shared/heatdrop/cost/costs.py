"""Dollars for a thousand images: the requests that one image makes to each service, times their prices."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
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
    """MB stored for an image: picture, heatmaps and raw maps."""


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


WRITE_UNITS = 26
"""DynamoDB write units of one image: 8 for its record, which exceeds 1 KB once it is explained, 8 for the index of open
images and 10 for the three indexes of lists. A write that moves an index entry counts twice. A test counts them."""


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
    """Dollars for a thousand images, by service; storage for one month."""
    batch, calls = setup.images_per_job, calls_per_image(setup)
    explain = timings.explain + setup.job_start / batch
    image = {
        "Lambda": timings.infer * setup.lambda_gb * prices.LAMBDA_GB_SECOND + prices.LAMBDA_REQUEST / batch,
        f"Batch ({compute})": explain * prices.compute_hour(compute) / 3600 * (1 - setup.spot_discount),
        "S3 requests": calls["PutObject"] * prices.S3_PUT + calls["GetObject"] * prices.S3_GET,
        "S3 storage, a month": setup.stored_mb / 1000 * prices.S3_GB_MONTH,
        "DynamoDB": WRITE_UNITS * prices.DYNAMODB_WRITE_UNIT + calls["GetItem"] * prices.DYNAMODB_READ_UNIT,
        # Sent by S3, received and deleted by Lambda in tens.
        "SQS": (1 + 2 / 10) * prices.SQS_REQUEST,
        "SNS": calls["Publish"] * prices.SNS_PUBLISH,
    }
    return {service: 1000 * dollars for service, dollars in image.items()}
