"""The time from a fresh process to its first prediction, LiteRT beside TensorFlow; and a warm worker's throughput."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from heatdrop.bench.first_prediction import ENGINES
from heatdrop.bench.throughput import Throughput, available_cpus, throughput
from heatdrop.errors import BenchFailed
from heatdrop.model.bundle import Bundle


@dataclass(frozen=True)
class ColdStart:
    """Medians over the rounds of one engine: seconds to the first prediction, peak memory, and the predicted class."""

    seconds: float
    peak_mb: float
    label: str
    score: float


@dataclass(frozen=True)
class ColdStartReport:
    """Both engines side by side, and the throughput of a warm LiteRT worker."""

    litert: ColdStart
    keras: ColdStart
    throughput: tuple[Throughput, ...]
    rounds: int
    cpus: int
    load_before: float
    """Load average of the minute before. Figures of a busy machine mean little."""

    @property
    def times_faster(self) -> float:
        """TensorFlow's time to the first prediction, divided by LiteRT's."""
        return self.keras.seconds / self.litert.seconds


def cold_start(
    bundle: Bundle,
    image: Path,
    rounds: int = 5,
    batch: int = 20,
    progress: Callable[[str], None] = lambda step: None,
) -> ColdStartReport:
    """Start both engines in turn, ``rounds`` times, so that a busy moment affects both; then measure a warm worker.

    Raises:
        BenchFailed: a process ended without a prediction.
    """
    load_before = os.getloadavg()[0]
    seen: dict[str, list[ColdStart]] = {engine: [] for engine in ENGINES}
    for number in range(rounds + 1):
        for engine in ENGINES:
            progress(f"{engine}, round {number or 'of warming the disk cache'}")
            one = _start(engine, bundle, image)
            # Round 0 is not counted: it reads the files from disk, later rounds from the cache.
            if number:
                seen[engine].append(one)
    warm = throughput(bundle, image, rounds, batch, progress)
    return ColdStartReport(_median(seen["litert"]), _median(seen["keras"]), warm, rounds, available_cpus(), load_before)


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
