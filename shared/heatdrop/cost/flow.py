"""Simulates a day of the pipeline second by second: where images wait, and which limit is reached first."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from heatdrop.cost.costs import Setup, Timings

DAY = 24 * 3600


@dataclass(frozen=True)
class Capacity:
    """What limits the throughput: the template's parameters and the account's quotas."""

    inference_concurrency: int = 20
    """InferenceConcurrency; an account's own default is 1,000."""
    submits_per_second: float = 50.0
    """SubmitJob requests that AWS Batch accepts per second and account."""
    in_flight: int = 120_000
    """Messages of one queue that may be in flight: received and not yet deleted."""
    jobs: int = 8
    """Jobs at once: MaxVcpus by four vCPUs for a job, in each of the two compute environments."""


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
    """The utilisation of each limit at a steady rate of drops."""
    batch = min(setup.images_per_job, max(1.0, per_second * _WINDOW))
    invocation = timings.infer * batch
    return {
        "Lambda concurrency": per_second * timings.infer / limits.inference_concurrency,
        "SubmitJob": per_second / batch / limits.submits_per_second,
        "SQS in flight": per_second * invocation / limits.in_flight,
        "heatmap jobs": per_second * (timings.explain + setup.job_start / batch) / limits.jobs,
    }


_WINDOW = 5.0
"""The template's BatchingWindowSeconds: how long a drop waits for others to share a job with."""


def simulate(images: float, timings: Timings, setup: Setup, limits: Capacity, busy_hours: float = 24.0) -> Day:
    """Let ``images`` arrive evenly within the first ``busy_hours`` of a day, and follow the two queues."""
    rate = images / (busy_hours * 3600)
    utilisation = load(rate, timings, setup, limits)
    batch = min(setup.images_per_job, max(1.0, rate * _WINDOW))
    infer_rate = min(
        limits.inference_concurrency / timings.infer,
        limits.submits_per_second * batch,
        limits.in_flight / (timings.infer * batch),
    )
    # With a backlog every job is full, so that its start is shared by the most images.
    explain_rate = limits.jobs / (timings.explain + setup.job_start / setup.images_per_job)
    drops = np.where(np.arange(DAY) < busy_hours * 3600, rate, 0.0)
    inferring, explaining = np.zeros(DAY), np.zeros(DAY)
    waiting = rendering = 0.0
    for second, dropped in enumerate(drops):
        through = min(waiting + dropped, infer_rate)
        waiting += dropped - through
        rendering += through - min(rendering + through, explain_rate)
        inferring[second], explaining[second] = waiting, rendering
    return Day(utilisation, inferring, explaining)
