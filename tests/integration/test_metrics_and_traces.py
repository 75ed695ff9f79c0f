"""What an operator sees: metrics of the heatmap job and of the backlog, and one id from a drop to its heatmap."""

import io
import json
import logging
from collections import defaultdict
from datetime import UTC, datetime, timedelta
from typing import Any

import boto3
import pytest
from aws_lambda_powertools import Logger
from tests.integration.cloud import Cloud, Context, sample_event

from heatdrop.ids import image_id
from heatdrop.pipeline import heatmaps, ingest
from heatdrop.vocabulary import Drop

ROOT = "1-5759e988-bd862e3fe1be46a994272793"


def metrics_in(printed: str) -> dict[str, list[float]]:
    """The values of each metric in lines of CloudWatch's embedded metric format; other lines do not matter."""
    values: dict[str, list[float]] = defaultdict(list)
    for line in printed.splitlines():
        if not line.startswith('{"_aws"'):
            continue
        found = json.loads(line)
        for directive in found["_aws"]["CloudWatchMetrics"]:
            assert ["service"] in directive["Dimensions"] or found.get("ColdStart")
            for metric in directive["Metrics"]:
                values[metric["Name"]] += found[metric["Name"]]
    return values


@pytest.fixture
def logged(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    """What functions and the job log; each line a JSON object."""
    stream = io.StringIO()
    logger = Logger(service=f"test-{id(stream)}", logger_handler=logging.StreamHandler(stream))
    for module in (ingest, heatmaps):
        monkeypatch.setattr(module, "logger", logger)
    return stream


def test_job_counts_its_images_and_how_long_each_took(
    cloud: Cloud, chest: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    kept, gone, other = (cloud.put(chest) for _ in range(3))
    cloud.infer(kept, gone, other)
    boto3.client("s3").delete_object(Bucket=gone.bucket, Key=gone.key, VersionId=gone.version_id)
    capsys.readouterr()
    cloud.heatmap_job().run(cloud.manifest(kept)[0])
    found = metrics_in(capsys.readouterr().out)
    assert {name: sum(values) for name, values in found.items() if name != "SecondsPerImage"} == {
        "BatchSize": 3,
        "ImagesExplained": 2,
        "ImagesFailed": 1,
    }
    assert len(found["SecondsPerImage"]) == 2
    assert all(0 < seconds < 600 for seconds in found["SecondsPerImage"])


def test_job_that_explains_nothing_again_counts_nothing_twice(
    cloud: Cloud, chest: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    drop = cloud.put(chest)
    cloud.infer(drop)
    cloud.heatmap_job().run(cloud.manifest(drop)[0])
    capsys.readouterr()
    cloud.heatmap_job().run(cloud.manifest(drop)[0])
    assert metrics_in(capsys.readouterr().out).keys() == {"BatchSize"}


def test_sweep_measures_how_long_the_oldest_image_has_waited_for_its_heatmaps(
    cloud: Cloud, chest: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    """A job that runs, or waits behind others, is no reason not to: a backlog that grows must raise an alarm."""
    drop = cloud.put(chest)
    cloud.infer(drop)
    put_back(cloud, drop, timedelta(days=3))
    assert sum(oldest(cloud, capsys)) == pytest.approx(3 * 24 * 3600, abs=600)
    cloud.heatmap_job().run(cloud.manifest(drop)[0])
    assert sum(oldest(cloud, capsys)) < 24 * 3600


def put_back(cloud: Cloud, drop: Drop, ago: timedelta) -> None:
    """Let an image have been dropped some time ago."""
    moment = (datetime.now(UTC) - ago).isoformat(timespec="milliseconds")
    boto3.resource("dynamodb").Table(cloud.deployment.outputs["ImagesTable"]).update_item(
        Key={"image_id": image_id(drop)},
        UpdateExpression="SET listed_at = :listed, created_at = :moment",
        ExpressionAttributeValues={":listed": f"{moment}#{image_id(drop)}", ":moment": moment},
    )


def oldest(cloud: Cloud, capsys: pytest.CaptureFixture[str]) -> list[float]:
    capsys.readouterr()
    cloud.handlers["job_events"](sample_event("job-events-sweep"), Context())
    return metrics_in(capsys.readouterr().out)["OldestOpenImageSeconds"]


def test_one_id_and_one_trace_lead_from_the_drop_to_the_heatmap(
    cloud: Cloud, chest: bytes, logged: io.StringIO
) -> None:
    drop = cloud.put(chest)
    event = cloud.drop_event(drop)
    event["Records"][0]["attributes"]["AWSTraceHeader"] = f"Root={ROOT};Parent=53995c3f42cd8ad8;Sampled=1"
    cloud.handlers["inference"](event, Context())
    (entry,) = cloud.manifest(drop)[1].images
    assert entry.trace_header == event["Records"][0]["attributes"]["AWSTraceHeader"]
    cloud.heatmap_job().run(cloud.manifest(drop)[0])
    lines: list[dict[str, Any]] = [json.loads(line) for line in logged.getvalue().splitlines()]
    traced = [line["message"] for line in lines if line.get("trace_id") == ROOT]
    assert traced == ["submitted", "explained"]
    assert [line["message"] for line in lines if line.get("correlation_id") == image_id(drop)] == traced
    (loaded,) = (line for line in lines if line["message"] == "model loaded")
    assert loaded["correlation_id"] == cloud.record(drop).manifest_id


def test_drop_without_a_trace_has_its_id_all_the_same(cloud: Cloud, logged: io.StringIO) -> None:
    drop = cloud.put(b"not an image")
    event = cloud.drop_event(drop)
    event["Records"][0]["attributes"].pop("AWSTraceHeader", None)
    cloud.handlers["inference"](event, Context())
    (line,) = (json.loads(line) for line in logged.getvalue().splitlines())
    assert (line["message"], line["correlation_id"]) == ("rejected", image_id(drop))
