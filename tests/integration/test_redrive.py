"""`heatdrop redrive`: what was given up is brought back, and reaches the end that it would have reached."""

import json
import os
from contextlib import nullcontext
from unittest import mock

import boto3
import pytest
from tests.iam.roles import acting
from tests.integration.cloud import Cloud, Context, sample_event, throttled
from typer.testing import CliRunner, Result

from heatdrop.aws.events import drops_in
from heatdrop.cli.app import app
from heatdrop.errors import HeatdropError
from heatdrop.ids import image_id
from heatdrop.local.moto_cloud import MotoCloud
from heatdrop.vocabulary import Drop, State


@pytest.fixture(autouse=True)
def no_other_failures(cloud: Cloud) -> None:
    """What other tests left FAILED is not this file's matter."""
    table = boto3.resource("dynamodb").Table(cloud.deployment.outputs["ImagesTable"])
    for record in list(cloud.records.failed()):
        table.delete_item(Key={"image_id": record.image_id})
    taken(cloud, "IngestQueue")


def redrive(cloud: Cloud, local_aws: MotoCloud, *arguments: str) -> Result:
    """Call the command as a person does, over HTTP, with no more rights than the template's RedrivePolicy gives."""
    stack_is_ours = "nowhere" not in arguments  # who may look at one stack cannot tell that there is no other
    somebody = acting(cloud.holder("RedrivePolicy")) if stack_is_ours else nullcontext()
    with mock.patch.dict(os.environ, {"AWS_ENDPOINT_URL": local_aws.endpoint}), somebody:
        stack = [] if "--stack" in arguments else ["--stack", "heatdrop"]
        return CliRunner().invoke(app, ["redrive", *stack, *arguments])


def taken(cloud: Cloud, queue: str) -> list[str]:
    """The bodies of all messages of a queue; it is empty afterwards."""
    sqs, url, bodies = boto3.client("sqs"), cloud.deployment.outputs[queue], []
    while messages := sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10).get("Messages"):
        for message in messages:
            bodies.append(message["Body"])
            sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
    return bodies


def told_again(cloud: Cloud) -> list[Drop]:
    return [drop for body in taken(cloud, "IngestQueue") for drop in drops_in(body, cloud.input_bucket)]


def failed(cloud: Cloud, data: bytes, key: str | None = None) -> Drop:
    """A drop that inference gave up on."""
    drop = cloud.put(data, key)
    cloud.handlers["job_events"](cloud.drop_event(drop, sample="job-events-dead-drop"), Context())
    cloud.news(drop)
    taken(cloud, "IngestQueue")
    assert cloud.record(drop).state is State.FAILED
    return drop


def test_failed_image_begins_anew_and_is_explained(cloud: Cloud, chest: bytes, local_aws: MotoCloud) -> None:
    drop = failed(cloud, chest, "a key/with spaces+and ü.jpg")
    done = redrive(cloud, local_aws)
    assert (done.exit_code, done.stdout) == (0, "1 image and 0 dead letters were brought back.\n")
    record = cloud.record(drop)
    assert (record.state, record.attempt, record.reason, record.announced) == (State.RECEIVED, 2, None, frozenset())
    (again,) = told_again(cloud)
    assert image_id(again) == image_id(drop)
    assert cloud.infer(again) == []
    assert cloud.heatmap_job().run(cloud.manifest(drop)[0]).explained == 1
    news = cloud.news(drop)
    assert [one.state for one in news] == [State.CLASSIFIED, State.EXPLAINED]
    # Another id than the news of the first attempt would have had: who saw those does not take these for repeats.
    assert [one.id for one in news] == [f"{image_id(drop)}:CLASSIFIED:2", f"{image_id(drop)}:EXPLAINED:2"]


def test_image_that_fails_again_is_told_again(cloud: Cloud, chest: bytes, local_aws: MotoCloud) -> None:
    drop = failed(cloud, chest)
    assert redrive(cloud, local_aws).exit_code == 0
    told_again(cloud)
    cloud.handlers["job_events"](cloud.drop_event(drop, sample="job-events-dead-drop"), Context())
    assert [one.id for one in cloud.news(drop)] == [f"{image_id(drop)}:FAILED:2"]
    assert redrive(cloud, local_aws).exit_code == 0
    assert cloud.record(drop).attempt == 3


