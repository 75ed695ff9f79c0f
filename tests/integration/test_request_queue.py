"""Explanations on request wait in a queue of their own, and whoever looks after jobs looks at both queues."""

import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tests.integration.cloud import Cloud, Context, sample_event
from tests.integration.test_forgotten_explanations import explanation, job_of
from tests.integration.test_job_events import age, failed_job, told_again

from heatdrop.ids import image_id
from heatdrop.local.batch_runner import BatchRunner
from heatdrop.local.http_api import event_of
from heatdrop.vocabulary import Drop, State

Handler = Callable[[Any, Context], Any]


@pytest.fixture
def request_queue(cloud: Cloud) -> str:
    return cloud.deployment.outputs["RequestJobQueue"]


@pytest.fixture
def job_events(cloud: Cloud) -> Handler:
    return cloud.handlers["job_events"]


@pytest.fixture
def requested(cloud: Cloud, chest: bytes) -> tuple[Drop, str]:
    """An explained image, and an explanation of it that is on request."""
    drop = cloud.put(chest)
    cloud.infer(drop)
    for job in cloud.jobs:
        job.status = "SUCCEEDED"
    cloud.records.mark_announced(cloud.records.mark_explained(cloud.record(drop), "picture", (), {}))
    told_again(cloud)
    path = f"/images/{image_id(drop)}/explanations"
    answer = cloud.handlers["api"](
        event_of("POST", path, {"Content-Type": "application/json"}, b'{"samples": 3}'), Context()
    )
    assert answer["statusCode"] == 202
    (name,) = cloud.record(drop).explanations
    return drop, name


def test_explanation_on_request_waits_in_its_own_queue(
    cloud: Cloud, requested: tuple[Drop, str], request_queue: str
) -> None:
    assert job_of(cloud, *requested).job_queue.arn == request_queue
    drop = cloud.put(b"")
    cloud.infer(drop)
    assert cloud.jobs[0].job_queue.arn == cloud.deployment.outputs["HeatmapJobQueue"]


@pytest.mark.parametrize("heard", [True, False])
def test_job_of_the_request_queue_that_failed_fails_its_explanation(
    cloud: Cloud, requested: tuple[Drop, str], request_queue: str, job_events: Handler, heard: bool
) -> None:
    """Told by Batch's event, or, where that was lost, found by the sweep."""
    drop, name = requested
    job = job_of(cloud, drop, name)
    job.status, job.job_stopped, job.job_stopped_reason = "FAILED", True, "Host EC2 (instance i-1) terminated."
    age(cloud, drop, minutes=200)
    event = (
        failed_job(cloud, job.parameters["manifest"], job.job_id, request_queue)
        if heard
        else sample_event("job-events-sweep")
    )
    assert job_events(event, Context()) == {"batchItemFailures": []}
    found = explanation(cloud, drop, name)
    assert found.state is State.FAILED
    assert found.reason.startswith("the heatmap job failed")


def test_event_of_a_third_queue_is_ignored(cloud: Cloud, requested: tuple[Drop, str], job_events: Handler) -> None:
    drop, name = requested
    event = failed_job(cloud, job_of(cloud, drop, name).parameters["manifest"], "job", "arn:of-someone-else")
    assert job_events(event, Context()) == {"batchItemFailures": []}
    assert explanation(cloud, drop, name).state is State.RECEIVED


@pytest.mark.parametrize("busy", ["jobs", "requests"])
def test_job_that_waits_while_one_of_the_other_queue_runs_has_its_turn_to_come(
    cloud: Cloud, chest: bytes, requested: tuple[Drop, str], job_events: Handler, busy: str
) -> None:
    """Both queues place their jobs on the same instances, so a full one is the other's reason to wait."""
    drop, name = requested
    other = cloud.put(chest)
    cloud.infer(other)
    (own,) = (job for job in cloud.jobs if job.job_id == cloud.record(other).job_id)
    (running, waits) = (own, drop) if busy == "jobs" else (job_of(cloud, drop, name), other)
    running.status = "RUNNING"
    for _ in range(5):
        age(cloud, waits, minutes=200)
        job_events(sample_event("job-events-sweep"), Context())
    running.status = "SUCCEEDED"
    assert explanation(cloud, drop, name).state is State.RECEIVED
    assert (cloud.record(other).state, cloud.record(other).times_stuck) == (State.CLASSIFIED, 0)


def test_local_cloud_runs_what_somebody_waits_for_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[str] = []
    runner = BatchRunner({}, lambda role: {}, tmp_path / "log")
    monkeypatch.setattr(runner, "_run_job", lambda job: ran.append(job.job_id))
    for name, priority in (("a", 1), ("b", 1), ("on request", 10), ("c", 1)):
        runner.submit(SimpleNamespace(job_id=name, job_queue=SimpleNamespace(priority=priority)))
    runner.start()
    while runner.waiting or len(ran) < 4:
        time.sleep(0.01)
    runner.stop()
    assert ran == ["on request", "a", "b", "c"]
