"""The test run's view of the calls that were recorded: a call that would be denied fails the test that made it."""

import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

FOLDER_VARIABLE = "HEATDROP_IAM_CALLS"
"""Where each process of the run writes the calls that it judged; see ``tests.iam.recording``."""


@pytest.hookimpl
def pytest_configure(config: pytest.Config) -> None:
    """One folder a run, and in it one a worker."""
    worker = os.environ.get("PYTEST_XDIST_WORKER", "main")
    run = os.environ.setdefault(FOLDER_VARIABLE + "_OF_RUN", "") or tempfile.mkdtemp(prefix="heatdrop-iam-")
    os.environ[FOLDER_VARIABLE + "_OF_RUN"] = run
    folder = Path(run) / worker
    folder.mkdir(exist_ok=True)
    os.environ[FOLDER_VARIABLE] = str(folder)
    config.stash[_READ] = {}


_READ = pytest.StashKey[dict[Path, int]]()


@pytest.fixture(autouse=True)
def every_call_would_be_allowed(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fail after a test that made a call, in whatever process, that the policies of the template deny."""
    yield
    denied = [
        f"{call['role']} may not {call['action']} on {call['resource']} ({call['operation']})"
        for call in _new_calls(request.config.stash[_READ])
        if not call["allowed_by"]
    ]
    assert not denied, "AWS would refuse: " + "; ".join(denied)


def _new_calls(read: dict[Path, int]) -> Iterator[dict[str, Any]]:
    for file in Path(os.environ[FOLDER_VARIABLE]).glob("*.jsonl"):
        lines = file.read_text(encoding="utf-8").splitlines()
        yield from map(json.loads, lines[read.get(file, 0) :])
        read[file] = len(lines)