def test_only_the_named_images_are_brought_back(cloud: Cloud, chest: bytes, local_aws: MotoCloud) -> None:
    wanted, other = failed(cloud, chest), failed(cloud, chest)
    assert redrive(cloud, local_aws, image_id(wanted)).stdout.startswith("1 image ")
    assert (cloud.record(wanted).state, cloud.record(other).state) == (State.RECEIVED, State.FAILED)


def test_dry_run_says_what_would_be_done_and_does_nothing(cloud: Cloud, chest: bytes, local_aws: MotoCloud) -> None:
    drop = failed(cloud, chest, "[red]\x1b[31mward\n3.jpg")
    done = redrive(cloud, local_aws, "--dry-run")
    assert done.exit_code == 0
    line, total = done.stdout.splitlines()
    assert line.startswith(f"{image_id(drop)}  [red]\N{REPLACEMENT CHARACTER}[31mward\N{REPLACEMENT CHARACTER}3.jpg  ")
    assert "inference gave up" in line
    assert total == "1 image and 0 dead letters would be brought back."
    one, both = map(json.loads, redrive(cloud, local_aws, "--dry-run", "--json").stdout.splitlines())
    assert (one["image_id"], one["key"]) == (image_id(drop), drop.key)
    assert both == {"images": 1, "dead_letters": 0}
    assert cloud.record(drop).state is State.FAILED
    assert told_again(cloud) == []


def test_image_whose_drop_could_not_be_told_again_is_found_by_the_sweep(
    cloud: Cloud, chest: bytes, local_aws: MotoCloud
) -> None:
    """The crash: the record was opened, but the drop was not told."""
    drop = failed(cloud, chest)
    with throttled("SendMessage"):
        assert isinstance(redrive(cloud, local_aws).exception, HeatdropError)
    assert cloud.record(drop).state is State.RECEIVED
    boto3.resource("dynamodb").Table(cloud.deployment.outputs["ImagesTable"]).update_item(
        Key={"image_id": image_id(drop)},
        UpdateExpression="SET updated_at = :long_ago",
        ExpressionAttributeValues={":long_ago": "2026-01-01T00:00:00.000+00:00"},
    )
    cloud.handlers["job_events"](sample_event("job-events-sweep"), Context())
    assert image_id(drop) in {image_id(again) for again in told_again(cloud)}


def test_dead_letters_go_back_to_where_they_came_from(cloud: Cloud, local_aws: MotoCloud) -> None:
    url = cloud.deployment.outputs["JobEventsDeadLetters"]
    taken(cloud, "JobEventsQueue")
    bodies = {json.dumps({"detail-type": "Sweep", "number": number}) for number in range(12)}
    for body in bodies:
        boto3.client("sqs").send_message(QueueUrl=url, MessageBody=body)
    assert "12 dead letters would" in redrive(cloud, local_aws, "--dry-run").stdout
    assert "12 dead letters were" in redrive(cloud, local_aws).stdout
    assert set(taken(cloud, "JobEventsQueue")) == bodies
    assert taken(cloud, "JobEventsDeadLetters") == []


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--stack", "nowhere"], "there is no stack nowhere in this account and region; name it with --stack"),
        (["0" * 32], f"there is no image {'0' * 32}"),
    ],
)
def test_what_is_not_there_is_said_in_one_sentence(
    cloud: Cloud, local_aws: MotoCloud, arguments: list[str], sentence: str
) -> None:
    assert str(redrive(cloud, local_aws, *arguments).exception) == sentence


def test_image_that_is_not_failed_is_left_alone(cloud: Cloud, chest: bytes, local_aws: MotoCloud) -> None:
    drop = cloud.put(chest)
    cloud.infer(drop)
    said = str(redrive(cloud, local_aws, image_id(drop)).exception)
    assert said == f"image {image_id(drop)} is CLASSIFIED; only a FAILED image can be redriven"
    assert cloud.record(drop).state is State.CLASSIFIED
