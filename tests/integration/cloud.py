"""What tests do in the deployed cloud: drop, call a handler with the event, read what came of it."""

import copy
import importlib.util
import itertools
import json
import os
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any
from unittest import mock
from urllib.parse import quote_plus

import boto3
from botocore.client import BaseClient
from botocore.exceptions import ClientError
from moto.batch.models import Job
from moto.core import DEFAULT_ACCOUNT_ID
from moto.s3.models import FakeKey, s3_backends
from tests.iam.roles import acting, holder_of, under

from heatdrop.aws.image_table import ImageTable
from heatdrop.aws.item_table import ItemTable
from heatdrop.aws.notifications import Notification
from heatdrop.aws.record import Record
from heatdrop.aws.storage import Manifest, Storage
from heatdrop.aws.subscription import Subscription
from heatdrop.ids import image_id
from heatdrop.local.deployment import DeployedFunction, Deployment
from heatdrop.local.roles import session_of
from heatdrop.pipeline.heatmaps import HeatmapJob, HeatmapSettings
from heatdrop.project import TEMPLATE
from heatdrop.vocabulary import Drop

EVENTS = TEMPLATE.parent / "events"
Event = dict[str, Any]


def sample_event(name: str) -> Event:
    """One of the sample events that the repository holds."""
    event: Event = json.loads((EVENTS / f"{name}.json").read_text())
    return event


@dataclass
class Context:
    """The context object that Lambda gives a handler."""

    remaining_ms: int = 120_000
    function_name: str = "test"
    memory_limit_in_mb: int = 2048
    invoked_function_arn: str = "arn:aws:lambda:eu-west-1:123456789012:function:test"
    aws_request_id: str = "00000000-0000-4000-8000-000000000000"

    def get_remaining_time_in_millis(self) -> int:
        return self.remaining_ms


def load_handler(function: DeployedFunction, **changes: str) -> Callable[[Event, Context], Any]:
    """Import the handler of a deployed function, with its deployed environment, ``changes`` to it and its role."""
    module_name, name = function.handler.split(".")
    path = function.code / f"{module_name}.py"
    spec = importlib.util.spec_from_file_location(f"deployed_{function.code.name}", path)
    module = importlib.util.module_from_spec(spec)
    with acting(None):  # also where it is loaded while another role acts
        role = session_of(function.role)
    with mock.patch.dict(os.environ, function.environment | changes), acting(role):
        spec.loader.exec_module(module)
    return under(role, getattr(module, name))


def cloud_of(deployment: Deployment, jobs: list[Job]) -> "Cloud":
    """A deployed stack with its handlers loaded; ``jobs`` are those that were submitted so far, to any stack."""
    return Cloud(
        deployment,
        jobs,
        Subscription(deployment.outputs["NotificationsTopic"]),
        {function.code.name: load_handler(function) for function in deployment.functions},
        {variable["name"]: variable["value"] for variable in _job_container(deployment)["environment"]},
        ImageTable(ItemTable(deployment.outputs["ImagesTable"])),
        Storage(deployment.outputs["ResultsBucket"]),
    )


def _job_container(deployment: Deployment) -> dict[str, Any]:
    arn = deployment.physical_ids["HeatmapJobDefinition"]
    (definition,) = boto3.client("batch").describe_job_definitions(jobDefinitions=[arn])["jobDefinitions"]
    return definition["containerProperties"]


def versions_in(bucket: str) -> Any:
    """All versions of the objects that moto holds in a bucket, by key: a `werkzeug.MultiDict`, oldest first."""
    return s3_backends[DEFAULT_ACCOUNT_ID]["aws"].get_bucket(bucket).keys


