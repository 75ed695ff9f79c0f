"""`heatdrop serve`, as a person uses it: the AWS CLI, curl's requests, and the other commands."""

import csv
import io
import json
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

import boto3
import cv2
import numpy as np
import pydicom
import pytest
import requests
from pydicom.uid import SecondaryCaptureImageStorage
from tests.integration.served import Done, Served, clean, serve

from heatdrop import cli
from heatdrop.model.bundle import Bundle
from heatdrop.project import TEMPLATE

pytestmark = pytest.mark.slow

AWS = shutil.which("aws") or str(TEMPLATE.parent / "build/tools/awscli/bin/aws")


@pytest.fixture(scope="module")
def served(
    small_bundle: Bundle, chest_jpeg: Path, chest_dicom: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Served]:
    here = tmp_path_factory.mktemp("serve")
    shutil.copy(chest_jpeg, here / "chest.jpg")
    shutil.copy(chest_dicom, here / "chest.dcm")
    with serve(here, "--dicom", "--samples", "2", "--bundle", str(small_bundle.folder)) as served:
        yield served


@dataclass(frozen=True)
class Dropped:
    """What was dropped by the AWS CLI, by a command and through an upload link, and what was heard of it."""

    by_aws: Done | None
    by_command: Done
    uploaded: str
    watched: Done


