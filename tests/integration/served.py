"""`heatdrop serve` in a process of its own, and what tests ask of it."""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self
from urllib.parse import quote

from heatdrop.local.serve_file import RunningCloud, find_running
from heatdrop.project import TEMPLATE

RECORDED_CLI = str(TEMPLATE.parent / "tests/iam/recorded_cli.py")
"""The command line; what the functions and the job ask of its cloud is judged by the template's policies."""


@dataclass(frozen=True)
class Done:
    """What a command printed, and how it ended."""

    code: int
    out: str
    err: str

    @classmethod
    def of(cls, process: subprocess.Popen[str]) -> Self:
        out, err = process.communicate(timeout=300)
        return cls(process.returncode, out, err)


@dataclass
class Served:
    """A running `heatdrop serve`, the folder that it was started in, and what it printed."""

    here: Path
    running: RunningCloud
    printed: str
    process: subprocess.Popen[str]

    @property
    def api(self) -> str:
        return self.running.outputs["ApiUrl"]

    @property
    def bucket(self) -> str:
        return self.running.outputs["InputBucket"]

    def get(self, path: str) -> Any:
        with urllib.request.urlopen(self.api + path, timeout=60) as answer:
            return json.load(answer)

    def post(self, path: str, body: Any) -> Any:
        request = urllib.request.Request(
            self.api + path, json.dumps(body).encode(), {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)

    def wait_for(self, key: str, state: str) -> dict[str, Any]:
        """The image of a key, once it is in a state."""
        deadline = time.monotonic() + 300
        while time.monotonic() < deadline:
            for image in self.get(f"/images?prefix={quote(key)}")["images"]:
                if image["key"] == key and image["state"] == state:
                    return image
            time.sleep(0.5)
        raise AssertionError(f"{key} did not become {state}: {self.get('/images')}")

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """A command in the folder where the cloud was started."""
        return subprocess.Popen(
            [sys.executable, "-m", "heatdrop.cli", *arguments],
            cwd=self.here,
            env=clean() | {"COLUMNS": "200"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def call(self, *arguments: str) -> Done:
        return Done.of(self.start(*arguments))

    def watch(self, *options: str) -> subprocess.Popen[str]:
        """`heatdrop watch`, once it listens."""
        watching = self.start("watch", *options)
        assert watching.stderr is not None
        assert "Listening" in watching.stderr.readline()
        return watching


def clean() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "MOTO_"))}


@contextmanager
def serve(here: Path, *options: str) -> Iterator[Served]:
    """`heatdrop serve` in the folder ``here``, from the moment when it is ready to Ctrl-C."""
    log = here / "printed.txt"
    with log.open("w") as printed:
        process = subprocess.Popen(
            [sys.executable, RECORDED_CLI, "serve", "--port", "0", *options],
            cwd=here,
            env=clean(),
            stdout=printed,
            stderr=printed,
            text=True,
        )
    try:
        deadline = time.monotonic() + 400
        while "Ctrl-C" not in log.read_text():
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.2)
        running = find_running(here / "out")
        assert running is not None
        yield Served(here, running, log.read_text(), process)
    finally:
        process.send_signal(signal.SIGINT)
        code = process.wait(timeout=60)
    assert code == 130, log.read_text()
    assert "Traceback" not in log.read_text()
    assert find_running(here / "out") is None
