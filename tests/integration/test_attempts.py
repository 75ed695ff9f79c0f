"""What was not begun is no attempt: a drop may be put off as often as it likes; one that fails is dead after five."""

from typing import Any
from unittest import mock

import boto3
import pytest
from botocore.client import BaseClient
from tests.integration.cloud import Cloud, Context, Event, throttled
from tests.integration.test_job_events import failed_job

from heatdrop.aws.queues import DeadLetters
from heatdrop.local.queue_poller import sqs_record
from heatdrop.vocabulary import Drop, State

NO_TIME, TIME = Context(remaining_ms=5_000), Context()
ALLOWED = 5
"""maxReceiveCount of the template's queues."""


class Source:
    """A queue of the deployed stack, and the function that it feeds, moved by Lambda's rules."""

    def __init__(self, cloud: Cloud, queue: str, function: str) -> None:
        self.sqs, self._handler = boto3.client("sqs"), cloud.handlers[function]
        self.url = cloud.deployment.physical_ids[queue]
        found = self.sqs.get_queue_attributes(QueueUrl=self.url, AttributeNames=["QueueArn"])
        self.arn = found["Attributes"]["QueueArn"]
        self.empty()

    def empty(self) -> int:
        """Delete what the queue holds; returns how many messages there were."""
        count = 0
        while messages := self.receive():
            count += len(messages)
            for message in messages:
                self.sqs.delete_message(QueueUrl=self.url, ReceiptHandle=message["ReceiptHandle"])
        return count

    def receive(self) -> list[dict[str, Any]]:
        return self.sqs.receive_message(
            QueueUrl=self.url, MaxNumberOfMessages=10, AttributeNames=["All"], MessageAttributeNames=["All"]
        ).get("Messages", [])

    def send(self, body: str, **attributes: Any) -> None:
        self.sqs.send_message(QueueUrl=self.url, MessageBody=body, **attributes)

    def invoke(self, context: Context) -> int:
        """Deliver what the queue holds; returns how many messages there were."""
        messages = self.receive()
        if not messages:
            return 0
        answer = self._handler({"Records": [sqs_record(message, self.arn) for message in messages]}, context)
        back = {failure["itemIdentifier"] for failure in answer["batchItemFailures"]}
        for message in messages:
            handle = {"QueueUrl": self.url, "ReceiptHandle": message["ReceiptHandle"]}
            if message["MessageId"] in back:
                self.sqs.change_message_visibility(**handle, VisibilityTimeout=0)
            else:
                self.sqs.delete_message(**handle)
        return len(messages)


@pytest.fixture
def drops(cloud: Cloud) -> Source:
    return Source(cloud, "IngestQueue", "inference")


@pytest.fixture
def dead(cloud: Cloud) -> Source:
    return Source(cloud, "IngestDeadLetters", "job_events")


def test_drop_that_was_put_off_ten_times_is_classified(cloud: Cloud, drops: Source, dead: Source, chest: bytes) -> None:
    drop = cloud.put(chest)
    for _ in range(10):
        assert drops.invoke(NO_TIME) == 1
    assert cloud.record(drop) is None
    assert drops.invoke(TIME) == 1
    assert cloud.record(drop).state is State.CLASSIFIED
    assert drops.invoke(TIME) == 0
    assert dead.receive() == []


@pytest.mark.parametrize("between", [0, 1, 3])
def test_drop_that_fails_is_dead_after_five_attempts_however_often_it_is_put_off(
    cloud: Cloud, drops: Source, dead: Source, chest: bytes, between: int
) -> None:
    drop = cloud.put(chest)
    for attempt in range(ALLOWED):
        for _ in range(between):
            assert drops.invoke(NO_TIME) == 1, f"dead after {attempt} attempts"
        with throttled("UpdateItem"):
            assert drops.invoke(TIME) == 1, f"dead after {attempt} attempts"
    assert drops.invoke(NO_TIME) == 0
    assert dead.invoke(TIME) == 1
    assert cloud.record(drop).state is State.FAILED
    assert "after several attempts" in cloud.record(drop).reason


def test_drop_that_cannot_be_sent_again_returns_to_its_queue(cloud: Cloud, drops: Source, chest: bytes) -> None:
    drop = cloud.put(chest)
    with throttled("SendMessageBatch"):
        assert drops.invoke(NO_TIME) == 1
    assert drops.invoke(TIME) == 1
    assert cloud.record(drop).state is State.CLASSIFIED


