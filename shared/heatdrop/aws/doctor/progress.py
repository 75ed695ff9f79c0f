"""Does anything wait that should not?"""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import boto3

from heatdrop.aws.doctor.deployed import DeployedStack
from heatdrop.aws.doctor.findings import Finding
from heatdrop.aws.image_table import ImageTable, OpenImages
from heatdrop.aws.item_table import ItemTable
from heatdrop.aws.jobs import JobPhase, JobStatuses
from heatdrop.aws.table_schema import Layout
from heatdrop.text import counted

if TYPE_CHECKING:
    from mypy_boto3_cloudwatch.client import CloudWatchClient
    from mypy_boto3_sqs.client import SQSClient

_TRIES = 3
"""The sweep lets an image without progress go on twice, then fails it: nothing should be older than that."""


def queues(stack: DeployedStack) -> Iterator[Finding]:
    """Depths of the queues; the dead letters are for a person."""
    check = "queues"
    sqs: SQSClient = boto3.client("sqs")

    def depth(url: str) -> int:
        answer = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["ApproximateNumberOfMessages"])
        return int(answer["Attributes"]["ApproximateNumberOfMessages"])

    dead = depth(stack.outputs["JobEventsDeadLetters"])
    if dead:
        yield Finding.problem(
            check,
            f"{counted(dead, 'message')} could not be settled; read the log of the job events function, mend the "
            "cause, then run `heatdrop redrive`",
        )
    waiting, events = depth(stack.outputs["IngestQueue"]), depth(stack.outputs["JobEventsQueue"])
    yield Finding.ok(check, f"{counted(waiting, 'drop')} and {counted(events, 'job event')} wait")


def alarms(stack: DeployedStack) -> Iterator[Finding]:
    """Every alarm of the stack that is in alarm, with CloudWatch's own reason."""
    check = "alarms"
    cloudwatch: CloudWatchClient = boto3.client("cloudwatch")
    names = sorted(name for logical_id, name in stack.resources.items() if logical_id.endswith("Alarm"))
    described = cloudwatch.describe_alarms(AlarmNames=names, MaxRecords=100)["MetricAlarms"]
    ringing = [alarm for alarm in described if alarm["StateValue"] == "ALARM"]
    for alarm in ringing:
        what = alarm.get("AlarmDescription", alarm["AlarmName"]).rstrip(".")
        yield Finding.problem(check, f"{what} ({alarm.get('StateReason', 'no reason given')}); see docs/operations.md")
    if not ringing:
        yield Finding.ok(check, f"none of {len(names)} is in alarm")


def oldest_open_image(stack: DeployedStack) -> Iterator[Finding]:
    """How long the image that made no progress for longest has waited."""
    check = "oldest open image"
    patience = timedelta(minutes=int(stack.parameters["StuckAfterMinutes"]))
    now = datetime.now(UTC)
    items = ItemTable(stack.outputs["ImagesTable"], Layout.of_stack(stack.outputs))
    jobs = JobStatuses({stack.outputs["HeatmapJobQueue"], stack.outputs["RequestJobQueue"]})
    unchanged = list(OpenImages(items).unchanged_since(now - patience))
    jobs.look_up(image.job_id for image in unchanged)
    # An image whose job runs, or waits while others do, is in good hands however long that takes.
    waiting = (image for image in unchanged if jobs.of(image.job_id).phase is not JobPhase.ACTIVE)
    oldest = min(
        (record for image in waiting if (record := ImageTable(items).get(image.image_id))),
        key=lambda record: record.updated_at,
        default=None,
    )
    if oldest is None:
        yield Finding.ok(check, f"no image waits for longer than {patience.total_seconds() / 60:.0f} minutes")
        return
    minutes = (now - oldest.updated_at).total_seconds() / 60
    sentence = f"image {oldest.image_id} is {oldest.state} and made no progress for {minutes:.0f} minutes"
    if now - oldest.updated_at > (_TRIES + 1) * patience:
        yield Finding.problem(check, f"{sentence}: the sweep does not look after it; see the job events function")
    else:
        yield Finding.warning(check, f"{sentence}; the sweep gives it further chances and then fails it")
