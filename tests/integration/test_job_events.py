"""The job events handler: failed jobs and dead letters become FAILED, stuck images are retried, all are told."""

import json
from datetime import UTC, datetime, timedelta

import boto3
import pytest
from moto.batch.models import Job
from tests.integration.cloud import Cloud, Context, Event, sample_event, throttled

from heatdrop.aws.events import drops_in
from heatdrop.ids import image_id
from heatdrop.vocabulary import Drop, State


def settle(cloud: Cloud, event: Event) -> list[str]:
    answer = cloud.handlers["job_events"](event, Context())
    return [failure["itemIdentifier"] for failure in answer["batchItemFailures"]]


def failed_job(cloud: Cloud, manifest_key: str, job_id: str, queue: str | None = None) -> Event:
    event = sample_event("job-events-failed-job")
    body = json.loads(event["Records"][0]["body"])
    queue = queue or cloud.deployment.outputs["HeatmapJobQueue"]
    body["detail"] |= {"jobId": job_id, "parameters": {"manifest": manifest_key}, "jobQueue": queue}
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
    explained = cloud.records.mark_explained(cloud.record(done), "picture", (), {})
    assert settle(cloud, failed_job(cloud, key, explained.job_id)) == []
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
    event = failed_job(cloud, cloud.manifest(drop)[0], cloud.record(drop).job_id)
    settle(cloud, event)
    first = cloud.record(drop)
    cloud.news(drop)
    assert settle(cloud, event) == []
    assert cloud.record(drop) == first
    assert cloud.news(drop) == []


def test_failure_of_a_job_that_was_replaced_is_ignored(cloud: Cloud, chest: bytes) -> None:
    (drop,) = classified(cloud, chest)
    assert settle(cloud, failed_job(cloud, cloud.manifest(drop)[0], "an-older-job")) == []
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


def test_dead_letter_of_an_image_whose_news_was_lost_tells_it(cloud: Cloud) -> None:
    drop = cloud.put(b"not an image")
    with throttled("Publish"):
        cloud.infer(drop)
    assert cloud.news(drop) == []
    settle(cloud, cloud.drop_event(drop, sample="job-events-dead-drop"))
    assert [news.state for news in cloud.news(drop)] == [State.REJECTED]


def test_failure_of_a_job_that_was_never_noted_is_ignored(cloud: Cloud, chest: bytes) -> None:
    """Its drops are still in the queue, and come back for a job that is noted."""
    drop = cloud.put(chest)
    with throttled("UpdateItem", after=2):
        assert cloud.infer(drop) == ["message-0"]
    job = cloud.jobs[-1]
    assert settle(cloud, failed_job(cloud, job.parameters["manifest"], job.job_id)) == []
    assert cloud.record(drop).state is State.CLASSIFIED
    assert cloud.infer(drop) == []
    assert cloud.record(drop).job_id == cloud.jobs[-1].job_id != job.job_id


def test_failure_of_a_job_in_another_queue_is_ignored(cloud: Cloud, chest: bytes) -> None:
    (drop,) = classified(cloud, chest)
    event = failed_job(cloud, cloud.manifest(drop)[0], cloud.record(drop).job_id, queue="arn:of-someone-else")
    assert settle(cloud, event) == []
    assert cloud.record(drop).state is State.CLASSIFIED


def sweep(cloud: Cloud, *stuck: Drop) -> None:
    """Sweep when the last progress of some images was long ago."""
    for drop in stuck:
        age(cloud, drop, minutes=200)
    assert settle(cloud, sample_event("job-events-sweep")) == []


def told_again(cloud: Cloud) -> list[Drop]:
    """The drops that the ingest queue holds; it is empty afterwards."""
    url = cloud.deployment.outputs["IngestQueue"]
    found = []
    while messages := boto3.client("sqs").receive_message(QueueUrl=url, MaxNumberOfMessages=10).get("Messages"):
        for message in messages:
            found += drops_in(message["Body"], cloud.input_bucket)
            boto3.client("sqs").delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
    return found


def job_of(cloud: Cloud, drop: Drop) -> Job:
    (job,) = (job for job in cloud.jobs if job.job_id == cloud.record(drop).job_id)
    return job


def test_sweep_leaves_what_makes_progress_or_is_final_alone(cloud: Cloud, chest: bytes) -> None:
    young, final = classified(cloud, chest, 2)
    cloud.records.mark_announced(cloud.records.mark_failed(image_id(final), "broken"))
    age(cloud, young, minutes=100)
    before = cloud.record(young)
    told_again(cloud)
    sweep(cloud, final)
    assert cloud.record(young) == before
    assert cloud.record(final).state is State.FAILED
    assert cloud.news(final) == []
    assert told_again(cloud) == []


@pytest.mark.parametrize("status", ["RUNNING", "STARTING"])
def test_image_whose_job_runs_is_not_stuck(cloud: Cloud, chest: bytes, status: str) -> None:
    (drop,) = classified(cloud, chest)
    job_of(cloud, drop).status = status
    for _ in range(5):
        sweep(cloud, drop)
    job_of(cloud, drop).status = "SUCCEEDED"
    assert (cloud.record(drop).state, cloud.record(drop).times_stuck) == (State.CLASSIFIED, 0)


