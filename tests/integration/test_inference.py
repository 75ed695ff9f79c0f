"""The inference handler: drops become predictions, and one heatmap job for all of them."""

import json
from pathlib import Path

import boto3
import pydicom
import pytest
from tests.integration.cloud import Cloud, Context, sample_event, throttled
from tests.integration.test_job_events import told_again

from heatdrop.ids import image_id
from heatdrop.vocabulary import Drop, State


def test_drop_is_classified_announced_and_submitted(cloud: Cloud, chest: bytes) -> None:
    drop = cloud.put(chest)
    assert cloud.infer(drop) == []
    record = cloud.record(drop)
    assert record.state is State.CLASSIFIED
    assert record.drop == drop
    scores = [prediction.score for prediction in record.predictions]
    assert {prediction.label for prediction in record.predictions} == {"BACTERIAL", "NORMAL", "VIRAL"}
    assert scores == sorted(scores, reverse=True)
    assert sum(scores) == pytest.approx(1, abs=1e-4)
    assert record.timings_ms.keys() == {"fetch", "decode", "predict"}
    assert record.job_id == cloud.jobs[-1].job_id
    _, manifest = cloud.manifest(drop)
    assert manifest.manifest_id == record.manifest_id
    assert [entry.predictions for entry in manifest.images] == [record.predictions]
    (news,) = cloud.news(drop)
    assert (news.state, news.label, news.score) == (State.CLASSIFIED, record.predictions[0].label, scores[0])


def test_drops_of_one_invocation_share_one_job(cloud: Cloud, chest: bytes) -> None:
    before = len(cloud.jobs)
    drops = [cloud.put(chest) for _ in range(3)]
    cloud.infer(*drops)
    assert len(cloud.jobs) == before + 1
    assert cloud.manifest(drops[0]) == cloud.manifest(drops[2])


def test_bad_image_is_rejected_and_costs_the_others_nothing(cloud: Cloud, chest: bytes) -> None:
    good, text, cut, empty = (cloud.put(data) for data in (chest, b"not an image", chest[:2000], b""))
    assert cloud.infer(text, good, cut, empty) == []
    assert cloud.record(good).state is State.CLASSIFIED
    for bad, reason in ((text, "not a JPEG"), (cut, "cut short"), (empty, "empty")):
        assert cloud.record(bad).state is State.REJECTED
        assert reason in cloud.record(bad).reason
        (news,) = cloud.news(bad)
        assert (news.state, news.reason) == (State.REJECTED, cloud.record(bad).reason)
    _, manifest = cloud.manifest(good)
    assert len(manifest.images) == 1


def test_file_over_the_size_limit_is_rejected(cloud: Cloud) -> None:
    drop = cloud.put(bytes(20_000_001))
    cloud.infer(drop)
    assert cloud.record(drop).state is State.REJECTED
    assert "at most 20 MB" in cloud.record(drop).reason


def test_same_event_twice_changes_nothing(cloud: Cloud, chest: bytes) -> None:
    good, bad = cloud.put(chest), cloud.put(b"not an image")
    cloud.infer(good, bad)
    first = cloud.record(good), cloud.record(bad), len(cloud.jobs)
    cloud.news(good, bad)
    assert cloud.infer(good, bad) == []
    assert (cloud.record(good), cloud.record(bad), len(cloud.jobs)) == first
    assert cloud.news(good, bad) == []


def test_drop_told_twice_in_one_event_is_one_image(cloud: Cloud, chest: bytes) -> None:
    drop = cloud.put(chest)
    cloud.infer(drop, drop)
    _, manifest = cloud.manifest(drop)
    assert len(manifest.images) == 1
    assert len(cloud.news(drop)) == 1


def test_equal_bytes_under_two_keys_are_two_images(cloud: Cloud, chest: bytes) -> None:
    first, second = cloud.put(chest), cloud.put(chest)
    cloud.infer(first, second)
    assert cloud.record(first).image_id != cloud.record(second).image_id


def test_new_version_of_an_object_is_a_new_image(cloud: Cloud, chest: bytes) -> None:
    old = cloud.put(b"not an image", "versions/chest.jpg")
    new = cloud.put(chest, "versions/chest.jpg")
    cloud.infer(new, old)
    assert cloud.record(old).state is State.REJECTED
    assert cloud.record(new).state is State.CLASSIFIED


@pytest.mark.parametrize(
    "key",
    [
        "with space.jpg",
        "red+flower.jpg",
        "100%.jpg",
        "%2F%20.jpg",
        "a&b=c?d#e;f:g.jpg",
        "röntgen/胸部 X線/\N{LUNGS}.jpg",
        "quote\"'<b>.jpg",
        "../../etc/passwd",
        "x" * 1000,
    ],
)
def test_any_key_works(cloud: Cloud, chest: bytes, key: str) -> None:
    drop = cloud.put(chest, key)
    assert cloud.infer(drop) == []
    assert cloud.record(drop).drop.key == key
    assert cloud.record(drop).state is State.CLASSIFIED


