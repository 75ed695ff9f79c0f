"""A new model is deployed: what the one before has classified is explained by that one, where it can be read."""

import io
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import boto3
import numpy as np
import pytest
from botocore.client import BaseClient
from botocore.exceptions import ClientError
from tests.integration.cloud import Cloud, Context, throttled
from tests.integration.test_api import ask

from heatdrop.aws.bundles import push_bundle
from heatdrop.errors import InvalidBundle
from heatdrop.ids import image_id
from heatdrop.model.bundle import Bundle
from heatdrop.pipeline.heatmaps import HeatmapJob, HeatmapSettings
from heatdrop.pipeline.ingest import InferenceSettings, Ingest
from heatdrop.vocabulary import Drop, State

BUCKET = "earlier-models"
PLACE = f"s3://{BUCKET}/chest/1"


@pytest.fixture(scope="module", autouse=True)
def pushed(cloud: Cloud, small_bundle: Bundle) -> None:
    """The bundle of before, where it stays after the upgrade."""
    s3 = boto3.client("s3")
    s3.create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": s3.meta.region_name})
    push_bundle(small_bundle, PLACE)


@pytest.fixture(autouse=True)
def temporary_files(tmp_path: Path) -> Iterator[None]:
    with mock.patch("tempfile.tempdir", str(tmp_path)):
        yield


def classified_before(cloud: Cloud, chest: bytes, bundle_uri: str = PLACE, **changes: str) -> Drop:
    """An image that a stack with the bundle of before has classified; the role of this one may not read that."""
    drop = cloud.put(chest)
    (function,) = (f for f in cloud.deployment.functions if f.code.name == "inference")
    with mock.patch.dict(os.environ, function.environment | {"BUNDLE_URI": bundle_uri, **changes}):
        answer = Ingest(InferenceSettings()).handle(cloud.drop_event(drop), Context())
    assert answer == {"batchItemFailures": []}
    return drop


def run_upgraded(cloud: Cloud, manifest_key: str, bundle: Path | str) -> Any:
    """Run a job of the job definition that is deployed now."""
    with mock.patch.dict(cloud.job_environment, BUNDLE_URI=str(bundle)):
        return cloud.heatmap_job().run(manifest_key)


def test_record_and_manifest_name_the_bundle_and_the_job_definition(cloud: Cloud, chest: bytes) -> None:
    drop = classified_before(cloud, chest)
    record, (_, manifest) = cloud.record(drop), cloud.manifest(drop)
    assert (record.bundle_uri, manifest.bundle_uri) == (PLACE, PLACE)
    assert record.job_definition == cloud.jobs[-1].job_definition.arn


def test_job_of_the_new_bundle_loads_the_one_that_made_the_predictions(
    cloud: Cloud, chest: bytes, newer_bundle: Path, small_bundle: Bundle
) -> None:
    drop = classified_before(cloud, chest)
    assert run_upgraded(cloud, cloud.manifest(drop)[0], newer_bundle).explained == 1
    with np.load(io.BytesIO(cloud.storage.get_artefact(cloud.record(drop).heatmaps[0].maps))) as arrays:
        assert json.loads(str(arrays["provenance"]))["model"] == small_bundle.model.model_dump()


def test_job_takes_its_own_bundle_where_it_is_the_same_model_at_another_place(
    cloud: Cloud, chest: bytes, small_bundle: Bundle
) -> None:
    drop = classified_before(cloud, chest, bundle_uri=str(small_bundle.folder))
    assert run_upgraded(cloud, cloud.manifest(drop)[0], PLACE).explained == 1


@pytest.mark.parametrize(
    ("named", "advice"),
    [
        ("s3://earlier-models/taken-away", "Let heatmap jobs read that place (parameter BundlesUnder), then redrive"),
        ("/opt/bundle", "Redrive the image, or drop it again, to have it classified by the deployed model"),
        (None, "Redrive the image, or drop it again, to have it classified by the deployed model"),
    ],
)
def test_image_whose_bundle_cannot_be_had_fails_and_says_what_to_do(
    cloud: Cloud, chest: bytes, newer_bundle: Path, named: str | None, advice: str
) -> None:
    drop = classified_before(cloud, chest)
    key, manifest = cloud.manifest(drop)
    cloud.storage.put_manifest(manifest.model_copy(update={"bundle_uri": named}))
    environment = cloud.job_environment | {"BUNDLE_URI": str(newer_bundle)}
    # Not under the job's role, which may not list the bucket: S3 would say 403 instead of 404, which is as final.
    with mock.patch.dict(os.environ, environment), pytest.raises(InvalidBundle):
        HeatmapJob(HeatmapSettings()).run(key)
    record = cloud.record(drop)
    assert (record.state, advice in record.reason) == (State.FAILED, True), record.reason
    assert [news.state for news in cloud.news(drop)] == [State.CLASSIFIED, State.FAILED]


