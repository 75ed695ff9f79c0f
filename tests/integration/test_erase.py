"""`heatdrop erase`: nothing of an image is left, and nothing of any other is touched."""

import json
import os
from typing import Any
from unittest import mock

import boto3
import pytest
from moto.core import DEFAULT_ACCOUNT_ID
from moto.dynamodb.models import dynamodb_backends
from moto.s3.models import FakeKey
from tests.iam.roles import acting
from tests.integration.cloud import Cloud, throttled, versions_in
from tests.integration.test_api import ask
from tests.integration.test_job_events import failed_job, settle
from typer.testing import CliRunner, Result

from heatdrop.cli.app import app
from heatdrop.errors import HeatdropError, InvalidRequest, ManifestMissing
from heatdrop.ids import image_id
from heatdrop.local.moto_cloud import REGION, MotoCloud
from heatdrop.vocabulary import Drop, State


def erase(cloud: Cloud, local_aws: MotoCloud, *arguments: str, answer: str | None = None) -> Result:
    """Call the command as a person does, over HTTP, with no more rights than the template's ErasePolicy gives."""
    with (
        mock.patch.dict(os.environ, {"AWS_ENDPOINT_URL": local_aws.endpoint}),
        acting(cloud.holder("ErasePolicy")),
    ):
        yes = ["--yes"] if answer is None else []
        return CliRunner().invoke(app, ["erase", "--stack", "heatdrop", *yes, *arguments], input=answer)


def explained(cloud: Cloud, data: bytes, *keys: str) -> list[Drop]:
    """Images that share a job and were explained, each once more on request."""
    drops = [cloud.put(data, key) for key in keys]
    cloud.infer(*drops)
    cloud.heatmap_job().run(cloud.manifest(drops[0])[0])
    for drop in drops:
        assert (
            ask(cloud, "POST", f"/images/{image_id(drop)}/explanations", {"samples": 1, "classes": ["NORMAL"]})[0]
            == 202
        )
        cloud.heatmap_job().run(cloud.manifest_keys()[-1])
    return drops


def left(cloud: Cloud, *drops: Drop) -> list[str]:
    """All that is kept of images, anywhere: what names their ids or their keys."""
    words = {word for drop in drops for word in (image_id(drop), drop.key)}
    found = []
    for bucket in (cloud.input_bucket, cloud.storage.results_bucket):
        for key, versions in versions_in(bucket).iterlists():
            # Delete markers have a key as well, but nothing in them.
            texts = [
                v.value.decode() if key.startswith("manifests/") and isinstance(v, FakeKey) else key for v in versions
            ]
            found += [f"{bucket}: {key}" for text in texts if any(word in text for word in words)]
    table = dynamodb_backends[DEFAULT_ACCOUNT_ID][REGION].get_table(cloud.deployment.outputs["ImagesTable"])
    items = [item.to_json()["Attributes"] for item in table.all_items()]
    return found + [item["image_id"]["S"] for item in items if any(word in str(item) for word in words)]


def state_of(cloud: Cloud, drop: Drop) -> Any:
    """All that is kept of an image, to be compared."""
    record = cloud.record(drop)
    return record, {key: cloud.storage.get_artefact(key) for key in record.artefacts}, sorted(left(cloud, drop))


@pytest.mark.parametrize("way", ["key", "prefix", "image_id"])
def test_nothing_of_an_erased_image_is_left_and_all_of_the_others(
    cloud: Cloud, local_aws: MotoCloud, chest: bytes, way: str
) -> None:
    gone, kept = explained(cloud, chest, f"{way}/ward 3/a ü+.jpg", f"{way}/ward 4/a.jpg")
    before = state_of(cloud, kept)
    chosen = {"key": [gone.key], "prefix": ["--prefix", f"{way}/ward 3/"], "image_id": ["--image-id", image_id(gone)]}
    done = erase(cloud, local_aws, *chosen[way], "--json")
    assert done.exit_code == 0, done.output
    counts = json.loads(done.stdout)
    # A picture and three files for each of three classes, then, on request, for one; the manifest that both images
    # share, and that of the request.
    expected = {"records": 1, "input_versions": 1, "delete_markers": 0, "artefacts": 14, "manifests": 2}
    assert counts == expected | {"open_images": 0, "erased": True}
    assert left(cloud, gone) == []
    assert state_of(cloud, kept) == before
    assert ask(cloud, "GET", f"/images/{image_id(gone)}")[0] == 404


def test_key_is_erased_with_all_its_versions_and_delete_markers(
    cloud: Cloud, local_aws: MotoCloud, chest: bytes
) -> None:
    """Two uploads, a delete marker, and an older image whose version has expired."""
    key, s3 = "versions/a.jpg", boto3.client("s3")
    drops = [cloud.put(chest, key), cloud.put(chest + b"\0", key), cloud.put(chest + b"\0\0", key)]
    cloud.infer(*drops)
    s3.delete_object(Bucket=cloud.input_bucket, Key=key)
    s3.delete_object(Bucket=cloud.input_bucket, Key=key, VersionId=drops[0].version_id)
    other = cloud.put(chest, f"{key}.jpg")
    counts = json.loads(erase(cloud, local_aws, key, "--json").stdout)
    assert (counts["records"], counts["input_versions"], counts["delete_markers"]) == (3, 2, 1)
    assert left(cloud, *drops) == left(cloud, other) != []


