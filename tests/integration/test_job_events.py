"""The job events handler: failed jobs, dead letters and stuck images become FAILED, and are announced."""

import json
from datetime import UTC, datetime, timedelta

import boto3
import pytest
from tests.integration.cloud import Cloud, Context, Event, sample_event, throttled

from heatdrop.identity import image_id
from heatdrop.vocabulary import Drop, State


def settle(cloud: Cloud, event: Event) -> list[str]:
    answer = cloud.handlers["job_events"](event, Context())
    return [failure["itemIdentifier"] for failure in answer["batchItemFailures"]]


def failed_job(manifest_key: str, job_id: str) -> Event:
    event = sample_event("job-events-failed-job")
    body = json.loads(event["Records"][0]["body"])
    body["detail"] |= {"jobId": job_id, "parameters": {"manifest": manifest_key}}
    event["Records"][0]["body"] = json.dumps(body)
    return event


def classified(cloud: Cloud, chest: bytes, count: int = 1) -> list[Drop]:
    drops = [cloud.put(chest) for _ in range(count)]
    cloud.infer(*drops)
    cloud.news(*drops)
    return drops


def age(cloud: Cloud, drop: Drop, minutes: int) -> None:
    """Let the last progress of an image have been so long ago."""
    moment = (datetime.now(UTC) - timedelta(minutes=minutes)).isoformat(timespec="milliseconds")
    boto3.resource("dynamodb").Table(cloud.deployment.outputs["ImagesTable"]).update_item(
        Key={"image_id": image_id(drop)},
        UpdateExpression="SET updated_at = :moment",
        ExpressionAttributeValues={":moment": moment},
    )


def test_failed_job_fails_only_the_images_without_a_result(cloud: Cloud, chest: bytes) -> None:
    done, left = classified(cloud, chest, 2)
    key, _ = cloud.manifest(done)
    explained = cloud.records.explain(cloud.record(done), (), {})
    assert settle(cloud, failed_job(key, explained.job_id)) == []
    assert cloud.record(done).state is State.EXPLAINED
    # The job ended between the record and its news, so the news is caught up on.
    assert [news.state for news in cloud.news(done)] == [State.EXPLAINED]
    record = cloud.record(left)
    assert record.state is State.FAILED
    assert record.reason == (
        "the heatmap job failed: Essential container in task exited; "
        "OutOfMemoryError: Container killed due to memory usage; exit code 137"
    )
    assert [(news.state, news.reason) for news in cloud.news(left)] == [(State.FAILED, record.reason)]


def test_failed_job_told_twice_changes_nothing(cloud: Cloud, chest: bytes) -> None:
    (drop,) = classified(cloud, chest)
    event = failed_job(cloud.manifest(drop)[0], cloud.record(drop).job_id)
    settle(cloud, event)
    first = cloud.record(drop)
    cloud.news(drop)
    assert settle(cloud, event) == []
    assert cloud.record(drop) == first
    assert cloud.news(drop) == []


def test_failure_of_a_job_that_was_replaced_is_ignored(cloud: Cloud, chest: bytes) -> None:
    (drop,) = classified(cloud, chest)
    assert settle(cloud, failed_job(cloud.manifest(drop)[0], "an-older-job")) == []
    assert cloud.record(drop).state is State.CLASSIFIED


def test_dead_letter_fails_its_image(cloud: Cloud, chest: bytes) -> None:
    drop = cloud.put(chest)
    assert settle(cloud, cloud.drop_event(drop, sample="job-events-dead-drop")) == []
    assert cloud.record(drop).state is State.FAILED
    assert "gave up" in cloud.record(drop).reason
    assert [news.state for news in cloud.news(drop)] == [State.FAILED]


def test_dead_letter_of_an_image_that_was_classified_all_the_same_changes_nothing(cloud: Cloud, chest: bytes) -> None:
    (drop,) = classified(cloud, chest)
    before = cloud.record(drop)
    settle(cloud, cloud.drop_event(drop, sample="job-events-dead-drop"))
    assert cloud.record(drop) == before


def test_sweep_fails_what_has_made_no_progress_and_nothing_else(cloud: Cloud, chest: bytes) -> None:
    stuck, young, final = classified(cloud, chest, 3)
    cloud.records.explain(cloud.record(final), (), {})
    for drop in (stuck, final):
        age(cloud, drop, minutes=200)
    age(cloud, young, minutes=100)
    assert settle(cloud, sample_event("job-events-sweep")) == []
    assert cloud.record(stuck).state is State.FAILED
    assert "no progress for 180 minutes" in cloud.record(stuck).reason
    assert cloud.record(young).state is State.CLASSIFIED
    assert cloud.record(final).state is State.EXPLAINED
    assert [news.state for news in cloud.news(stuck)] == [State.FAILED]


def test_message_comes_back_when_the_table_cannot_be_written(cloud: Cloud, chest: bytes) -> None:
    (drop,) = classified(cloud, chest)
    event = failed_job(cloud.manifest(drop)[0], cloud.record(drop).job_id)
    with throttled("UpdateItem"):
        assert settle(cloud, event) == [event["Records"][0]["messageId"]]
    assert settle(cloud, event) == []
    assert cloud.record(drop).state is State.FAILED


@pytest.mark.parametrize("body", ["hello", "{}", '{"detail-type": "Batch Job State Change"}', "[]"])
def test_message_that_nobody_sends_comes_back(cloud: Cloud, body: str) -> None:
    event = sample_event("job-events-sweep")
    event["Records"][0]["body"] = body
    assert settle(cloud, event) == [event["Records"][0]["messageId"]]
