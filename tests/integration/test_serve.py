"""`heatdrop serve`, as a person uses it: the AWS CLI, curl's requests, the other commands, and a fuzzer."""

import csv
import json
import os
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
from typing import Any
from urllib.parse import quote

import boto3
import pytest
import requests

from heatdrop.local.cloud import TEMPLATE
from heatdrop.local.running import RunningCloud, find_running
from heatdrop.model.bundle import Bundle

ROOT = TEMPLATE.parent
AWS = shutil.which("aws") or str(ROOT / "build/tools/awscli/bin/aws")


@dataclass
class Served:
    """A running `heatdrop serve`, the folder that it was started in, and what it printed."""

    here: Path
    running: RunningCloud
    printed: str
    process: subprocess.Popen[str]

    @property
    def api(self) -> str:
        return self.running.outputs["ApiUrl"]

    @property
    def bucket(self) -> str:
        return self.running.outputs["InputBucket"]

    def get(self, path: str) -> Any:
        with urllib.request.urlopen(self.api + path, timeout=60) as answer:
            return json.load(answer)

    def post(self, path: str, body: Any) -> Any:
        request = urllib.request.Request(
            self.api + path, json.dumps(body).encode(), {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)

    def wait_for(self, key: str, state: str) -> dict[str, Any]:
        """The image of a key, once it is in a state."""
        deadline = time.monotonic() + 300
        while time.monotonic() < deadline:
            for image in self.get(f"/images?prefix={quote(key)}")["images"]:
                if image["key"] == key and image["state"] == state:
                    return image
            time.sleep(0.5)
        raise AssertionError(f"{key} did not become {state}: {self.get('/images')}")

    def call(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "heatdrop.cli", *arguments],
            capture_output=True,
            text=True,
            cwd=self.here,
            env=clean() | {"COLUMNS": "200"},
        )


def clean() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "MOTO_"))}


@pytest.fixture(scope="module")
def served(small_bundle: Bundle, chest_jpeg: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    here = tmp_path_factory.mktemp("serve")
    shutil.copy(chest_jpeg, here / "chest.jpg")
    log = here / "printed.txt"
    with log.open("w") as printed:
        process = subprocess.Popen(
            [sys.executable, "-m", "heatdrop.cli", "serve", "--port", "0", "--bundle", str(small_bundle.folder)],
            cwd=here,
            env=clean(),
            stdout=printed,
            stderr=printed,
            text=True,
        )
    try:
        deadline = time.monotonic() + 400
        while "Ctrl-C" not in log.read_text():
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.2)
        running = find_running(here / "out")
        assert running is not None
        yield Served(here, running, log.read_text(), process)
    finally:
        process.send_signal(signal.SIGINT)
        code = process.wait(timeout=60)
    assert code == 130, log.read_text()
    assert "Traceback" not in log.read_text()
    assert find_running(here / "out") is None


def test_what_is_printed_can_be_pasted(served: Served) -> None:
    assert served.running.endpoint in served.printed
    assert f"aws s3 cp chest.dcm s3://{served.bucket}/" in served.printed
    assert f"curl '{served.api}/images?state=EXPLAINED'" in served.printed
    assert f"export AWS_ENDPOINT_URL={served.running.endpoint} " in served.printed


@pytest.mark.skipif(not Path(AWS).exists(), reason="the AWS CLI is not installed; `make setup` of the tools does it")
def test_drop_by_the_aws_cli_is_explained_and_listed(served: Served) -> None:
    exported = next(line for line in served.printed.splitlines() if "export " in line)
    command = (
        f"{exported}; {AWS} s3 cp chest.jpg s3://{served.bucket}/ward+1/ && {AWS} s3 ls s3://{served.bucket}/ward+1/"
    )
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, cwd=served.here, env=clean())
    assert done.returncode == 0, done.stderr
    assert "chest.jpg" in done.stdout
    image = served.wait_for("ward+1/chest.jpg", "EXPLAINED")
    heatmap = served.get(f"/images/{image['image_id']}/heatmaps/{image['label']}")
    with urllib.request.urlopen(heatmap["url"]) as answer:
        assert answer.read().startswith(b"\x89PNG")


