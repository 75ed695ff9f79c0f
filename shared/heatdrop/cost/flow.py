"""Simulates a day of the pipeline second by second: where images wait, and which limit is reached first."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from heatdrop.cost.costs import OPEN_INDEX_UNITS, POLLERS, Setup, Timings, calls_per_image, write_units

DAY = 24 * 3600


@dataclass(frozen=True)
class Capacity:
    """What limits the throughput: the template's parameters and the account's quotas."""

    inference_concurrency: int = 20
    """InferenceConcurrency; an account's own default is 1,000, and much less in a new account."""
    submits_per_second: float = 50.0
    """SubmitJob requests that AWS Batch accepts per second and account."""
    in_flight: int = 120_000
    """Messages of one queue that may be in flight: received and not yet deleted."""
    jobs: int = 8
    """Jobs at once: MaxVcpus by four vCPUs for a job, in each of the two compute environments."""
    gpu_vcpus: float | None = None
    """Quota of vCPUs of GPU instances, of which a job takes four; 0 in a new account. None where none are used."""
    partition_writes: float = 1000.0
    """Write units a second of one partition of DynamoDB; each shard of an index is one."""
    table_writes: float = 40_000.0
    """Write units a second of a table and its indexes; an account's default."""
    publishes_per_second: float = 30_000.0
    """Messages to standard SNS topics; 9,000 in eu-west-1, 300 or 3,000 in other regions."""
    puts_per_second: float = 3_500.0
    """PUT requests to one prefix of a bucket; S3 splits prefixes, and so takes more, once that lasts."""


@dataclass(frozen=True)
class Day:
    """The outcome of a simulated day."""

    utilisation: dict[str, float]
    """Average load during the busy hours as a share of each limit; above 1 a backlog grows."""
    waiting_for_inference: NDArray[np.float64]
    waiting_for_heatmap: NDArray[np.float64]
    """Number of waiting images at each second."""

    @property
    def bottleneck(self) -> str:
        """The limit that is reached first."""
        return max(self.utilisation, key=lambda name: self.utilisation[name])


def load(per_second: float, timings: Timings, setup: Setup, limits: Capacity) -> dict[str, float]:
    """Each limit's utilisation at a steady rate of drops."""
    batch = batch_size(per_second, setup)
    capacities = _inference(batch, timings, setup, limits) | _explaining(batch, timings, setup, limits)
    return {name: per_second / rate if rate else float("inf") for name, rate in capacities.items()}


def batch_size(per_second: float, setup: Setup) -> float:
    """Drops that share an invocation, and so a job: what one of Lambda's pollers gathers while the window is open."""
    return min(setup.images_per_job, max(1.0, per_second * _WINDOW / POLLERS))


def _inference(batch: float, timings: Timings, setup: Setup, limits: Capacity) -> dict[str, float]:
    """Images a second that each limit up to CLASSIFIED lets through."""
    units = write_units(setup.classes, setup.top)
    return {
        "Lambda concurrency": limits.inference_concurrency / timings.infer,
        "SubmitJob": limits.submits_per_second * batch,
        "SQS in flight": limits.in_flight / (timings.infer * batch),
        # Of all indexes, that of open images takes the most writes.
        "DynamoDB shards": setup.shards * limits.partition_writes / OPEN_INDEX_UNITS,
        "DynamoDB table": limits.table_writes / units,
    }


def _explaining(batch: float, timings: Timings, setup: Setup, limits: Capacity) -> dict[str, float]:
    """Images a second that each limit from CLASSIFIED on lets through."""
    calls = calls_per_image(setup)
    a_job = 1 / (timings.explain + setup.job_start / batch)
    rates = {
        "heatmap jobs": limits.jobs * a_job,
        "SNS publishes": limits.publishes_per_second / calls["Publish"],
        "S3 puts": limits.puts_per_second / calls["PutObject"],
    }
    if limits.gpu_vcpus is not None:
        rates["GPU quota"] = limits.gpu_vcpus // _VCPUS_A_JOB * a_job
    return rates


_WINDOW = 5.0
"""The template's BatchingWindowSeconds: how long a drop waits for others to share a job with."""

_VCPUS_A_JOB = 4


def simulate(images: float, timings: Timings, setup: Setup, limits: Capacity, busy_hours: float = 24.0) -> Day:
    """Let ``images`` arrive evenly within the first ``busy_hours`` of a day, and follow the two queues."""
    rate = images / (busy_hours * 3600)
    utilisation = load(rate, timings, setup, limits)
    infer_rate = min(_inference(batch_size(rate, setup), timings, setup, limits).values())
    # A backlog fills whole jobs, so that the start of each is shared by as many images as may be.
    explain_rate = min(_explaining(setup.images_per_job, timings, setup, limits).values())
    drops = np.where(np.arange(DAY) < busy_hours * 3600, rate, 0.0)
    inferring, explaining = np.zeros(DAY), np.zeros(DAY)
    waiting = rendering = 0.0
    for second, dropped in enumerate(drops):
        through = min(waiting + dropped, infer_rate)
        waiting += dropped - through
        rendering += through - min(rendering + through, explain_rate)
        inferring[second], explaining[second] = waiting, rendering
    return Day(utilisation, inferring, explaining)