def test_second_erasure_finds_nothing_and_is_content(cloud: Cloud, local_aws: MotoCloud, chest: bytes) -> None:
    (drop,) = explained(cloud, chest, "twice/a.jpg")
    assert erase(cloud, local_aws, drop.key).exit_code == 0
    again = erase(cloud, local_aws, drop.key)
    assert (again.exit_code, again.stdout) == (
        0,
        "0 records, 0 input versions, 0 delete markers, 0 artefacts, 0 manifests were erased.\n",
    )


@pytest.mark.parametrize("operation", ["DeleteObjects", "DeleteItem", "PutObject"])
def test_erasure_that_was_cut_short_is_finished_by_the_next(
    cloud: Cloud, local_aws: MotoCloud, chest: bytes, operation: str
) -> None:
    gone, kept = explained(cloud, chest, f"short/{operation}/a.jpg", f"short/{operation}/b.jpg")
    with throttled(operation):
        done = erase(cloud, local_aws, gone.key)
    assert isinstance(done.exception, HeatdropError)
    assert "run it again" in str(done.exception)
    assert erase(cloud, local_aws, gone.key).exit_code == 0
    assert left(cloud, gone) == []
    assert cloud.record(kept).state is State.EXPLAINED


def test_dry_run_says_what_would_be_erased_and_does_nothing(cloud: Cloud, local_aws: MotoCloud, chest: bytes) -> None:
    (drop,) = explained(cloud, chest, "dry/a.jpg")
    before = state_of(cloud, drop)
    done = erase(cloud, local_aws, "--prefix", "dry/", "--dry-run")
    assert done.stdout == "1 record, 1 input version, 0 delete markers, 14 artefacts, 2 manifests would be erased.\n"
    assert f"{image_id(drop)}  dry/a.jpg  EXPLAINED" in done.stderr
    one, both = map(json.loads, erase(cloud, local_aws, "--prefix", "dry/", "--dry-run", "--json").stdout.splitlines())
    assert one == {"image_id": image_id(drop), "key": "dry/a.jpg", "state": "EXPLAINED"}
    assert (both["records"], both["erased"]) == (1, False)
    assert state_of(cloud, drop) == before


def test_it_asks_first_and_takes_no_for_an_answer(cloud: Cloud, local_aws: MotoCloud, chest: bytes) -> None:
    (drop,) = explained(cloud, chest, "asked/a.jpg")
    before = state_of(cloud, drop)
    assert erase(cloud, local_aws, drop.key, answer="n\n").exit_code == 1
    assert state_of(cloud, drop) == before
    assert erase(cloud, local_aws, drop.key, answer="y\n").exit_code == 0
    assert left(cloud, drop) == []


def test_image_that_is_erased_before_its_job_runs_costs_the_others_nothing(
    cloud: Cloud, local_aws: MotoCloud, chest: bytes
) -> None:
    gone, kept = cloud.put(chest, "waits/a.jpg"), cloud.put(chest, "waits/b.jpg")
    cloud.infer(gone, kept)
    key, manifest = cloud.manifest(gone)
    assert "had not reached a final state; run it again" in erase(cloud, local_aws, gone.key).stdout
    cloud.storage.put_manifest(manifest)  # the job had read it before
    report = cloud.heatmap_job().run(key)
    assert (report.explained, report.skipped, report.exit_code) == (1, 1, 0)
    assert cloud.record(gone) is None
    assert cloud.record(kept).state is State.EXPLAINED


def test_job_of_images_that_were_all_erased_ends_and_its_failure_is_settled(
    cloud: Cloud, local_aws: MotoCloud, chest: bytes
) -> None:
    gone = cloud.put(chest, "all gone/a.jpg")
    cloud.infer(gone)
    key, _ = cloud.manifest(gone)
    job_id = cloud.record(gone).job_id
    assert erase(cloud, local_aws, gone.key).exit_code == 0
    with pytest.raises(ManifestMissing, match="all its images were erased"):
        cloud.heatmap_job().run(key)
    assert settle(cloud, failed_job(cloud, key, job_id)) == []
    assert cloud.record(gone) is None


@pytest.mark.parametrize("arguments", [[], ["a.jpg", "--prefix", "b/"], ["--prefix", "b/", "--image-id", "0" * 32]])
def test_it_must_be_said_in_one_way_what_to_erase(cloud: Cloud, local_aws: MotoCloud, arguments: list[str]) -> None:
    assert isinstance(erase(cloud, local_aws, *arguments).exception, InvalidRequest)