def test_event_as_the_bucket_really_sends_it_is_understood(cloud: Cloud, chest: bytes) -> None:
    url = boto3.client("sqs").create_queue(QueueName="copy-of-notifications")["QueueUrl"]
    arn = boto3.client("sqs").get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    s3 = boto3.client("s3")
    notifications = s3.get_bucket_notification_configuration(Bucket=cloud.input_bucket)["QueueConfigurations"]
    copied = [*notifications, {"QueueArn": arn, "Events": ["s3:ObjectCreated:*"]}]
    s3.put_bucket_notification_configuration(
        Bucket=cloud.input_bucket, NotificationConfiguration={"QueueConfigurations": copied}
    )
    drop = cloud.put(chest, "wie gesendet/a+b%20c ü.jpg")
    messages = boto3.client("sqs").receive_message(QueueUrl=url, MaxNumberOfMessages=10)["Messages"]
    s3.put_bucket_notification_configuration(
        Bucket=cloud.input_bucket, NotificationConfiguration={"QueueConfigurations": notifications}
    )
    event = sample_event("inference-drop")
    (template,) = event["Records"]
    event["Records"] = [template | {"messageId": m["MessageId"], "body": m["Body"]} for m in messages]
    assert {json.loads(m["Body"]).get("Event") for m in messages} == {"s3:TestEvent", None}
    assert cloud.handlers["inference"](event, Context()) == {"batchItemFailures": []}
    assert cloud.record(drop).state is State.CLASSIFIED


def test_test_event_is_ignored(cloud: Cloud) -> None:
    answer = cloud.handlers["inference"](sample_event("inference-test-event"), Context())
    assert answer == {"batchItemFailures": []}


def test_message_that_is_no_notification_comes_back_alone(cloud: Cloud, chest: bytes) -> None:
    drop = cloud.put(chest)
    event = cloud.drop_event(drop)
    event["Records"].append(event["Records"][0] | {"messageId": "foreign", "body": "hello"})
    answer = cloud.handlers["inference"](event, Context())
    assert answer == {"batchItemFailures": [{"itemIdentifier": "foreign"}]}
    assert cloud.record(drop).state is State.CLASSIFIED


def test_event_of_another_bucket_is_ignored(cloud: Cloud) -> None:
    foreign = Drop(bucket="someone-elses-bucket", key="chest.jpg", version_id="1", etag="e")
    assert cloud.infer(foreign) == []
    assert cloud.record(foreign) is None


def test_drop_deleted_before_it_was_read_fails_with_the_reason(cloud: Cloud, chest: bytes) -> None:
    drop = cloud.put(chest)
    boto3.client("s3").delete_object(Bucket=drop.bucket, Key=drop.key, VersionId=drop.version_id)
    assert cloud.infer(drop) == []
    assert cloud.record(drop).state is State.FAILED
    assert "drop it again" in cloud.record(drop).reason


def test_drop_comes_back_when_no_job_can_be_submitted(cloud: Cloud, chest: bytes) -> None:
    good, bad = cloud.put(chest), cloud.put(b"not an image")
    jobs = len(cloud.jobs)
    with throttled("SubmitJob"):
        assert cloud.infer(good, bad) == ["message-0"]
    assert len(cloud.jobs) == jobs
    assert cloud.record(good).state is State.CLASSIFIED
    assert cloud.infer(good) == []
    assert cloud.record(good).job_id == cloud.jobs[-1].job_id
    assert len(cloud.news(good)) == 1


def test_drop_comes_back_when_its_record_cannot_be_written(cloud: Cloud, chest: bytes) -> None:
    drop = cloud.put(chest)
    with throttled("UpdateItem"):
        assert cloud.infer(drop) == ["message-0"]
    assert cloud.record(drop).state is State.RECEIVED
    assert cloud.infer(drop) == []
    assert cloud.record(drop).state is State.CLASSIFIED
    assert cloud.record(drop).job_id


def test_news_that_could_not_be_published_is_published_by_the_retry(cloud: Cloud, chest: bytes) -> None:
    drop = cloud.put(chest)
    with throttled("Publish"):
        assert cloud.infer(drop) == ["message-0"]
    assert cloud.record(drop).state is State.CLASSIFIED
    assert cloud.news(drop) == []
    assert cloud.infer(drop) == []
    assert [news.state for news in cloud.news(drop)] == [State.CLASSIFIED]
    assert cloud.record(drop).job_id


def test_messages_are_left_for_another_invocation_when_time_runs_out(cloud: Cloud, chest: bytes) -> None:
    drop = cloud.put(chest)
    told_again(cloud)
    assert cloud.infer(drop, context=Context(remaining_ms=5_000)) == []
    assert cloud.record(drop) is None
    assert [image_id(again) for again in told_again(cloud)] == [image_id(drop)]


def test_record_of_a_dicom_holds_nothing_of_its_patient(cloud: Cloud, chest_dicom: Path) -> None:
    drop = cloud.put(chest_dicom.read_bytes())
    cloud.infer(drop)
    patient = pydicom.dcmread(chest_dicom, stop_before_pixels=True)
    stored = cloud.record(drop).model_dump_json() + cloud.manifest(drop)[1].model_dump_json()
    for value in (patient.PatientName, patient.PatientID, patient.StudyInstanceUID):
        assert str(value)
        assert str(value) not in stored
