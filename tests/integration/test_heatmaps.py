"""The heatmap job: a manifest of classified images becomes artefacts in S3, and a second run adds nothing."""

import io
import json
import os
import signal
from pathlib import Path
from unittest import mock

import boto3
import cv2
import numpy as np
import pytest
from botocore.exceptions import ClientError
from tests.integration.cloud import Cloud, Context, throttled

from heatdrop.aws.jobs import RETRY_EXIT_CODE
from heatdrop.errors import InvalidBundle
from heatdrop.explaining.explainer import Explainer
from heatdrop.ids import image_id
from heatdrop.model.bundle import Bundle
from heatdrop.vocabulary import Drop, State


@pytest.fixture
def classified(cloud: Cloud, chest: bytes) -> tuple[str, list[Drop]]:
    """Two classified drops and the key of their manifest."""
    drops = [cloud.put(chest), cloud.put(chest)]
    cloud.infer(*drops)
    cloud.news(*drops)
    return cloud.manifest(drops[0])[0], drops


def artefacts(cloud: Cloud, drop: Drop) -> dict[str, bytes]:
    """Every stored artefact of a drop, by key."""
    record = cloud.record(drop)
    return {key: cloud.storage.get_artefact(key) for key in record.artefacts}


def test_every_image_of_the_manifest_is_explained_and_announced(
    cloud: Cloud, classified: tuple[str, list[Drop]]
) -> None:
    manifest_key, drops = classified
    report = cloud.heatmap_job().run(manifest_key)
    assert (report.explained, report.failed, report.exit_code) == (2, 0, 0)
    for drop in drops:
        record = cloud.record(drop)
        assert record.state is State.EXPLAINED
        assert [heatmap.label for heatmap in record.heatmaps] == [p.label for p in record.predictions]
        assert record.timings_ms.keys() == {"fetch", "decode", "predict", "explain", "render", "store"}
        assert [news.state for news in cloud.news(drop)] == [State.EXPLAINED]
        for key, content in artefacts(cloud, drop).items():
            assert key.startswith(f"images/{image_id(drop)}/{record.model.version}/")
            if key.endswith(".png"):
                assert cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR) is not None


def test_maps_are_those_of_the_engine_and_tell_where_they_come_from(
    cloud: Cloud, classified: tuple[str, list[Drop]], chest: bytes, small_bundle: Bundle
) -> None:
    manifest_key, (drop, _) = classified
    cloud.heatmap_job().run(manifest_key)
    record, (_, manifest) = cloud.record(drop), cloud.manifest(drop)
    expected = Explainer(small_bundle, manifest.settings).explain(chest, record.predictions)
    for stored, wanted in zip(record.heatmaps, expected.heatmaps, strict=True):
        content = cloud.storage.get_artefact(stored.maps)
        assert content == wanted.maps[1]
        with np.load(io.BytesIO(content)) as arrays:
            provenance = json.loads(str(arrays["provenance"]))
            assert arrays["mean_abs"].shape == (64, 64)
            assert arrays["mean_abs"].min() >= 0
            assert arrays["mean_abs"].max() > 0
        assert provenance["samples"] == 2
        assert provenance["label"] == stored.label
        assert provenance["model"] == small_bundle.model.model_dump()


def test_second_run_renders_nothing_and_tells_nobody(cloud: Cloud, classified: tuple[str, list[Drop]]) -> None:
    manifest_key, drops = classified
    cloud.heatmap_job().run(manifest_key)
    first = [cloud.record(drop) for drop in drops]
    cloud.news(*drops)
    report = cloud.heatmap_job().run(manifest_key)
    assert (report.explained, report.skipped, report.exit_code) == (0, 2, 0)
    assert [cloud.record(drop) for drop in drops] == first
    assert cloud.news(*drops) == []


def test_run_after_a_crash_leaves_the_same_bytes(cloud: Cloud, classified: tuple[str, list[Drop]]) -> None:
    """The crash: artefacts were uploaded, but the record was not written."""
    manifest_key, (drop, _) = classified
    with throttled("UpdateItem"), pytest.raises(Exception, match="slow down"):
        cloud.heatmap_job().run(manifest_key)
    results = boto3.resource("s3").Bucket(cloud.deployment.outputs["ResultsBucket"])
    uploaded = {o.key: o.get()["Body"].read() for o in results.objects.filter(Prefix=f"images/{image_id(drop)}/")}
    cloud.heatmap_job().run(manifest_key)
    assert cloud.record(drop).state is State.EXPLAINED
    stored = artefacts(cloud, drop)
    assert uploaded.items() <= stored.items()


def test_image_deleted_since_fails_and_the_others_are_explained(
    cloud: Cloud, classified: tuple[str, list[Drop]]
) -> None:
    manifest_key, (gone, kept) = classified
    boto3.client("s3").delete_object(Bucket=gone.bucket, Key=gone.key, VersionId=gone.version_id)
    report = cloud.heatmap_job().run(manifest_key)
    assert (report.explained, report.failed, report.exit_code) == (1, 1, 1)
    assert cloud.record(kept).state is State.EXPLAINED
    assert cloud.record(gone).state is State.FAILED
    assert "drop it again" in cloud.record(gone).reason
    assert [news.state for news in cloud.news(gone)] == [State.FAILED]


