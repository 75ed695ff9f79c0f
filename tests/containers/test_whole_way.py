"""The way of one image through the built containers: real image in, checked artefacts out."""

import io
import json
import subprocess

import cv2
import numpy as np
import pytest
from tests.containers.conftest import Call, RunJob
from tests.integration.cloud import Cloud, Event, sample_event
from tests.integration.test_job_events import failed_job

from heatdrop.ids import image_id
from heatdrop.vocabulary import Drop, State

pytestmark = pytest.mark.containers

NOTHING_TO_RETRY = {"batchItemFailures": []}


def test_inference_classifies_a_batch_and_submits_one_job(
    cloud: Cloud, classified: list[list[Drop]], answers: list[object]
) -> None:
    assert answers == [NOTHING_TO_RETRY] * 3
    for number, drops in enumerate(classified):
        manifest = cloud.storage.get_manifest(cloud.manifest_keys()[number])
        assert {entry.image_id for entry in manifest.images} == {image_id(drop) for drop in drops}
    # The job of the first batch has run where other tests came before.
    for drop in classified[1] + classified[2]:
        record = cloud.record(drop)
        assert record.state is State.CLASSIFIED
        assert sum(prediction.score for prediction in record.predictions) == pytest.approx(1, abs=1e-3)
        assert [news.state for news in cloud.news(drop)] == [State.CLASSIFIED]


def test_inference_rejects_what_is_no_image(cloud: Cloud, call: Call) -> None:
    drop = cloud.put(b"not an image")
    assert call("InferenceFunction", cloud.drop_event(drop)) == NOTHING_TO_RETRY
    assert cloud.record(drop).state is State.REJECTED


def test_inference_ignores_the_test_event_of_s3(call: Call) -> None:
    assert call("InferenceFunction", sample_event("inference-test-event")) == NOTHING_TO_RETRY


def test_job_explains_the_images_of_its_manifest(
    cloud: Cloud, classified: list[list[Drop]], job_of_two: subprocess.CompletedProcess[str]
) -> None:
    assert job_of_two.returncode == 0, job_of_two.stdout + job_of_two.stderr
    for drop in classified[0]:
        record = cloud.record(drop)
        assert record.state is State.EXPLAINED
        assert [heatmap.label for heatmap in record.heatmaps] == [p.label for p in record.predictions[:3]]
        for heatmap in record.heatmaps:
            for key in (heatmap.overlay, heatmap.figure):
                picture = cv2.imdecode(np.frombuffer(cloud.storage.get_artefact(key), np.uint8), cv2.IMREAD_COLOR)
                assert picture.std() > 1
            with np.load(io.BytesIO(cloud.storage.get_artefact(heatmap.maps))) as maps:
                assert maps["mean_abs"].max() > 0
                assert json.loads(str(maps["provenance"]))["label"] == heatmap.label


def failed(cloud: Cloud, number: int) -> Event:
    """The event that tells of the failure of a job."""
    return failed_job(cloud, cloud.manifest_keys()[number], cloud.jobs[number].job_id)


def test_failed_job_leaves_the_images_that_are_explained(
    cloud: Cloud, call: Call, classified: list[list[Drop]], job_of_two: subprocess.CompletedProcess[str]
) -> None:
    assert call("JobEventsFunction", failed(cloud, 0)) == NOTHING_TO_RETRY
    assert {cloud.record(drop).state for drop in classified[0]} == {State.EXPLAINED}


def test_failed_job_fails_its_images(cloud: Cloud, call: Call, classified: list[list[Drop]]) -> None:
    assert call("JobEventsFunction", failed(cloud, 1)) == NOTHING_TO_RETRY
    (drop,) = classified[1]
    record = cloud.record(drop)
    assert record.state is State.FAILED
    assert "OutOfMemoryError" in record.reason


def test_job_without_the_gpu_it_was_promised_says_so(
    cloud: Cloud, run_job: RunJob, classified: list[list[Drop]]
) -> None:
    done = run_job(cloud.jobs[2], REQUIRE_GPU="true")
    assert done.returncode == 2
    assert "promised a GPU" in done.stdout
    (drop,) = classified[2]
    record = cloud.record(drop)
    assert record.state is State.FAILED
    assert "promised a GPU" in record.reason


def test_dead_drop_is_failed(cloud: Cloud, call: Call, radiograph: bytes) -> None:
    drop = cloud.put(radiograph)
    event = cloud.drop_event(drop, sample="job-events-dead-drop")
    assert call("JobEventsFunction", event) == NOTHING_TO_RETRY
    assert cloud.record(drop).state is State.FAILED


def test_sweep_finds_nothing_stuck(call: Call) -> None:
    assert call("JobEventsFunction", sample_event("job-events-sweep")) == NOTHING_TO_RETRY
