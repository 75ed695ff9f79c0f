"""`heatdrop bench pipeline`, with a few images and a tiny model: every figure is there, and nothing is lost."""

import json
import os
import subprocess
import sys
from pathlib import Path

import cv2
import pytest

from heatdrop.bench.pipeline import held_mb
from heatdrop.model.bundle import Bundle


@pytest.mark.slow
def test_load_of_a_few_images_is_measured_and_nothing_is_lost(
    tiny_bundle: Bundle, chest_jpeg: Path, tmp_path: Path
) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "MOTO_"))}
    options = ["--images", "10", "--bundle", str(tiny_bundle.folder), "--samples", "2", "--out", "out", "--json"]
    done = subprocess.run(
        [sys.executable, "-m", "heatdrop.cli", "bench", "pipeline", str(chest_jpeg), *options],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=environment,
    )
    assert done.returncode == 0, done.stderr
    figures = json.loads(done.stdout)
    assert figures == json.loads((tmp_path / "out/pipeline.json").read_text())
    for run, count in (("few", 1), ("many", 10)):
        found = figures[run]
        assert (found["images"], found["lost"], found["states"]["EXPLAINED"]) == (count, 0, count)
        rates = found["images_per_second"]
        assert rates["dropped"] > rates["classified"] > rates["explained"] > 0
        assert len(found["told"]["explained"]) == count
        assert found["cpu_seconds_per_image"] > 0
        assert found["timings_ms"]["last_tenth"]["explain"] > 0
        assert max(memory.get("heatmaps", 0) for _, memory in found["memory_mb"]) > 100
        assert found["queues"][-1][1] == dict.fromkeys(found["queues"][-1][1], 0)
    # With the start spread over ten times as many images, one costs less.
    assert figures["cost_growth"] < 0
    assert cv2.imread(str(tmp_path / "out/pipeline.png")).std() > 1


def test_memory_is_that_of_a_process_and_its_children() -> None:
    alone = held_mb(os.getpid())
    program = "import time; x = bytearray(100_000_000); x[::1000] = b'x' * 100_000; print(flush=True); time.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) as child:
        child.stdout.readline()
        assert 90 < held_mb(os.getpid()) - alone < 200
        child.kill()
    assert held_mb(2**22 + 1) == 0