def test_job_whose_bundle_s3_does_not_give_just_now_is_retried(cloud: Cloud, chest: bytes, newer_bundle: Path) -> None:
    drop = classified_before(cloud, chest)
    call = BaseClient._make_api_call

    def throttle(self: BaseClient, operation: str, parameters: dict[str, Any]) -> Any:
        if parameters.get("Bucket") == BUCKET:
            raise ClientError({"Error": {"Code": "SlowDown", "Message": "slow down"}}, operation)
        return call(self, operation, parameters)

    with mock.patch.object(BaseClient, "_make_api_call", throttle), pytest.raises(ClientError, match="slow down"):
        run_upgraded(cloud, cloud.manifest(drop)[0], newer_bundle)
    assert cloud.record(drop).state is State.CLASSIFIED


def test_records_and_manifests_of_before_the_field_keep_working(cloud: Cloud, chest: bytes) -> None:
    drop = cloud.put(chest)
    cloud.infer(drop)
    table = boto3.resource("dynamodb").Table(cloud.deployment.outputs["ImagesTable"])
    table.update_item(Key={"image_id": image_id(drop)}, UpdateExpression="REMOVE bundle_uri, job_definition")
    key, manifest = cloud.manifest(drop)
    body = json.dumps(manifest.model_dump(mode="json", exclude={"bundle_uri"}))
    boto3.client("s3").put_object(Bucket=cloud.storage.results_bucket, Key=key, Body=body)
    assert cloud.heatmap_job().run(key).explained == 1
    status, _ = ask(cloud, "POST", f"/images/{image_id(drop)}/explanations", {"samples": 1})
    assert status == 202
    assert cloud.heatmap_job().run(cloud.manifest_keys()[-1]).explained == 1


@pytest.fixture
def earlier_definition(cloud: Cloud) -> str:
    """Another revision of the job definition, as an update leaves one active."""
    batch = boto3.client("batch")
    deployed = cloud.deployment.physical_ids["HeatmapJobDefinition"]
    (current,) = batch.describe_job_definitions(jobDefinitions=[deployed])["jobDefinitions"]
    kept = ("type", "parameters", "containerProperties", "retryStrategy", "timeout")
    return batch.register_job_definition(
        jobDefinitionName=current["jobDefinitionName"], **{name: current[name] for name in kept if name in current}
    )["jobDefinitionArn"]


@pytest.mark.parametrize("active", [True, False])
def test_explanation_on_request_is_made_by_the_job_definition_of_its_model_while_that_is_active(
    cloud: Cloud, chest: bytes, earlier_definition: str, active: bool
) -> None:
    drop = classified_before(cloud, chest, JOB_DEFINITION=earlier_definition)
    current = cloud.deployment.physical_ids["HeatmapJobDefinition"]
    call = BaseClient._make_api_call

    def refuse(self: BaseClient, operation: str, parameters: dict[str, Any]) -> Any:
        """As Batch does, unlike moto."""
        if parameters.get("jobDefinition") == earlier_definition and not active:
            raise ClientError({"Error": {"Code": "ClientException", "Message": "not ACTIVE"}}, operation)
        return call(self, operation, parameters)

    with mock.patch.object(BaseClient, "_make_api_call", refuse):
        status, _ = ask(cloud, "POST", f"/images/{image_id(drop)}/explanations", {"samples": 1})
    assert status == 202
    job = cloud.jobs[-1]
    assert job.job_definition.arn == (earlier_definition if active else current)
    assert cloud.storage.get_manifest(job.parameters["manifest"]).bundle_uri == PLACE


def test_drop_that_waits_for_its_job_during_the_update_gets_one_of_the_revision_before(
    cloud: Cloud, chest: bytes, earlier_definition: str, newer_bundle: Path
) -> None:
    older, newer = cloud.put(chest), cloud.put(chest)
    before = cloud.handler("inference", JOB_DEFINITION=earlier_definition)
    with throttled("SubmitJob"):
        before(cloud.drop_event(older), Context())
    after = cloud.handler("inference", BUNDLE_URI=str(newer_bundle))
    assert after(cloud.drop_event(older, newer), Context()) == {"batchItemFailures": []}
    definitions = {job.job_id: job.job_definition.arn for job in cloud.jobs}
    assert definitions[cloud.record(older).job_id] == earlier_definition
    assert definitions[cloud.record(newer).job_id] != earlier_definition
    assert cloud.manifest(newer)[1].bundle_uri == str(newer_bundle)
