"""Explanations on request whose job or its event was lost: the sweep settles them, and closes the image."""

from typing import Any

import boto3
import pytest
from moto.batch.models import Job
from tests.integration.cloud import Cloud, throttled
from tests.integration.test_api import ask
from tests.integration.test_job_events import age, sweep, told_again

from heatdrop.aws.record import RequestedExplanation
from heatdrop.ids import image_id
from heatdrop.vocabulary import Drop, State


@pytest.fixture
def final(cloud: Cloud, chest: bytes) -> Drop:
    """An image whose own explanation is over and told."""
    drop = cloud.put(chest)
    cloud.infer(drop)
    for job in cloud.jobs:
        job.status = "SUCCEEDED"
    record = cloud.records.mark_explained(cloud.record(drop), "picture", (), {})
    cloud.records.mark_announced(record)
    assert not is_open(cloud, drop)
    told_again(cloud)
    cloud.news(drop)
    return drop


def request(cloud: Cloud, drop: Drop, samples: int = 3) -> str:
    """Ask for an explanation; returns its id."""
    status, asked = ask(cloud, "POST", f"/images/{image_id(drop)}/explanations", {"samples": samples})
    assert status == 202
    return str(asked["explanation_id"])


def explanation(cloud: Cloud, drop: Drop, name: str) -> RequestedExplanation:
    return cloud.record(drop).explanations[name]


def job_of(cloud: Cloud, drop: Drop, name: str) -> Job:
    (job,) = (job for job in cloud.jobs if job.job_id == explanation(cloud, drop, name).job_id)
    return job


def is_open(cloud: Cloud, drop: Drop) -> bool:
    """Whether the sweep will look after the image."""
    table = boto3.resource("dynamodb").Table(cloud.deployment.outputs["ImagesTable"])
    item: dict[str, Any] = table.get_item(Key={"image_id": image_id(drop)})["Item"]
    return "open_shard" in item


def test_one_whose_job_failed_unheard_has_failed_with_batchs_reason(cloud: Cloud, final: Drop) -> None:
    name = request(cloud, final)
    job = job_of(cloud, final, name)
    job.status, job.job_stopped, job.job_stopped_reason = "FAILED", True, "Host EC2 (instance i-1) terminated."
    sweep(cloud, final)
    found = explanation(cloud, final, name)
    assert (found.state, found.reason) == (
        State.FAILED,
        "the heatmap job failed: Host EC2 (instance i-1) terminated.",
    )
    assert cloud.record(final).state is State.EXPLAINED
    assert not is_open(cloud, final)
    assert (cloud.news(final), told_again(cloud)) == ([], [])


def test_one_that_its_job_left_out_can_be_asked_for_again(cloud: Cloud, final: Drop) -> None:
    name = request(cloud, final)
    first = job_of(cloud, final, name)
    first.status = "SUCCEEDED"
    sweep(cloud, final)
    assert explanation(cloud, final, name).reason == "its heatmap job has ended without it; ask again"
    assert request(cloud, final) == name
    assert explanation(cloud, final, name).state is State.RECEIVED
    assert job_of(cloud, final, name) is not first
    assert is_open(cloud, final)


def test_one_without_a_job_has_failed(cloud: Cloud, final: Drop) -> None:
    with throttled("SubmitJob"):
        ask(cloud, "POST", f"/images/{image_id(final)}/explanations", {"samples": 3})
    (name,) = cloud.record(final).explanations
    sweep(cloud, final)
    assert explanation(cloud, final, name).reason == "it was left without a heatmap job; ask again"


@pytest.mark.parametrize("status", ["RUNNING", "RUNNABLE"])
def test_one_whose_job_runs_or_waits_is_left_alone_and_the_image_stays_open(
    cloud: Cloud, final: Drop, status: str
) -> None:
    name = request(cloud, final)
    job_of(cloud, final, name).status = status
    for _ in range(5):
        sweep(cloud, final)
    assert explanation(cloud, final, name).state is State.RECEIVED
    assert is_open(cloud, final)


def test_one_whose_job_never_starts_fails_in_the_end_and_the_job_is_cancelled(
    cloud: Cloud, final: Drop, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = request(cloud, final)
    monkeypatch.setattr("heatdrop.pipeline.sweeping.MAX_STUCK", 0)  # as if it had been asked for long ago
    sweep(cloud, final)
    assert explanation(cloud, final, name).reason == "its heatmap job waits, and no other job runs; ask again"
    job = next(job for job in cloud.jobs if job.job_id == explanation(cloud, final, name).job_id)
    assert (job.stop, job.job_stopped_reason) == (True, "the explanation has FAILED: it waited too long")
    assert not is_open(cloud, final)


def test_image_stays_open_while_one_of_its_explanations_waits(cloud: Cloud, final: Drop) -> None:
    over, waiting = request(cloud, final, 3), request(cloud, final, 4)
    job_of(cloud, final, over).status = "SUCCEEDED"
    sweep(cloud, final)
    assert explanation(cloud, final, over).state is State.FAILED
    assert is_open(cloud, final)
    job_of(cloud, final, waiting).status = "SUCCEEDED"
    sweep(cloud, final)
    assert not is_open(cloud, final)


def test_one_asked_for_before_the_image_is_told_of_is_seen_to_all_the_same(cloud: Cloud, chest: bytes) -> None:
    drop = cloud.put(chest)
    cloud.infer(drop)
    name = request(cloud, drop)
    for job in cloud.jobs:
        job.status = "SUCCEEDED"
    cloud.records.mark_announced(cloud.records.mark_explained(cloud.record(drop), "picture", (), {}))
    assert is_open(cloud, drop)
    age(cloud, drop, minutes=200)
    sweep(cloud, drop)
    assert explanation(cloud, drop, name).state is State.FAILED
    assert not is_open(cloud, drop)