@dataclass
class Cloud:
    """What the tests do in the deployed cloud."""

    deployment: Deployment
    jobs: list[Job]
    subscription: Subscription
    handlers: dict[str, Callable[[Event, Context], Any]]
    job_environment: dict[str, str]
    records: ImageTable
    storage: Storage
    _numbers: Iterator[int] = field(default_factory=itertools.count)
    _unread: list[Notification] = field(default_factory=list)
    _holders: dict[str, boto3.Session] = field(default_factory=dict)

    @property
    def input_bucket(self) -> str:
        return self.deployment.outputs["InputBucket"]

    def put(self, data: bytes, key: str | None = None) -> Drop:
        """Upload an image, under a key of its own unless one is given."""
        key = key or f"drops/{next(self._numbers)}.bin"
        answer = boto3.client("s3").put_object(Bucket=self.input_bucket, Key=key, Body=data)
        etag = answer["ETag"].strip('"')
        return Drop(bucket=self.input_bucket, key=key, version_id=answer["VersionId"], etag=etag, size=len(data))

    def drop_event(self, *drops: Drop, sample: str = "inference-drop") -> Event:
        """The SQS event that tells of drops, one message each."""
        event = sample_event(sample)
        (template,) = event["Records"]
        account, stack_and_queue = template["eventSourceARN"].rsplit(":", 1)
        url = self.deployment.physical_ids[stack_and_queue.removeprefix("heatdrop-")]
        template["eventSourceARN"] = f"{account}:{url.rpartition('/')[2]}"
        event["Records"] = []
        for number, drop in enumerate(drops):
            message = copy.deepcopy(template)
            body = json.loads(message["body"])
            described = body["Records"][0]["s3"]
            described["bucket"]["name"] = drop.bucket
            described["object"] |= {
                "key": quote_plus(drop.key),
                "versionId": drop.version_id,
                "eTag": drop.etag,
                "size": drop.size,
            }
            event["Records"].append(message | {"messageId": f"message-{number}", "body": json.dumps(body)})
        return event

    def infer(self, *drops: Drop, context: Context | None = None) -> list[str]:
        """Call the inference handler with drops; returns the ids of the messages that are to come back."""
        answer = self.handlers["inference"](self.drop_event(*drops), context or Context())
        return [failure["itemIdentifier"] for failure in answer["batchItemFailures"]]

    def handler(self, name: str, **changes: str) -> Callable[[Event, Context], Any]:
        """A handler started anew, with ``changes`` to its deployed environment."""
        (function,) = (function for function in self.deployment.functions if function.code.name == name)
        return load_handler(function, **changes)

    def record(self, drop: Drop) -> Record | None:
        """The record of a drop."""
        return self.records.get(image_id(drop))

    def manifest_keys(self) -> list[str]:
        """The manifests of the jobs submitted so far, in order."""
        return [job.parameters["manifest"] for job in self.jobs]

    def manifest(self, drop: Drop) -> tuple[str, Manifest]:
        """The manifest that holds a drop, with its key."""
        name = image_id(drop).encode()
        for key in self.manifest_keys():
            # A look into moto first: the jobs of all tests are here, and a request for each takes a second altogether.
            (*_, latest) = versions_in(self.storage.results_bucket).getlist(key, [None])
            if isinstance(latest, FakeKey) and name in latest.value:
                manifest = self.storage.get_manifest(key)
                if image_id(drop) in {entry.image_id for entry in manifest.images}:
                    return key, manifest
        raise AssertionError(f"no job was submitted for {drop.key}")

    def heatmap_job(self) -> HeatmapJob:
        """The heatmap job with the environment of its deployed definition and its role."""
        with mock.patch.dict(os.environ, self.job_environment), acting(self.job_role):
            job = HeatmapJob(HeatmapSettings())
        job.run = under(self.job_role, job.run)  # type: ignore[method-assign]
        return job

    @cached_property
    def job_role(self) -> boto3.Session:
        """What the heatmap job may do."""
        return session_of(self.job_role_arn)

    @cached_property
    def job_role_arn(self) -> str:
        return str(_job_container(self.deployment)["jobRoleArn"])

    def holder(self, policy: str) -> boto3.Session:
        """Somebody who may do what a policy allows, and nothing else; one person, however often they are asked for."""
        if policy not in self._holders:
            self._holders[policy] = holder_of(self.deployment, policy)
        return self._holders[policy]

    def news(self, *drops: Drop) -> list[Notification]:
        """What subscribers were told of these drops since they were last asked."""
        names = {image_id(drop) for drop in drops}
        self._unread += self.subscription.pending()
        told = [notification for notification in self._unread if notification.image_id in names]
        self._unread = [notification for notification in self._unread if notification.image_id not in names]
        return told


@contextmanager
def counted_calls() -> Iterator[Counter[str]]:
    """How often each operation of AWS was called within the ``with`` block."""
    counts: Counter[str] = Counter()
    call = BaseClient._make_api_call

    def count(self: BaseClient, operation_name: str, parameters: dict[str, Any]) -> Any:
        counts[operation_name] += 1
        return call(self, operation_name, parameters)

    with mock.patch.object(BaseClient, "_make_api_call", count):
        yield counts


@contextmanager
def throttled(operation: str, after: int = 0) -> Iterator[None]:
    """Let AWS answer every call of one operation, such as ``SubmitJob``, with a throttle; the first ``after`` pass."""
    call = BaseClient._make_api_call
    passing = iter(range(after))

    def refuse(self: BaseClient, operation_name: str, parameters: dict[str, Any]) -> Any:
        if operation_name == operation and next(passing, None) is None:
            raise ClientError({"Error": {"Code": "TooManyRequestsException", "Message": "slow down"}}, operation)
        return call(self, operation_name, parameters)

    with mock.patch.object(BaseClient, "_make_api_call", refuse):
        yield
