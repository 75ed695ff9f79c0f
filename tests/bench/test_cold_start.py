"""The bench measures what it says: fresh processes, the same prediction, memory of their own."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from heatdrop.bench.cold_start import cold_start
from heatdrop.bench.throughput import throughput
from heatdrop.errors import BenchFailed
from heatdrop.images.guarded import GuardedDecoder
from heatdrop.model.bundle import LITERT_MODEL, Bundle, open_bundle

# What importing the inference function loads. A cold start pays for every module: raise it only with a reason.
MODULE_BUDGET = 800


def test_both_engines_predict_the_same_from_processes_of_their_own(tiny_bundle: Bundle, chest_jpeg: Path) -> None:
    steps: list[str] = []
    report = cold_start(tiny_bundle, chest_jpeg, rounds=1, batch=2, progress=steps.append)
    assert report.litert.label == report.keras.label
    assert report.litert.score == pytest.approx(report.keras.score, abs=1e-4)
    assert 0 < report.litert.peak_mb < report.keras.peak_mb
    assert report.times_faster > 1
    assert [warm.cpus for warm in report.throughput] == sorted({warm.cpus for warm in report.throughput})
    for warm in report.throughput:
        seconds = warm.decode_seconds + warm.predict_seconds
        assert warm.images_per_second == pytest.approx(1 / seconds)
        assert warm.lambda_mb == warm.cpus * 1769
    assert any("keras" in step for step in steps)


def test_engine_that_fails_is_named_and_not_timed(bundle_copy: Path, chest_jpeg: Path) -> None:
    bundle = open_bundle(bundle_copy)
    (bundle_copy / LITERT_MODEL).write_bytes(b"changed")
    with pytest.raises(BenchFailed, match=r"litert gave no prediction.*not the file that was packed"):
        cold_start(bundle, chest_jpeg, rounds=1)


def test_import_of_the_inference_function_keeps_its_budget() -> None:
    script = "import sys, heatdrop.pipeline.ingest; print(len(sys.modules))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert int(done.stdout) <= MODULE_BUDGET


def test_warm_worker_stays_on_the_processors_that_it_is_given(
    tiny_bundle: Bundle, chest_jpeg: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, seen = os.sched_getaffinity(0), []
    decode = GuardedDecoder.decode

    def watched(self: GuardedDecoder, *arguments: Any, **options: Any) -> Any:
        seen.append((os.sched_getaffinity(0), os.sched_getaffinity(self.start())))
        return decode(self, *arguments, **options)

    monkeypatch.setattr(GuardedDecoder, "decode", watched)
    found = throughput(tiny_bundle, chest_jpeg, rounds=1, batch=1)
    # Each worker decodes one image unmeasured and one that is.
    assert [len(here) for here, _ in seen] == [warm.cpus for warm in found for _ in range(2)]
    assert all(here == there for here, there in seen)
    assert os.sched_getaffinity(0) == before
