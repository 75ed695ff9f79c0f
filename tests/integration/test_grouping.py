"""Drops of a burst share heatmap jobs, and a lone one does not wait for company for ever.

BURST says how many drops come at once.
"""

import os
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import cv2
import numpy as np
import pytest
from tests.integration.cloud import Cloud, Context, Event
from tests.integration.test_job_events import told_again

from heatdrop.local.deployment import DeployedFunction, EventSource
from heatdrop.local.queue_poller import QueuePoller
from heatdrop.vocabulary import Drop, State

BURST = int(os.environ.get("BURST", "120"))


@dataclass
class Inference:
    """The inference handler in this process, in the place of a process of its own."""

    function: DeployedFunction
    handler: Callable[[Event, Context], Any]
    batches: list[tuple[float, int]] = field(default_factory=list)
    """When each began, and how many drops it held."""

    def invoke(self, event: Event) -> Any:
        self.batches.append((time.monotonic(), len(event["Records"])))
        return self.handler(event, Context())


@pytest.fixture
def source(cloud: Cloud) -> EventSource:
    """The deployed event source of the inference function, with nothing of other tests in its queue."""
    (source,) = (s for s in cloud.deployment.event_sources if s.queue_url == cloud.deployment.outputs["IngestQueue"])
    told_again(cloud)
    return source


@contextmanager
def polled(cloud: Cloud, source: EventSource) -> Iterator[Inference]:
    """The inference function, fed from its queue as long as the ``with`` block."""
    (function,) = (f for f in cloud.deployment.functions if f.name == source.function)
    inference = Inference(function, cloud.handlers["inference"])
    poller = QueuePoller(source, inference)
    poller.start()
    try:
        yield inference
    finally:
        poller.stop()


def wait_until(done: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 300
    while not done():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def small_png() -> bytes:
    pixels = np.random.default_rng(3).integers(0, 255, (64, 64), np.uint8)
    return cv2.imencode(".png", pixels)[1].tobytes()


@pytest.mark.slow
def test_burst_of_drops_makes_few_jobs(cloud: Cloud, source: EventSource) -> None:
    before, png = len(cloud.jobs), small_png()
    drops: list[Drop] = []
    with polled(cloud, source) as inference:
        drops += [cloud.put(png) for _ in range(BURST)]
        wait_until(lambda: sum(size for _, size in inference.batches) >= BURST)
    jobs = cloud.jobs[before:]
    explained = Counter(
        entry.drop.key for job in jobs for entry in cloud.storage.get_manifest(job.parameters["manifest"]).images
    )
    assert explained == Counter(drop.key for drop in drops)
    assert {cloud.record(drop).state for drop in drops} == {State.CLASSIFIED}
    # As few as there can be, but for the batches at the beginning and the end, which may not be full.
    assert BURST / source.batch_size <= len(jobs) <= BURST / source.batch_size + 2


def test_lone_drop_waits_no_longer_than_the_window(cloud: Cloud, source: EventSource) -> None:
    window = 1
    assert source.window_s > window
    with polled(cloud, replace(source, window_s=window)) as inference:
        dropped = time.monotonic()
        cloud.put(small_png())
        wait_until(lambda: bool(inference.batches))
    ((began, size),) = inference.batches
    assert size == 1
    assert window <= began - dropped < source.window_s
