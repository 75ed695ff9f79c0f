"""The API as it is built: its function in Lambda's container, behind `sam local start-api`, before real records.

Nobody is asked for a signature here: the SAM CLI leaves IAM's authorisation out.
"""

import subprocess
from pathlib import Path
from urllib.parse import quote

import boto3
import cv2
import numpy as np
import pytest
import requests
from tests.containers.conftest import Call
from tests.containers.engine import LAMBDA_BASE, run_in
from tests.integration.cloud import Cloud, sample_event

from heatdrop.ids import image_id
from heatdrop.vocabulary import Drop, State

pytestmark = pytest.mark.containers


@pytest.fixture(scope="module")
def explained(cloud: Cloud, classified: list[list[Drop]], job_of_two: subprocess.CompletedProcess[str]) -> Drop:
    """An image that went the whole way."""
    return classified[0][0]


def test_api_answers(api: str) -> None:
    answer = requests.get(f"{api}/health", timeout=120)
    assert answer.status_code == 200, answer.text
    assert answer.json()["version"]


def test_images_are_listed_and_told_one_by_one(api: str, cloud: Cloud, explained: Drop) -> None:
    page = requests.get(f"{api}/images", {"state": "EXPLAINED", "prefix": "ward 3/"}, timeout=120).json()
    (listed,) = page["images"]
    assert listed["image_id"] == image_id(explained)
    told = requests.get(f"{api}/images/{listed['image_id']}", timeout=120).json()
    record = cloud.record(explained)
    assert (told["state"], told["key"]) == ("EXPLAINED", explained.key)
    assert told["predictions"] == [p.model_dump() for p in record.predictions]
    assert told["heatmaps"] == [h.model_dump() for h in record.heatmaps]


def test_link_leads_to_the_heatmap(api: str, cloud: Cloud, explained: Drop) -> None:
    heatmap = cloud.record(explained).heatmaps[0]
    path = f"/images/{image_id(explained)}/heatmaps/{quote(heatmap.label)}"
    link = requests.get(api + path, timeout=120).json()
    overlay = requests.get(link["url"], timeout=120).content
    assert overlay == cloud.storage.get_artefact(heatmap.overlay)
    assert cv2.imdecode(np.frombuffer(overlay, np.uint8), cv2.IMREAD_COLOR).std() > 1


def test_image_that_is_not_there_is_a_problem_document(api: str) -> None:
    answer = requests.get(f"{api}/images/{'0' * 32}", timeout=120)
    assert answer.status_code == 404
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert "there is no image" in answer.json()["detail"]


def test_upload_by_a_link_is_a_drop_like_any_other(api: str, cloud: Cloud, call: Call, radiograph: bytes) -> None:
    wanted = {"name": "chest.dcm", "size": len(radiograph), "media_type": "application/dicom"}
    answer = requests.post(f"{api}/uploads", json=wanted, timeout=120)
    assert answer.status_code == 201, answer.text
    link = answer.json()
    sent = requests.post(link["url"], link["fields"], files={"file": radiograph}, timeout=120)
    assert sent.ok, sent.text
    found = boto3.client("s3").head_object(Bucket=cloud.input_bucket, Key=link["key"])
    drop = Drop(
        bucket=cloud.input_bucket,
        key=link["key"],
        version_id=found["VersionId"],
        etag=found["ETag"].strip('"'),
        size=found["ContentLength"],
    )
    call("InferenceFunction", cloud.drop_event(drop))
    assert cloud.record(drop).state is State.CLASSIFIED


def test_sample_event_is_answered(call: Call, explained: Drop) -> None:
    answer = call("ApiFunction", sample_event("api"))
    assert answer["statusCode"] == 200
    assert image_id(explained) in answer["body"]


def test_function_and_layer_bring_all_they_import_and_nothing_that_only_images_need(built: Path) -> None:
    script = """
import sys
import heatdrop.api.routes, heatdrop.api.service
print(sorted({"numpy", "cv2", "tensorflow", "ai_edge_litert", "pydicom"} & set(sys.modules)))
print(heatdrop.api.routes.__file__)
"""
    mounts = ("--volume", f"{built / 'ApiFunction'}:/var/task:ro", "--volume", f"{built / 'HeatdropLayer'}:/opt:ro")
    done = run_in(
        LAMBDA_BASE, "python", "-c", script, env={"PYTHONPATH": "/var/task:/opt/python:/var/runtime"}, options=mounts
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["[]", "/opt/python/heatdrop/api/routes.py"]
    assert [file.name for file in (built / "ApiFunction").iterdir()] == ["app.py"]
