"""The bench measures what it says: fresh processes, the same prediction, memory of their own."""

import subprocess
import sys
from pathlib import Path

import pytest

from heatdrop.bench.cold_start import BenchFailed, cold_start
from heatdrop.model.bundle import LITERT_MODEL, Bundle, open_bundle

# What importing the inference function loads. A cold start pays for every module: raise it only with a reason.
MODULE_BUDGET = 800


def test_both_engines_predict_the_same_from_processes_of_their_own(small_bundle: Bundle, chest_jpeg: Path) -> None:
    steps: list[str] = []
    report = cold_start(small_bundle, chest_jpeg, rounds=1, batch=2, progress=steps.append)
    assert report.litert.label == report.keras.label
    assert report.litert.score == pytest.approx(report.keras.score, abs=1e-4)
    assert 0 < report.litert.peak_mb < report.keras.peak_mb
    assert report.times_faster > 1
    assert [t.threads for t in report.throughput] == sorted({t.threads for t in report.throughput})
    assert all(t.images_per_second > 0 for t in report.throughput)
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
