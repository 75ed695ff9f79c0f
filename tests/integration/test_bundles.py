"""A bundle in S3: fetched at start, checked like one that is baked in, used by both containers."""

from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import boto3
import pytest
from moto.batch.models import Job
from tests.integration.cloud import Cloud, cloud_of
from tests.integration.test_api import ask, listed
from tests.integration.test_job_events import failed_job, settle

from heatdrop.aws.bundles import open_bundle_at, push_bundle
from heatdrop.errors import InvalidBundle, InvalidRequest
from heatdrop.local.deployment import deploy
from heatdrop.model.bundle import KERAS_MODEL, LITERT_MODEL, Bundle, open_bundle
from heatdrop.project import TEMPLATE
from heatdrop.vocabulary import State

BUCKET = "models"


@pytest.fixture(scope="module")
def uri(cloud: Cloud, small_bundle: Bundle) -> str:
    """The small bundle, pushed."""
    s3 = boto3.client("s3")
    s3.create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": s3.meta.region_name})
    push_bundle(small_bundle, f"s3://{BUCKET}/chest/1")
    return f"s3://{BUCKET}/chest/1"


@pytest.fixture(autouse=True)
def temporary_files(tmp_path: Path) -> Iterator[None]:
    with mock.patch("tempfile.tempdir", str(tmp_path)):
        yield


@pytest.mark.parametrize(("wanted", "other"), [(LITERT_MODEL, KERAS_MODEL), (KERAS_MODEL, LITERT_MODEL)])
def test_only_the_model_that_is_used_is_fetched(uri: str, small_bundle: Bundle, wanted: str, other: str) -> None:
    bundle = open_bundle_at(uri)
    assert bundle.model == small_bundle.model
    assert not (bundle.folder / wanted).exists()
    assert bundle.read(wanted) == small_bundle.read(wanted)
    assert not (bundle.folder / other).exists()


def test_stack_with_its_bundle_in_s3_a_bus_and_a_key_works_under_its_own_roles(
    cloud: Cloud, jobs: list[Job], chest: bytes, uri: str
) -> None:
    """Deployed anew: which bundle, bus and key a role may use is a matter of the template's parameters."""
    key = boto3.client("kms").create_key()["KeyMetadata"]["Arn"]
    parameters = {"BundleUri": uri, "NotificationsBus": "default", "KmsKeyArn": key, "Samples": "2", "UseGpu": "false"}
    before = len(jobs)
    stack = cloud_of(deploy(TEMPLATE, parameters, "with-a-bundle-in-s3"), jobs)
    drop = stack.put(chest)
    assert stack.infer(drop) == []
    assert stack.record(drop).state is State.CLASSIFIED
    (job,) = jobs[before:]
    stack.heatmap_job().run(job.parameters["manifest"])
    assert stack.record(drop).state is State.EXPLAINED
    assert [news.state for news in stack.news(drop)] == [State.CLASSIFIED, State.EXPLAINED]

    (image,) = listed(stack)
    assert ask(stack, "POST", f"/images/{image['image_id']}/explanations", {"samples": 2})[0] == 202
    failed = stack.put(chest)
    stack.infer(failed)
    job = jobs[-1]
    assert settle(stack, failed_job(stack, job.parameters["manifest"], job.job_id)) == []
    assert [news.state for news in stack.news(failed)] == [State.CLASSIFIED, State.FAILED]


def test_model_that_was_changed_after_packing_is_refused(uri: str) -> None:
    s3 = boto3.client("s3")
    original = s3.get_object(Bucket=BUCKET, Key=f"chest/1/{LITERT_MODEL}")["Body"].read()
    s3.put_object(Bucket=BUCKET, Key=f"chest/1/{LITERT_MODEL}", Body=original + b"more")
    try:
        with pytest.raises(InvalidBundle, match="not the file that was packed"):
            open_bundle_at(uri).read(LITERT_MODEL)
    finally:
        s3.put_object(Bucket=BUCKET, Key=f"chest/1/{LITERT_MODEL}", Body=original)


def test_bundle_that_is_not_there_is_named(uri: str) -> None:
    with pytest.raises(InvalidBundle, match=r"s3://models/nothing/labels\.json cannot be fetched"):
        open_bundle_at(f"s3://{BUCKET}/nothing")


def test_a_prefix_keeps_the_model_it_got(uri: str, small_bundle: Bundle, tiny_bundle: Bundle) -> None:
    push_bundle(small_bundle, uri)
    with pytest.raises(InvalidRequest, match=f"holds small {small_bundle.model.version}; push tiny"):
        push_bundle(tiny_bundle, uri)
    assert open_bundle_at(uri).model == small_bundle.model


def test_a_bundle_that_was_changed_is_not_pushed(uri: str, bundle_copy: Path) -> None:
    (bundle_copy / KERAS_MODEL).write_bytes(b"other")
    with pytest.raises(InvalidBundle, match=r"model\.keras"):
        push_bundle(open_bundle(bundle_copy), f"s3://{BUCKET}/changed")
    assert boto3.client("s3").list_objects_v2(Bucket=BUCKET, Prefix="changed/")["KeyCount"] == 0


@pytest.mark.parametrize("place", ["bundles/skin", "s3://models", "s3:///prefix", "s3://nowhere-to-be-found/prefix"])
def test_a_place_that_cannot_hold_a_bundle_is_named(cloud: Cloud, small_bundle: Bundle, place: str) -> None:
    with pytest.raises(InvalidRequest, match=place):
        push_bundle(small_bundle, place)