def test_image_whose_job_waits_behind_others_is_not_stuck(cloud: Cloud, chest: bytes) -> None:
    """A burst of drops may take a day to be explained: nothing is wrong as long as the queue works."""
    (first,), (drop,) = classified(cloud, chest), classified(cloud, chest)
    job_of(cloud, first).status = "RUNNING"
    for _ in range(5):
        sweep(cloud, drop)
    job_of(cloud, first).status = "SUCCEEDED"
    assert (cloud.record(drop).state, cloud.record(drop).times_stuck) == (State.CLASSIFIED, 0)


def test_image_whose_job_never_starts_fails_after_three_sweeps_and_the_job_is_cancelled(
    cloud: Cloud, chest: bytes
) -> None:
    (drop,) = classified(cloud, chest)
    job = job_of(cloud, drop)
    for times in (1, 2):
        sweep(cloud, drop)
        assert (cloud.record(drop).state, cloud.record(drop).times_stuck) == (State.CLASSIFIED, times)
        assert cloud.record(drop).job_id == job.job_id
    sweep(cloud, drop)
    record = cloud.record(drop)
    assert record.state is State.FAILED
    assert record.reason == (
        "no progress for 180 minutes, 3 times: its heatmap job waits, and no other job runs; redrive it"
    )
    assert [news.state for news in cloud.news(drop)] == [State.FAILED]
    assert (job.stop, job.job_stopped_reason) == (True, "its images are FAILED: it waited too long")


def test_failure_of_a_job_whose_event_was_lost_is_found_by_the_sweep(cloud: Cloud, chest: bytes) -> None:
    done, left = classified(cloud, chest, 2)
    cloud.records.mark_explained(cloud.record(done), "picture", (), {})
    job = job_of(cloud, left)
    job.status, job.job_stopped, job.job_stopped_reason = "FAILED", True, "Host EC2 (instance i-1) terminated."
    sweep(cloud, done, left)
    assert cloud.record(left).reason == "the heatmap job failed: Host EC2 (instance i-1) terminated."
    assert [news.state for news in cloud.news(left)] == [State.FAILED]
    # It was explained, and nobody was told.
    assert cloud.record(done).state is State.EXPLAINED
    assert [news.state for news in cloud.news(done)] == [State.EXPLAINED]


def test_image_that_its_job_left_out_gets_another_job(cloud: Cloud, chest: bytes) -> None:
    (drop,) = classified(cloud, chest)
    job = job_of(cloud, drop)
    job.status = "SUCCEEDED"
    told_again(cloud)
    sweep(cloud, drop)
    assert told_again(cloud) == [drop.model_copy(update={"size": None})]
    assert cloud.infer(drop) == []
    assert job_of(cloud, drop) is not job
    assert cloud.news(drop) == []


def test_image_that_was_received_and_forgotten_is_told_to_inference_again(cloud: Cloud, chest: bytes) -> None:
    drop = cloud.put(chest)
    cloud.records.find_or_add(image_id(drop), drop)
    told_again(cloud)
    sweep(cloud, drop)
    (again,) = told_again(cloud)
    assert cloud.infer(again) == []
    assert cloud.record(drop).state is State.CLASSIFIED


def test_image_that_is_forgotten_again_and_again_fails(cloud: Cloud, chest: bytes) -> None:
    drop = cloud.put(chest)
    cloud.records.find_or_add(image_id(drop), drop)
    for _ in range(3):
        sweep(cloud, drop)
    assert cloud.record(drop).state is State.FAILED
    assert "left without a heatmap job" in cloud.record(drop).reason


def test_sweep_that_runs_out_of_time_goes_on_in_the_next(cloud: Cloud, chest: bytes) -> None:
    drop = cloud.put(chest)
    cloud.records.find_or_add(image_id(drop), drop)
    age(cloud, drop, minutes=200)

    class Hasty(Context):
        """As much time as one message needs to be begun, and no more."""

        asked = 0

        def get_remaining_time_in_millis(self) -> int:
            self.asked += 1
            return 20_000 if self.asked == 1 else 10_000

    assert cloud.handlers["job_events"](sample_event("job-events-sweep"), Hasty()) == {"batchItemFailures": []}
    assert cloud.record(drop).times_stuck == 0
    assert settle(cloud, sample_event("job-events-sweep")) == []
    assert cloud.record(drop).times_stuck == 1


def test_message_comes_back_when_the_table_cannot_be_written(cloud: Cloud, chest: bytes) -> None:
    (drop,) = classified(cloud, chest)
    event = failed_job(cloud, cloud.manifest(drop)[0], cloud.record(drop).job_id)
    with throttled("UpdateItem"):
        assert settle(cloud, event) == [event["Records"][0]["messageId"]]
    assert settle(cloud, event) == []
    assert cloud.record(drop).state is State.FAILED


@pytest.mark.parametrize("body", ["hello", "{}", '{"detail-type": "Batch Job State Change"}', "[]"])
def test_message_that_nobody_sends_comes_back(cloud: Cloud, body: str) -> None:
    event = sample_event("job-events-sweep")
    event["Records"][0]["body"] = body
    assert settle(cloud, event) == [event["Records"][0]["messageId"]]
