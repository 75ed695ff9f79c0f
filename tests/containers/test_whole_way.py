"""The way of one image through the built containers: real image in, checked artefacts out."""

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from moto.batch.models import Job
from tests.containers.engine import run_in
from tests.integration.cloud import Cloud, Event, sample_event

from heatdrop.vocabulary import Drop, State

pytestmark = pytest.mark.containers

Call = Callable[[str, Event], Any]
NOTHING_TO_RETRY = {"batchItemFailures": []}


@pytest.fixture(scope="session")
def radiograph(chest_dicom: Path) -> bytes:
    """A real chest radiograph, JPEG 2000 in DICOM."""
    return chest_dicom.read_bytes()


@pytest.fixture(scope="module")
def classified(cloud: Cloud, radiograph: bytes) -> list[Drop]:
    """Two drops: one is explained, one is failed. The first test classifies them."""
    return [cloud.put(radiograph, "ward 3/chest+x-ray.dcm"), cloud.put(radiograph)]


def test_inference_classifies_a_batch_and_submits_one_job(cloud: Cloud, call: Call, classified: list[Drop]) -> None:
    for drop in classified:
        assert call("InferenceFunction", cloud.drop_event(drop)) == NOTHING_TO_RETRY
        record = cloud.record(drop)
        assert record.state is State.CLASSIFIED
        assert sum(prediction.score for prediction in record.predictions) == pytest.approx(1, abs=1e-3)
        assert [news.state for news in cloud.news(drop)] == [State.CLASSIFIED]
    assert len(cloud.jobs) == len(classified)


def test_inference_rejects_what_is_no_image(cloud: Cloud, call: Call) -> None:
    drop = cloud.put(b"not an image")
    assert call("InferenceFunction", cloud.drop_event(drop)) == NOTHING_TO_RETRY
    assert cloud.record(drop).state is State.REJECTED


def test_inference_ignores_the_test_event_of_s3(call: Call) -> None:
    assert call("InferenceFunction", sample_event("inference-test-event")) == NOTHING_TO_RETRY


def run_job(image: str, cloud: Cloud, job: Job, environment: dict[str, str]) -> Any:
    """What Batch does: the deployed command with the job's parameters, in the deployed environment."""
    command = job.describe()["container"]["command"]
    command = [job.parameters["manifest"] if word == "Ref::manifest" else word for word in command]
    return run_in(image, *command, env=cloud.job_environment | environment)


def test_job_without_the_gpu_it_was_promised_says_so(
    heatmaps_image: str, cloud: Cloud, in_cloud: dict[str, str], classified: list[Drop]
) -> None:
    done = run_job(heatmaps_image, cloud, cloud.jobs[0], in_cloud | {"REQUIRE_GPU": "true"})
    assert done.returncode == 2
    assert "promised a GPU" in done.stdout
    assert cloud.record(classified[0]).state is State.CLASSIFIED


def test_job_explains_the_images_of_its_manifest(
    heatmaps_image: str, cloud: Cloud, in_cloud: dict[str, str], classified: list[Drop]
) -> None:
    done = run_job(heatmaps_image, cloud, cloud.jobs[0], in_cloud)
    assert done.returncode == 0, done.stdout + done.stderr
    record = cloud.record(classified[0])
    assert record.state is State.EXPLAINED
    assert [heatmap.label for heatmap in record.heatmaps] == [p.label for p in record.predictions[:3]]
    for heatmap in record.heatmaps:
        for key in (heatmap.overlay, heatmap.figure):
            picture = cv2.imdecode(np.frombuffer(cloud.storage.get_artefact(key), np.uint8), cv2.IMREAD_COLOR)
            assert picture.std() > 1
        with np.load(io.BytesIO(cloud.storage.get_artefact(heatmap.maps))) as maps:
            assert maps["mean_abs"].max() > 0
            assert json.loads(str(maps["provenance"]))["label"] == heatmap.label


def test_failed_job_fails_its_images_and_leaves_those_that_are_explained(
    cloud: Cloud, call: Call, classified: list[Drop]
) -> None:
    event = sample_event("job-events-failed-job")
    (message,) = event["Records"]
    for number, expected in enumerate((State.EXPLAINED, State.FAILED)):
        body = json.loads(message["body"])
        body["detail"] |= {"jobId": cloud.jobs[number].job_id, "parameters": dict(cloud.jobs[number].parameters)}
        failed = {"Records": [message | {"body": json.dumps(body)}]}
        assert call("JobEventsFunction", failed) == NOTHING_TO_RETRY
        assert cloud.record(classified[number]).state is expected


def test_dead_drop_is_failed(cloud: Cloud, call: Call, radiograph: bytes) -> None:
    drop = cloud.put(radiograph)
    event = cloud.drop_event(drop, sample="job-events-dead-drop")
    assert call("JobEventsFunction", event) == NOTHING_TO_RETRY
    assert cloud.record(drop).state is State.FAILED


def test_sweep_finds_nothing_stuck(call: Call) -> None:
    assert call("JobEventsFunction", sample_event("job-events-sweep")) == NOTHING_TO_RETRY
