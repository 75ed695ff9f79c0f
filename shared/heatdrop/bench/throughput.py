"""How many images per second one warm inference worker handles, by its number of processors."""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from heatdrop.images.guarded import GuardedDecoder
from heatdrop.model.bundle import Bundle
from heatdrop.model.classifier import Classifier

LAMBDA_MB_PER_VCPU = 1769
"""MB of memory for which a Lambda function gets one vCPU, as AWS documents."""


@dataclass(frozen=True)
class Throughput:
    """Medians over the rounds, for one warm worker; seconds are of one image."""

    cpus: int
    decode_seconds: float
    predict_seconds: float
    images_per_second: float

    @property
    def lambda_mb(self) -> int:
        """Memory of a Lambda function with this number of vCPUs."""
        return self.cpus * LAMBDA_MB_PER_VCPU


def throughput(
    bundle: Bundle, image: Path, rounds: int, batch: int, progress: Callable[[str], None] = lambda step: None
) -> tuple[Throughput, ...]:
    """Let workers with 1, 2, 4 ... processors decode and predict ``batch`` images in turn, ``rounds`` times.

    As in the inference function, decoding has a process of its own.
    """
    data = image.read_bytes()
    counts = sorted({*(1 << n for n in range(8) if 1 << n <= available_cpus()), available_cpus()})
    seen: dict[int, list[tuple[float, float]]] = {count: [] for count in counts}
    with ExitStack() as stack:
        workers = {count: _worker(bundle, count, stack) for count in counts}
        for number in range(rounds):
            for count, (decoder, classifier) in workers.items():
                progress(f"warm on {count} processors, round {number + 1}")
                with _confined_to(count):
                    seen[count].append(_batch(decoder, classifier, data, batch))
    return tuple(_summary(count, times) for count, times in seen.items())


def available_cpus() -> int:
    """How many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _worker(bundle: Bundle, count: int, stack: ExitStack) -> tuple[GuardedDecoder, Classifier]:
    # Threads and processes inherit the processors of the thread that starts them.
    with _confined_to(count):
        decoder = stack.enter_context(GuardedDecoder())
        decoder.start()
        return decoder, Classifier(bundle, threads=count)


def _batch(decoder: GuardedDecoder, classifier: Classifier, data: bytes, batch: int) -> tuple[float, float]:
    decoding = predicting = 0.0
    # The first image is not counted: it may wait for the decoder to start.
    for number in range(batch + 1):
        started = time.perf_counter()
        decoded = decoder.decode(data, at_least=classifier.bundle.size)
        between = time.perf_counter()
        classifier.classify(decoded)
        if number:
            decoding += between - started
            predicting += time.perf_counter() - between
    return decoding / batch, predicting / batch


def _summary(count: int, times: list[tuple[float, float]]) -> Throughput:
    return Throughput(
        count,
        median(decoding for decoding, _ in times),
        median(predicting for _, predicting in times),
        median(1 / (decoding + predicting) for decoding, predicting in times),
    )


@contextmanager
def _confined_to(count: int) -> Iterator[None]:
    """Use ``count`` processors only, if the system supports that."""
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, sorted(allowed)[:count])
    try:
        yield
    finally:
        os.sched_setaffinity(0, allowed)