@pytest.mark.parametrize("step", ["decode", "maps", "draw"])
def test_a_step_that_fails_for_one_image_fails_that_image_alone(
    cloud: Cloud, classified: tuple[str, list[Drop]], step: str
) -> None:
    manifest_key, drops = classified
    first, second = (entry.drop for entry in cloud.manifest(drops[0])[1].images)
    real, calls = getattr(Explainer, step), []

    def fails_at_first(self: Explainer, *args: object) -> object:
        calls.append(step)
        if len(calls) == 1:
            raise ValueError("unforeseen")
        return real(self, *args)

    with mock.patch.object(Explainer, step, fails_at_first):
        report = cloud.heatmap_job().run(manifest_key)
    assert (report.explained, report.failed, report.exit_code) == (1, 1, 1)
    assert cloud.record(first).reason == "the heatmaps could not be made (ValueError)"
    assert cloud.record(second).state is State.EXPLAINED


def test_job_told_to_stop_finishes_the_image_in_hand_and_its_retry_does_the_rest(
    cloud: Cloud, classified: tuple[str, list[Drop]]
) -> None:
    manifest_key, drops = classified
    job = cloud.heatmap_job()
    maps = Explainer.maps

    def explain_and_lose_the_host(self: Explainer, *args: object) -> object:
        os.kill(os.getpid(), signal.SIGTERM)
        return maps(self, *args)

    before = signal.getsignal(signal.SIGTERM)
    try:
        with mock.patch.object(Explainer, "maps", explain_and_lose_the_host):
            report = job.run(manifest_key)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert (report.explained, report.interrupted, report.exit_code) == (1, True, RETRY_EXIT_CODE)
    assert sorted(cloud.record(drop).state for drop in drops) == [State.CLASSIFIED, State.EXPLAINED]
    report = cloud.heatmap_job().run(manifest_key)
    assert (report.explained, report.skipped, report.exit_code) == (1, 1, 0)
    assert {cloud.record(drop).state for drop in drops} == {State.EXPLAINED}


def test_job_with_another_model_than_the_predictions_fails_their_images_and_says_what_to_do(
    cloud: Cloud, classified: tuple[str, list[Drop]], newer_bundle: Path
) -> None:
    manifest_key, drops = classified
    with (
        mock.patch.dict(cloud.job_environment, BUNDLE_URI=str(newer_bundle)),
        pytest.raises(InvalidBundle, match="classified by the deployed model"),
    ):
        cloud.heatmap_job().run(manifest_key)
    for drop in drops:
        record = cloud.record(drop)
        assert (record.state, record.heatmaps) == (State.FAILED, ())
        assert "the job holds small 0123456789ab. Redrive the image, or drop it again," in record.reason
        assert [news.state for news in cloud.news(drop)] == [State.FAILED]


def test_drop_classified_by_an_older_model_is_submitted_under_that_models_name(
    cloud: Cloud, chest: bytes, newer_bundle: Path, small_bundle: Bundle
) -> None:
    older, newer = cloud.put(chest), cloud.put(chest)
    with throttled("SubmitJob"):
        assert cloud.infer(older) == ["message-0"]
    upgraded = cloud.handler("inference", BUNDLE_URI=str(newer_bundle))
    assert upgraded(cloud.drop_event(older, newer), Context()) == {"batchItemFailures": []}
    key, manifest = cloud.manifest(older)
    assert manifest.model == cloud.record(older).model == small_bundle.model
    assert cloud.manifest(newer)[1].model.version == cloud.record(newer).model.version == "0123456789ab"
    assert cloud.heatmap_job().run(key).explained == 1


def test_image_that_was_classified_anew_is_left_to_its_new_job(
    cloud: Cloud, classified: tuple[str, list[Drop]], newer_bundle: Path
) -> None:
    """An old job that still runs must not put its maps beside the predictions of another model."""
    manifest_key, (drop, _) = classified
    maps = Explainer.maps

    def explain_while_the_image_is_redriven(self: Explainer, *args: object) -> object:
        if cloud.record(drop).attempt == 1:
            cloud.records.mark_failed(image_id(drop), "given up by the sweep")
            cloud.records.reopen(cloud.record(drop))
            upgraded = cloud.handler("inference", BUNDLE_URI=str(newer_bundle))
            upgraded(cloud.drop_event(drop), Context())
        return maps(self, *args)

    with mock.patch.object(Explainer, "maps", explain_while_the_image_is_redriven):
        cloud.heatmap_job().run(manifest_key)
    record = cloud.record(drop)
    assert (record.state, record.model.version, record.heatmaps) == (State.CLASSIFIED, "0123456789ab", ())


def test_service_that_does_not_answer_costs_no_image(cloud: Cloud, classified: tuple[str, list[Drop]]) -> None:
    """A throttle says nothing about the image: the job ends, and its retry explains it."""
    manifest_key, drops = classified
    with throttled("GetObject", after=1), pytest.raises(ClientError, match="slow down"):
        cloud.heatmap_job().run(manifest_key)
    assert {cloud.record(drop).state for drop in drops} == {State.CLASSIFIED}
    assert cloud.heatmap_job().run(manifest_key).explained == 2
