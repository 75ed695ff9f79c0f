"""A heatmap job whose host goes away, as real processes: nothing half done stays, and the retry does what is left."""

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event
from typing import Any
from unittest import mock

import boto3
import pytest
from moto.s3.models import S3Backend
from tests.integration.cloud import Cloud

from heatdrop.aws.jobs import RETRY_EXIT_CODE
from heatdrop.ids import image_id
from heatdrop.local.moto_cloud import MotoCloud
from heatdrop.vocabulary import Drop, State

PATIENCE = 600

pytestmark = pytest.mark.slow


@pytest.fixture
def classified(cloud: Cloud, chest: bytes) -> list[Drop]:
    drops = [cloud.put(chest) for _ in range(4)]
    cloud.infer(*drops)
    cloud.news(*drops)
    return drops


Start = Callable[[list[Drop]], subprocess.Popen[bytes]]


@pytest.fixture
def start(cloud: Cloud, local_aws: MotoCloud, log: Path) -> Iterator[Start]:
    """Run the job's own command in its own folder, with its deployed environment."""
    (code,) = cloud.deployment.job_code.values()
    started = []

    def start_job(drops: list[Drop]) -> subprocess.Popen[bytes]:
        key, _ = cloud.manifest(drops[0])
        with log.open("ab") as output:
            process = subprocess.Popen(
                [sys.executable, "job.py", "--manifest", key],
                cwd=code,
                env=local_aws.child_environment(cloud.job_role_arn) | cloud.job_environment,
                stdout=output,
                stderr=output,
            )
        started.append(process)
        return process

    yield start_job
    for process in started:
        process.kill()
        process.wait()


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "job.log"


def states(cloud: Cloud, drops: list[Drop]) -> list[State]:
    return [cloud.record(drop).state for drop in drops]


@dataclass(frozen=True)
class Upload:
    """The upload of an image's second artefact, which S3 does not answer until it is told to."""

    begun: Event = field(default_factory=Event)
    answered: Event = field(default_factory=Event)


@contextmanager
def held_upload(image: str) -> Iterator[Upload]:
    """Let S3 keep whoever stores the artefacts of ``image`` waiting at the second of them."""
    upload, seen = Upload(), 0
    put_object = S3Backend.put_object

    def put(self: S3Backend, bucket: str, key: str, *args: Any, **kwargs: Any) -> Any:
        nonlocal seen
        if key.startswith(f"images/{image}/"):
            seen += 1
            if seen == 2:
                upload.begun.set()
                assert upload.answered.wait(PATIENCE)
        return put_object(self, bucket, key, *args, **kwargs)

    with mock.patch.object(S3Backend, "put_object", put):
        try:
            yield upload
        finally:
            upload.answered.set()


def wait_for(arrived: Callable[[], bool], process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + PATIENCE
    while not arrived():
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.05)


def stored(cloud: Cloud, drops: list[Drop]) -> dict[str, tuple[bytes, str]]:
    """Key, content and time of every artefact of some drops."""
    bucket = boto3.resource("s3").Bucket(cloud.deployment.outputs["ResultsBucket"])
    return {
        o.key: (o.get()["Body"].read(), str(o.last_modified))
        for drop in drops
        for o in bucket.objects.filter(Prefix=f"images/{image_id(drop)}/")
    }


@pytest.mark.parametrize("kill", [signal.SIGTERM, signal.SIGKILL])
def test_retry_of_a_killed_job_renders_only_what_is_missing(
    cloud: Cloud, classified: list[Drop], start: Start, log: Path, kill: signal.Signals
) -> None:
    names = [entry.image_id for entry in cloud.manifest(classified[0])[1].images]
    with held_upload(names[1]) as upload:
        process = start(classified)
        wait_for(lambda: upload.begun.is_set() and State.EXPLAINED in states(cloud, classified), process, log)
        process.send_signal(kill)
        if kill is signal.SIGKILL:
            process.wait(PATIENCE)
        upload.answered.set()
        code = process.wait(PATIENCE)
    done = [drop for drop in classified if cloud.record(drop).state is State.EXPLAINED]
    finished = {image_id(drop) for drop in done}
    if kill is signal.SIGTERM:
        assert code == RETRY_EXIT_CODE, log.read_text()
        # What is being stored is whole, and so is the next if the work on it had begun. The last was decoded at most.
        assert set(names[:2]) <= finished <= set(names[:3])
        assert {key.split("/")[1] for key in stored(cloud, classified)} == finished
    else:
        assert finished == {names[0]}
    before = {image_id(drop): (cloud.record(drop), stored(cloud, [drop])) for drop in done}
    assert start(classified).wait(PATIENCE) == 0, log.read_text()
    assert set(states(cloud, classified)) == {State.EXPLAINED}
    for drop in done:
        record, artefacts = before[image_id(drop)]
        assert stored(cloud, [drop]) == artefacts
        assert cloud.record(drop).model_copy(update={"announced": record.announced}) == record
    # One image four times: equal maps, whether they were made before the kill or after it.
    maps = [{heatmap.maps.split("/")[-1] for heatmap in cloud.record(drop).heatmaps} for drop in classified]
    assert maps == [maps[0]] * len(classified)
    contents = [sorted(content for content, _ in stored(cloud, [drop]).values()) for drop in classified]
    assert contents == [contents[0]] * len(classified)
    told = [(news.image_id, news.state) for news in cloud.news(*classified)]
    assert set(told) == {(image_id(drop), State.EXPLAINED) for drop in classified}


def test_job_that_is_told_to_stop_while_it_still_starts_is_tried_again(
    cloud: Cloud, classified: list[Drop], start: Start, log: Path
) -> None:
    """Libraries take seconds to import, NumPy among the first, and Batch retries no job that ends by a signal."""
    process = start(classified)
    deadline = time.monotonic() + PATIENCE
    while "numpy" not in Path(f"/proc/{process.pid}/maps").read_text():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    assert process.wait(PATIENCE) == RETRY_EXIT_CODE, log.read_text()
    assert set(states(cloud, classified)) == {State.CLASSIFIED}
    assert "Traceback" not in log.read_text()
