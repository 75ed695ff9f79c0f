"""From a fresh process to the first prediction: LiteRT beside TensorFlow; and what one warm worker gets through."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from heatdrop import images
from heatdrop.bench.first_prediction import ENGINES
from heatdrop.classifier import Classifier
from heatdrop.errors import HeatdropError
from heatdrop.model.bundle import Bundle


class BenchFailed(HeatdropError):
    """A process that was to be measured did not do its work."""


@dataclass(frozen=True)
class ColdStart:
    """Medians over the rounds of one engine."""

    seconds: float
    peak_mb: float
    label: str
    score: float


@dataclass(frozen=True)
class Throughput:
    """One warm worker with some threads: images decoded and predicted in a second."""

    threads: int
    images_per_second: float


@dataclass(frozen=True)
class ColdStartReport:
    """Both engines side by side, and the throughput of the first."""

    litert: ColdStart
    keras: ColdStart
    throughput: tuple[Throughput, ...]
    rounds: int
    cpus: int
    load_before: float
    """The machine's load average over the minute before; figures of a busy machine are not worth much."""

    @property
    def times_faster(self) -> float:
        """How many times sooner LiteRT's first prediction is there."""
        return self.keras.seconds / self.litert.seconds


def cold_start(
    bundle: Bundle,
    image: Path,
    rounds: int = 5,
    batch: int = 20,
    progress: Callable[[str], None] = lambda step: None,
) -> ColdStartReport:
    """Start both engines in turn, ``rounds`` times, so that a busy moment hits both; then let one worker run warm.

    Raises:
        BenchFailed: a process ended without a prediction.
    """
    load_before = os.getloadavg()[0]
    seen: dict[str, list[ColdStart]] = {engine: [] for engine in ENGINES}
    for number in range(rounds + 1):
        for engine in ENGINES:
            progress(f"{engine}, round {number or 'of warming the disk cache'}")
            one = _start(engine, bundle, image)
            # The first round reads everything from disk, whichever engine it is.
            if number:
                seen[engine].append(one)
    threads = sorted({1, *(1 << n for n in range(8) if 1 << n <= _cpus()), _cpus()})
    throughput = []
    for count in threads:
        progress(f"warm, {count} threads")
        throughput.append(Throughput(count, _throughput(bundle, image, count, batch)))
    return ColdStartReport(
        _median(seen["litert"]), _median(seen["keras"]), tuple(throughput), rounds, _cpus(), load_before
    )


def _start(engine: str, bundle: Bundle, image: Path) -> ColdStart:
    command = [sys.executable, "-m", "heatdrop.bench.first_prediction", engine, str(bundle.folder), str(image)]
    environment = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"}
    started = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment) as process:  # noqa: S603
        assert process.stdout is not None  # noqa: S101
        assert process.stderr is not None  # noqa: S101
        line = process.stdout.readline()
        seconds = time.perf_counter() - started
        complaint = process.stderr.read().decode(errors="replace")
    if not line:
        reason = complaint.strip().splitlines()[-1:] or ["it said nothing"]
        raise BenchFailed(f"{engine} gave no prediction: {reason[0]}")
    said = json.loads(line)
    return ColdStart(seconds, said["peak_mb"], said["label"], said["score"])


def _median(starts: list[ColdStart]) -> ColdStart:
    return ColdStart(
        median(start.seconds for start in starts),
        median(start.peak_mb for start in starts),
        starts[0].label,
        starts[0].score,
    )


def _throughput(bundle: Bundle, image: Path, threads: int, batch: int) -> float:
    classifier = Classifier(bundle, threads=threads)
    data = image.read_bytes()

    def one() -> None:
        classifier.classify(images.decode(data, at_least=bundle.size))

    one()
    started = time.perf_counter()
    for _ in range(batch):
        one()
    return batch / (time.perf_counter() - started)


def _cpus() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
