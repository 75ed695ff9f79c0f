"""A day of the pipeline, second by second: where drops wait, and which limit is reached first."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from heatdrop.cost.costs import Setup, Timings

DAY = 24 * 3600


@dataclass(frozen=True)
class Capacity:
    """What bounds the flow: the template's defaults and the account's quotas."""

    inference_concurrency: int = 20
    """InferenceConcurrency; an account's own default is 1,000."""
    submits_per_second: float = 50.0
    """SubmitJob calls an account may make."""
    in_flight: int = 120_000
    """Messages of one queue that may be received and not yet deleted."""
    jobs: int = 8
    """MaxVcpus over four a job, for each of the two compute environments."""


@dataclass(frozen=True)
class Day:
    """What a day was like."""

    utilisation: dict[str, float]
    """Load over limit, by limit, on the average of the busy hours; above 1 a backlog grows."""
    waiting_for_inference: NDArray[np.float64]
    waiting_for_heatmap: NDArray[np.float64]
    """Images that wait, at each second."""

    @property
    def bottleneck(self) -> str:
        """The limit that is reached first."""
        return max(self.utilisation, key=lambda name: self.utilisation[name])


def load(per_second: float, timings: Timings, setup: Setup, limits: Capacity) -> dict[str, float]:
    """Each limit's utilisation at a steady rate of drops."""
    batch = min(setup.images_per_job, max(1.0, per_second * _WINDOW))
    invocation = timings.infer * batch
    return {
        "Lambda concurrency": per_second * timings.infer / limits.inference_concurrency,
        "SubmitJob": per_second / batch / limits.submits_per_second,
        "SQS in flight": per_second * invocation / limits.in_flight,
        "heatmap jobs": per_second * (timings.explain + setup.job_start / batch) / limits.jobs,
    }


_WINDOW = 5.0
"""BatchingWindowSeconds: how long a lone drop waits for company."""


def simulate(images: float, timings: Timings, setup: Setup, limits: Capacity, busy_hours: float = 24.0) -> Day:
    """Let ``images`` come evenly within ``busy_hours`` of a day, and follow the two queues."""
    rate = images / (busy_hours * 3600)
    utilisation = load(rate, timings, setup, limits)
    batch = min(setup.images_per_job, max(1.0, rate * _WINDOW))
    infer_rate = min(
        limits.inference_concurrency / timings.infer,
        limits.submits_per_second * batch,
        limits.in_flight / (timings.infer * batch),
    )
    # A backlog fills whole jobs, so that the start of each is shared by as many images as may be.
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