def test_commands_drop_list_show_and_watch(served: Served) -> None:
    watching = subprocess.Popen(
        [sys.executable, "-m", "heatdrop.cli", "watch", "--local", "--state", "EXPLAINED", "--count", "1", "--json"],
        cwd=served.here,
        env=clean(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert watching.stderr is not None
    assert "Listening" in watching.stderr.readline()
    done = served.call("drop", "chest.jpg", "--prefix", "by-command/", "--json")
    assert done.returncode == 0, done.stderr
    dropped = json.loads(done.stdout)
    news, _ = watching.communicate(timeout=300)
    assert watching.returncode == 0
    assert json.loads(news)["image_id"] == dropped["image_id"]
    assert json.loads(news)["state"] == "EXPLAINED"

    shown = served.call("show", dropped["image_id"], "--json", "--local")
    record = json.loads(shown.stdout)
    assert (record["state"], record["key"]) == ("EXPLAINED", "by-command/chest.jpg")
    shown = served.call("show", dropped["image_id"])
    assert "Research software" in shown.stdout
    (link, *_) = (line.strip() for line in shown.stdout.splitlines() if "overlay.png" in line)
    with urllib.request.urlopen(link) as answer:
        assert answer.read().startswith(b"\x89PNG")

    listed = served.call("results", "--prefix", "by-command/", "--format", "csv")
    (row,) = csv.DictReader(listed.stdout.splitlines())
    assert (row["image_id"], row["label"]) == (dropped["image_id"], record["predictions"][0]["label"])
    assert float(row["score"]) == record["predictions"][0]["score"]
    from_parquet = served.call("results", "--prefix", "by-command/", "--format", "parquet", "--output", "r.parquet")
    assert from_parquet.returncode == 0, from_parquet.stderr
    pyarrow = pytest.importorskip("pyarrow.parquet")
    (entry,) = pyarrow.read_table(served.here / "r.parquet").to_pylist()
    assert entry["image_id"] == dropped["image_id"]
    assert entry["created_at"].isoformat()[:19] == record["created_at"][:19]
    table = served.call("results", "--state", "EXPLAINED")
    assert dropped["image_id"] in table.stdout


def test_upload_link_and_explanation_on_request_go_the_whole_way(served: Served) -> None:
    data = (served.here / "chest.jpg").read_bytes()
    link = served.post("/uploads", {"name": "up.jpg", "size": len(data), "media_type": "image/jpeg"})
    answer = requests.post(link["url"], data=link["fields"], files={"file": data}, timeout=60)
    assert answer.status_code in {200, 201, 204}, answer.text
    image = served.wait_for(link["key"], "EXPLAINED")
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


def test_queue_of_a_watcher_is_gone_afterwards(served: Served) -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "heatdrop.cli", "watch", "--local"],
        cwd=served.here,
        env=clean(),
        stderr=subprocess.PIPE,
        text=True,
    ) as watching:
        assert watching.stderr is not None
        assert "Listening" in watching.stderr.readline()
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


def test_commands_without_a_cloud_say_what_to_do(tmp_path: Path) -> None:
    for command in (("results",), ("watch", "--local"), ("show", "0" * 32)):
        done = subprocess.run(
            [sys.executable, "-m", "heatdrop.cli", *command], capture_output=True, text=True, cwd=tmp_path, env=clean()
        )
        assert done.returncode == 2
        assert "start one, or name a stack with --stack" in done.stderr
        assert "Traceback" not in done.stderr


def test_unknown_image_is_one_sentence(served: Served) -> None:
    done = served.call("show", "0" * 32)
    assert done.returncode == 1
    assert "there is no image" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_page_of_another_name_is_not_let_in(served: Served) -> None:
    request = urllib.request.Request(f"{served.api}/health", headers={"Host": "attacker.example.org"})
    with pytest.raises(urllib.error.HTTPError, match="403"):
        urllib.request.urlopen(request, timeout=30)


def test_fuzzed_requests_are_answered_as_documented(served: Served) -> None:
    """No 5xx, and no status, media type or body that docs/openapi.json does not describe."""
    done = subprocess.run(
        [
            *(
                sys.executable,
                "-m",
                "schemathesis.cli",
                "--config-file",
                str(ROOT / "tests/data/schemathesis.toml"),
                "run",
                str(ROOT / "docs/openapi.json"),
                "--url",
                served.api,
            ),
            *("--max-examples", "15", "--seed", "20261124", "--no-color", "--generation-database", "none"),
            *("--checks", "all", "--exclude-checks", "unsupported_method,ignored_auth,missing_required_header"),
        ],
        capture_output=True,
        text=True,
        cwd=served.here,
        env=clean(),
    )
    assert done.returncode == 0, done.stdout[-6000:]