@pytest.fixture(scope="module")
def dropped(served: Served) -> Dropped:
    """All at once, so that few jobs are started; every image is explained."""
    has_aws = Path(AWS).exists()
    watching = served.watch("--local", "--state", "EXPLAINED", "--count", "3" if has_aws else "2", "--json")
    command = served.start("drop", "chest.dcm", "--prefix", "by-command/", "--json")
    exported = next(line for line in served.printed.splitlines() if "export " in line)
    place = f"s3://{served.bucket}/ward+1/"
    aws = subprocess.Popen(
        ["sh", "-c", f"{exported}; {AWS} s3 cp chest.jpg {place} && {AWS} s3 ls {place}"],
        cwd=served.here,
        env=clean(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    data = (served.here / "chest.jpg").read_bytes()
    link = served.post("/uploads", {"name": "up.jpg", "size": len(data), "media_type": "image/jpeg"})
    answer = requests.post(link["url"], data=link["fields"], files={"file": data}, timeout=60)
    assert answer.status_code in {200, 201, 204}, answer.text
    by_aws = Done.of(aws)
    return Dropped(by_aws if has_aws else None, Done.of(command), link["key"], Done.of(watching))


def test_what_is_printed_can_be_pasted(served: Served) -> None:
    assert served.running.endpoint in served.printed
    assert f"aws s3 cp chest.dcm s3://{served.bucket}/" in served.printed
    assert f"curl '{served.api}/images?state=EXPLAINED'" in served.printed
    assert f"export AWS_ENDPOINT_URL={served.running.endpoint} " in served.printed


@pytest.mark.skipif(not Path(AWS).exists(), reason="the AWS CLI is not installed; `make test` does it")
def test_drop_by_the_aws_cli_is_explained_and_listed(served: Served, dropped: Dropped) -> None:
    assert dropped.by_aws is not None
    assert dropped.by_aws.code == 0, dropped.by_aws.err
    assert "chest.jpg" in dropped.by_aws.out
    image = served.wait_for("ward+1/chest.jpg", "EXPLAINED")
    heatmap = served.get(f"/images/{image['image_id']}/heatmaps/{image['label']}")
    with urllib.request.urlopen(heatmap["url"]) as answer:
        assert answer.read().startswith(b"\x89PNG")


def test_commands_drop_list_show_and_watch(served: Served, dropped: Dropped) -> None:
    assert dropped.by_command.code == 0, dropped.by_command.err
    image_id = json.loads(dropped.by_command.out)["image_id"]
    assert dropped.watched.code == 0
    (news,) = (n for n in map(json.loads, dropped.watched.out.splitlines()) if n["image_id"] == image_id)
    assert news["state"] == "EXPLAINED"

    record = json.loads(served.call("show", image_id, "--json", "--local").out)
    assert (record["state"], record["key"]) == ("EXPLAINED", "by-command/chest.dcm")
    best = record["predictions"][0]
    listed = served.call("results", "--prefix", "by-command/", "--format", "csv")
    (row,) = csv.DictReader(listed.out.splitlines())
    assert (row["image_id"], row["label"], float(row["score"])) == (image_id, best["label"], best["score"])
    from_parquet = served.call("results", "--prefix", "by-command/", "--format", "parquet", "--output", "r.parquet")
    assert from_parquet.code == 0, from_parquet.err
    pyarrow = pytest.importorskip("pyarrow.parquet")
    (entry,) = pyarrow.read_table(served.here / "r.parquet").to_pylist()
    assert entry["image_id"] == image_id
    assert entry["created_at"].isoformat()[:19] == record["created_at"][:19]
    table = served.call("results", "--state", "EXPLAINED")
    assert image_id in table.out


def test_heatmaps_of_a_dicom_come_back_as_dicom_that_belongs_to_its_series(
    served: Served, dropped: Dropped, chest_dicom: Path
) -> None:
    image_id = json.loads(dropped.by_command.out)["image_id"]
    shown = served.call("show", image_id).out
    assert "Research software" in shown
    assert "not measured" in shown
    links = [line.split()[-1] for line in shown.splitlines() if "http://" in line]
    assert [link.partition("?")[0].rpartition(".")[2] for link in links] == ["png", "dcm"] * 3
    with urllib.request.urlopen(links[0]) as answer:
        assert answer.read().startswith(b"\x89PNG")
    with urllib.request.urlopen(links[1]) as answer:
        made = pydicom.dcmread(io.BytesIO(answer.read()))
    source = pydicom.dcmread(chest_dicom)
    assert made.SOPClassUID == SecondaryCaptureImageStorage
    assert (made.PatientID, made.StudyInstanceUID) == (source.PatientID, source.StudyInstanceUID)
    (series,) = made.ReferencedSeriesSequence
    assert series.SeriesInstanceUID == source.SeriesInstanceUID != made.SeriesInstanceUID
    assert series.ReferencedInstanceSequence[0].ReferencedSOPInstanceUID == source.SOPInstanceUID
    record = served.get(f"/images/{image_id}")
    with urllib.request.urlopen(links[0]) as answer:
        overlay = cv2.imdecode(np.frombuffer(answer.read(), np.uint8), cv2.IMREAD_COLOR)
    assert np.array_equal(made.pixel_array, cv2.cvtColor(overlay, cv2.COLOR_BGR2RGB))
    assert unquote(urlsplit(links[1]).path).endswith("/" + record["heatmaps"][0]["dicom"])
    jpeg = served.wait_for(dropped.uploaded, "EXPLAINED")
    assert {heatmap["dicom"] for heatmap in served.get(f"/images/{jpeg['image_id']}")["heatmaps"]} == {None}


def test_upload_link_and_explanation_on_request_go_the_whole_way(served: Served, dropped: Dropped) -> None:
    image = served.wait_for(dropped.uploaded, "EXPLAINED")
    asked = served.post(f"/images/{image['image_id']}/explanations", {"method": "gradcam"})
    assert asked["state"] == "RECEIVED"
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline:
        made = served.get(f"/images/{image['image_id']}")["explanations"][asked["explanation_id"]]
        if made["state"] != "RECEIVED":
            break
        time.sleep(0.5)
    assert (made["state"], made["reason"]) == ("EXPLAINED", None)
    assert made["heatmaps"][0]["maps"].split("/")[3] == asked["explanation_id"]


def test_acceptance_run_passes_every_step_and_leaves_nothing_behind(served: Served, dropped: Dropped) -> None:
    done = served.call("bench", "acceptance", "chest.jpg", "--local", "--patience", "300", "--json")
    steps = [json.loads(line) for line in done.out.splitlines()]
    assert done.code == 0, done.out + done.err
    assert {step["name"]: step["passed"] for step in steps} == {
        "doctor": True,
        "drop": True,
        "links": True,
        "explanation on request": True,
        "upgrade of the model": None,  # a local cloud has one bundle for as long as it runs
        "redrive": True,
        "erase": True,
    }
    assert served.get("/images?prefix=acceptance/")["images"] == []


def test_queue_of_a_watcher_is_gone_afterwards(served: Served) -> None:
    with served.watch("--local") as watching:
        watching.send_signal(signal.SIGINT)
        assert watching.wait(timeout=30) == 130
    local = {
        "endpoint_url": served.running.endpoint,
        "region_name": served.running.region,
        "aws_access_key_id": "local",
        "aws_secret_access_key": "local",
    }
    queues = boto3.client("sqs", **local).list_queues(QueueNamePrefix="heatdrop-").get("QueueUrls", [])
    assert not [url for url in queues if len(url.rpartition("/")[2]) == len("heatdrop-") + 32]
    topic = served.running.outputs["NotificationsTopic"]
    assert boto3.client("sns", **local).list_subscriptions_by_topic(TopicArn=topic)["Subscriptions"] == []


def test_viewer_of_a_cloud_answers_those_who_have_its_link(served: Served) -> None:
    with served.start("view", "--local", "--no-browser", "--json") as viewing, requests.Session() as browser:
        assert viewing.stdout is not None
        link = json.loads(viewing.stdout.readline())["viewer"]
        health = f"{link.partition('/?')[0]}/api/health"
        assert browser.get(health, timeout=30).status_code == 403
        assert "not a medical device" in browser.get(link, timeout=30).text
        assert browser.get(health, timeout=30).json()["status"] == "ok"
        viewing.send_signal(signal.SIGINT)
        assert viewing.wait(timeout=30) == 130


@pytest.mark.parametrize("command", [("results",), ("watch", "--local"), ("show", "0" * 32)], ids=lambda c: c[0])
def test_command_without_a_cloud_says_what_to_do(
    command: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["heatdrop", *command])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 2
    (said,) = capsys.readouterr().err.splitlines()
    assert said.startswith("heatdrop: ")
    assert "start one, or name a stack with --stack" in said


def test_unknown_image_is_one_sentence(served: Served) -> None:
    done = served.call("show", "0" * 32)
    assert done.code == 1
    assert "there is no image" in done.err
    assert len(done.err.splitlines()) == 1


def test_page_of_another_name_is_not_let_in(served: Served) -> None:
    request = urllib.request.Request(f"{served.api}/health", headers={"Host": "attacker.example.org"})
    with pytest.raises(urllib.error.HTTPError, match="403"):
        urllib.request.urlopen(request, timeout=30)
