"""What a sweep costs follows the number of jobs and not that of the images that wait for them."""

import copy
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from unittest import mock

import boto3
import pytest
from moto.batch.models import Job
from tests.integration.cloud import Cloud, counted_calls
from tests.template.cloud_template import resources

from heatdrop.aws.image_table import ImageTable
from heatdrop.aws.item_table import ItemTable
from heatdrop.aws.notifications import Announcer
from heatdrop.aws.queues import DropQueue
from heatdrop.ids import image_id
from heatdrop.pipeline.sweeping import Sweeper
from heatdrop.vocabulary import Drop, ModelName, Prediction

JOBS, IMAGES_A_JOB = 101, 2
PATIENCE = timedelta(minutes=180)


@pytest.fixture(scope="module")
def backlog(cloud: Cloud) -> Iterator[tuple[Sweeper, list[Job], ImageTable]]:
    """Images that were classified four hours ago and wait for their jobs."""
    properties = copy.deepcopy(resources("AWS::DynamoDB::Table")["ImagesTable"]["Properties"])
    wanted = {name: properties[name] for name in ("AttributeDefinitions", "KeySchema", "GlobalSecondaryIndexes")}
    boto3.client("dynamodb").create_table(TableName="backlog", BillingMode="PAY_PER_REQUEST", **wanted)
    items = ItemTable("backlog")
    images, outputs = ImageTable(items), cloud.deployment.outputs
    model = ModelName(name="chest", version="1" * 12)
    first = len(cloud.jobs)
    with mock.patch("heatdrop.aws.item_table.datetime") as clock:
        clock.now.return_value = datetime.now(UTC) - timedelta(hours=4)
        for number in range(JOBS):
            job = boto3.client("batch").submit_job(
                jobName=f"job-{number}",
                jobQueue=outputs["HeatmapJobQueue"],
                jobDefinition=cloud.deployment.physical_ids["HeatmapJobDefinition"],
            )["jobId"]
            for image in range(IMAGES_A_JOB):
                drop = Drop(bucket="in", key=f"{number}/{image}")
                name = image_id(drop)
                images.find_or_add(name, drop)
                found = (Prediction(label="NORMAL", score=1),)
                images.mark_classified(name, found, model, {}, bundle_uri="/opt/bundle", job_definition="")
                images.mark_submitted(name, f"manifest-{number}", job)
    announcer, drops = Announcer(outputs["NotificationsTopic"]), DropQueue(outputs["IngestQueue"])
    sweeper = Sweeper(PATIENCE, items, announcer, drops, [outputs["HeatmapJobQueue"]])
    yield sweeper, cloud.jobs[first:], images
    for job in cloud.jobs[first:]:
        job.status = "SUCCEEDED"


def test_images_whose_jobs_run_cost_a_call_for_a_hundred_jobs(
    backlog: tuple[Sweeper, list[Job], ImageTable],
) -> None:
    sweeper, jobs, _ = backlog
    for job in jobs:
        job.status = "RUNNING"
    with counted_calls() as calls:
        sweeper.sweep(lambda: True)
    assert calls["DescribeJobs"] == 2  # 101 jobs
    assert calls["GetItem"] == calls["UpdateItem"] == 0


def test_images_whose_job_has_failed_are_found_among_them(backlog: tuple[Sweeper, list[Job], ImageTable]) -> None:
    sweeper, jobs, images = backlog
    for job in jobs:
        job.status = "RUNNING"
    jobs[7].status, jobs[7].job_stopped, jobs[7].job_stopped_reason = "FAILED", True, "broken"
    with counted_calls() as calls:
        sweeper.sweep(lambda: True)
    assert calls["GetItem"] == IMAGES_A_JOB
    assert [record.job_id for record in images.failed()] == [jobs[7].job_id] * IMAGES_A_JOB
