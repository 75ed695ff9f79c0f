"""Sends many images through a local cloud; measures throughput, queues and memory, and counts what was lost."""

import itertools
import json
import resource
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import mean
from typing import Any

import boto3

from heatdrop.aws.image_table import ImageTable
from heatdrop.aws.item_table import ItemTable
from heatdrop.aws.record import Record
from heatdrop.aws.storage import put_drop
from heatdrop.aws.subscription import Subscription
from heatdrop.bench.report import machine
from heatdrop.ids import image_id
from heatdrop.local.cloud import LocalCloud
from heatdrop.local.send import parameters_of
from heatdrop.model.bundle import Bundle
from heatdrop.vocabulary import ExplanationSettings, State

Figures = dict[str, Any]

QUEUES = ("IngestQueue", "JobEventsQueue", "JobEventsDeadLetters")
SAMPLE_SECONDS = 1.0


@dataclass
class Load(threading.Thread):
    """A thread that records queue lengths and memory once a second while a cloud works."""

    cloud: LocalCloud
    began: float
    queues: list[tuple[float, dict[str, int]]] = field(default_factory=list)
    memory: list[tuple[float, dict[str, float]]] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__(name="load", daemon=True)
        self._stopping = threading.Event()
        self._sqs = boto3.client("sqs")

    __hash__ = threading.Thread.__hash__

    def run(self) -> None:
        """Record until stopped."""
        while not self._stopping.wait(SAMPLE_SECONDS):
            at = round(time.monotonic() - self.began, 1)
            depths = {name: self._depth(self.cloud.deployment.outputs[name]) for name in QUEUES}
            self.queues.append((at, depths | {"heatmap jobs": self.cloud.waiting_jobs}))
            processes = self.cloud.processes()
            self.memory.append((at, {name: held_mb(pid) for name, pid in processes.items()}))

    def stop(self) -> None:
        """Stop recording."""
        self._stopping.set()
        self.join()

    def _depth(self, url: str) -> int:
        counts = self._sqs.get_queue_attributes(
            QueueUrl=url, AttributeNames=["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        )["Attributes"]
        return sum(map(int, counts.values()))


def held_mb(pid: int) -> float:
    """Resident memory of a process and its children in MB; 0 if it has ended."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return 0.0
    own = next((int(line.split()[1]) / 1000 for line in status.splitlines() if line.startswith("VmRSS")), 0.0)
    return round(own + sum(held_mb(int(child)) for child in children), 1)


def load_test(
    files: Sequence[Path],
    count: int,
    bundle: Bundle,
    settings: ExplanationSettings,
    logs: Path,
    progress: Callable[[str, int], None] = lambda stage, done: None,
) -> Figures:
    """Drop ``count`` images, going through ``files`` again and again, and wait until each has its final state."""
    before = _cpu_seconds()
    told: dict[State, list[float]] = {State.CLASSIFIED: [], State.EXPLAINED: []}
    with LocalCloud(parameters_of(bundle, settings), logs) as cloud:
        outputs = cloud.deployment.outputs
        subscription = Subscription(outputs["NotificationsTopic"])
        began = time.monotonic()
        load = Load(cloud, began)
        load.start()
        s3, turns = boto3.client("s3"), itertools.cycle(files)
        drops = [
            put_drop(s3, outputs["InputBucket"], f"bench/{number}/{file.name}", file.read_bytes())
            for number, file in zip(range(count), turns, strict=False)
        ]
        dropped = time.monotonic() - began
        progress("dropped", count)
        for news in subscription.until_final({image_id(drop) for drop in drops}, cloud.check):
            if news.state in told:
                told[news.state].append(time.monotonic() - began)
                progress(news.state.lower(), len(told[news.state]))
        load.stop()
        images = ImageTable(ItemTable(outputs["ImagesTable"]))
        records = [images.get(image_id(drop)) for drop in drops]
        stored = _artefacts(outputs["ResultsBucket"])
    return {
        "images": count,
        "images_per_second": {"dropped": count / dropped}
        | {state.lower(): len(times) / times[-1] for state, times in told.items() if times},
        "cpu_seconds_per_image": (_cpu_seconds() - before) / count,
        "lost": sum(record is None or not _whole(record, stored) for record in records),
        "states": {state: sum(r is not None and r.state is state for r in records) for state in State},
        "timings_ms": _timings([record for record in records if record]),
        "queues": load.queues,
        "memory_mb": load.memory,
        "told": {state.lower(): [round(at, 2) for at in times] for state, times in told.items()},
    }


def compare(few: Figures, many: Figures) -> Figures:
    """Both runs, and by what share the processor time of an image grew from the small to the large one."""
    growth = many["cpu_seconds_per_image"] / few["cpu_seconds_per_image"] - 1
    return {"machine": machine(), "few": few, "many": many, "cost_growth": growth}


def _artefacts(bucket: str) -> set[str]:
    pages = boto3.client("s3").get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix="images/")
    return {found["Key"] for page in pages for found in page.get("Contents", [])}


def _whole(record: Record, stored: set[str]) -> bool:
    """Whether an image is final and every artefact that its record names is stored."""
    named = record.artefacts
    return record.state.final and named <= stored and bool(named) == (record.state is State.EXPLAINED)


def _timings(records: Sequence[Record]) -> Figures:
    """Mean milliseconds of each step for the first and the last tenth of the images, in the order of their end."""
    timed = sorted((r for r in records if r.state is State.EXPLAINED), key=lambda record: record.updated_at)
    tenth = max(1, len(timed) // 10)
    steps = sorted({step for record in timed for step in record.timings_ms})
    return {
        name: {step: round(mean(r.timings_ms.get(step, 0.0) for r in some), 1) for step in steps}
        for name, some in (("first_tenth", timed[:tenth]), ("last_tenth", timed[-tenth:]))
        if some
    }


def _cpu_seconds() -> float:
    """Processor time of this process and of its ended children."""
    usages = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def write(figures: Figures, folder: Path) -> tuple[Path, Path]:
    """Write ``pipeline.json``, and ``pipeline.png``: stages, queues and memory over time."""
    from matplotlib.figure import Figure

    folder.mkdir(parents=True, exist_ok=True)
    report, picture = folder / "pipeline.json", folder / "pipeline.png"
    report.write_text(json.dumps(figures, indent=2) + "\n")
    many = figures["many"]
    canvas = Figure(figsize=(16, 4.5), layout="constrained")
    stages, queues, memory = canvas.subplots(1, 3)
    for stage, times in many["told"].items():
        stages.step(times, range(1, len(times) + 1), where="post", label=stage)
    for axes, name in ((queues, "queues"), (memory, "memory_mb")):
        series = sorted({key for _, values in many[name] for key in values})
        for key in series:
            axes.plot([at for at, _ in many[name]], [values.get(key, 0) for _, values in many[name]], label=key)
    for axes, title in ((stages, "images through a stage"), (queues, "waiting"), (memory, "memory held, MB")):
        axes.set_title(title)
        axes.set_xlabel("s")
        axes.set_ylim(bottom=0)
        if axes.lines:
            axes.legend(fontsize=8)
    about = figures["machine"]
    canvas.suptitle(f"{many['images']} images, {about['processor']}, {about['cores']} cores", fontsize=10)
    canvas.savefig(picture, dpi=100)
    return report, picture