def test_drop_whose_original_was_not_deleted_after_the_copy_was_sent_is_one_image(
    cloud: Cloud, drops: Source, chest: bytes
) -> None:
    """The crash between the two: Lambda returns the whole batch, and the copy is there as well."""
    drop = cloud.put(chest)
    (original,) = drops.receive()
    drops.send(original["Body"])
    drops.sqs.change_message_visibility(
        QueueUrl=drops.url, ReceiptHandle=original["ReceiptHandle"], VisibilityTimeout=0
    )
    assert drops.invoke(TIME) == 2
    assert cloud.record(drop).state is State.CLASSIFIED
    assert len(cloud.manifest(drop)[1].images) == 1
    assert [news.state for news in cloud.news(drop)] == [State.CLASSIFIED]


def test_more_drops_than_one_call_takes_are_all_put_off(cloud: Cloud, drops: Source, chest: bytes) -> None:
    event: Event = cloud.drop_event(*[cloud.put(chest) for _ in range(23)])
    drops.empty()
    for message in event["Records"]:
        message["eventSourceARN"] = drops.arn
    assert cloud.handlers["inference"](event, NO_TIME) == {"batchItemFailures": []}
    assert drops.empty() == 23


def test_message_that_is_put_off_keeps_the_header_that_x_ray_follows(cloud: Cloud, drops: Source) -> None:
    header = "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1"
    event = cloud.drop_event(cloud.put(b"never looked at"))
    event["Records"][0] |= {"eventSourceARN": drops.arn}
    event["Records"][0]["attributes"]["AWSTraceHeader"] = header
    sent: list[dict[str, Any]] = []
    call = BaseClient._make_api_call

    def keep(self: BaseClient, operation: str, parameters: dict[str, Any]) -> Any:
        if operation == "SendMessageBatch":
            sent.extend(parameters["Entries"])
        return call(self, operation, parameters)

    with mock.patch.object(BaseClient, "_make_api_call", keep):
        cloud.handlers["inference"](event, NO_TIME)
    (entry,) = sent
    assert entry["MessageSystemAttributes"]["AWSTraceHeader"]["StringValue"] == header


@pytest.fixture
def events(cloud: Cloud) -> Source:
    return Source(cloud, "JobEventsQueue", "job_events")


def told_of_failure(cloud: Cloud, events: Source, chest: bytes) -> Drop:
    """A classified image whose job is said to have failed."""
    drop = cloud.put(chest)
    cloud.infer(drop)
    event = failed_job(cloud, cloud.manifest(drop)[0], cloud.record(drop).job_id)
    events.empty()
    events.send(event["Records"][0]["body"])
    return drop


def test_failed_job_that_was_put_off_ten_times_is_seen_to(cloud: Cloud, events: Source, chest: bytes) -> None:
    drop = told_of_failure(cloud, events, chest)
    for _ in range(10):
        assert events.invoke(NO_TIME) == 1
    assert events.invoke(TIME) == 1
    assert cloud.record(drop).state is State.FAILED


def test_failed_job_that_cannot_be_settled_is_a_dead_letter_after_five_attempts(
    cloud: Cloud, events: Source, chest: bytes
) -> None:
    letters = DeadLetters(cloud.deployment.outputs["JobEventsDeadLetters"], events.url)
    told_of_failure(cloud, events, chest)
    for attempt in range(ALLOWED):
        assert letters.count() == 0, f"dead after {attempt} attempts"
        assert events.invoke(NO_TIME) == 1
        with throttled("UpdateItem"):
            assert events.invoke(TIME) == 1
    assert events.receive() == []
    assert letters.send_back() == 1
    events.empty()


def test_dead_drop_that_was_put_off_is_told_as_failed(cloud: Cloud, drops: Source, dead: Source, chest: bytes) -> None:
    drop = cloud.put(chest)
    (message,) = drops.receive()
    dead.send(message["Body"])
    drops.empty()
    assert dead.invoke(NO_TIME) == 1
    assert cloud.record(drop) is None
    assert dead.invoke(TIME) == 1
    assert cloud.record(drop).state is State.FAILED
