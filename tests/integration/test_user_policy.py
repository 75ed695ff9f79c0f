"""Who drops images and listens needs no more than UserPolicy: every call that a role makes in a test is judged."""

import os
from pathlib import Path
from unittest import mock

import boto3
from tests.iam.roles import acting
from tests.integration.cloud import Cloud
from typer.testing import CliRunner

from heatdrop.aws.subscription import Subscription
from heatdrop.cli.app import app
from heatdrop.local.moto_cloud import MotoCloud


def test_drop_puts_images_into_the_bucket_of_the_stack(cloud: Cloud, local_aws: MotoCloud, chest_jpeg: Path) -> None:
    somebody = acting(cloud.holder("UserPolicy"))
    with mock.patch.dict(os.environ, {"AWS_ENDPOINT_URL": local_aws.endpoint}), somebody:
        arguments = ["drop", str(chest_jpeg), "--stack", "heatdrop", "--prefix", "of-a-user/"]
        done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.output
    found = boto3.client("s3").list_objects_v2(Bucket=cloud.input_bucket, Prefix="of-a-user/")
    assert found["KeyCount"] == 1


def test_watch_listens_through_a_queue_of_its_own_and_leaves_nothing_behind(cloud: Cloud) -> None:
    before = boto3.client("sqs").list_queues()["QueueUrls"]
    with acting(cloud.holder("UserPolicy")):
        listening = Subscription(cloud.deployment.outputs["NotificationsTopic"], {"state": ["EXPLAINED"]})
        assert list(listening.pending()) == []
        listening.close()
    assert boto3.client("sqs").list_queues()["QueueUrls"] == before
