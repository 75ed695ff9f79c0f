"""Starts a contender's worker process and talks to it."""

import json
import os
import subprocess
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

import numpy as np
from numpy.typing import NDArray

from heatdrop.bench.contenders import Contender
from heatdrop.bench.environments import python_of
from heatdrop.errors import ContenderFailed

Float = NDArray[np.float32]

NOISE_LEVEL = 0.20
_PACKAGE_ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Answer:
    """Maps (K, H, W), the seconds they took, and the process's peak memory so far."""

    maps: Float
    seconds: float
    peak_mb: float


class Process:
    """A contender in a process of its own; a context manager."""

    def __init__(self, contender: Contender, folder: Path, say: Callable[[str], None], **settings: Any) -> None:
        """Start the process and load the model; ``load_seconds`` is how long that took.

        Raises:
            PeerUnavailable: its environment cannot be made.
            ContenderFailed: it cannot be loaded.
        """
        self.contender = contender
        self._scratch = tempfile.TemporaryDirectory()
        self._errors = Path(self._scratch.name) / "errors.txt"
        command = [python_of(contender.environment, say), "-m", "heatdrop.bench.worker", contender.module, folder]
        environment = {**os.environ, "PYTHONPATH": str(_PACKAGE_ROOT), "TF_CPP_MIN_LOG_LEVEL": "3"}
        with self._errors.open("wb") as errors:
            self._process = subprocess.Popen(  # noqa: S603
                [*map(str, command), json.dumps(settings)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                env=environment,
                text=True,
            )
        self.load_seconds = float(self._read()["seconds"])

    def explain(self, image: Float, classes: list[int], samples: int, noise: Float | None = None) -> Answer:
        """Explain one image (H, W, C) with noise of ``NOISE_LEVEL``; ``noise`` gives standard normals to use.

        Raises:
            ContenderFailed: the process ended.
        """
        folder = Path(self._scratch.name)
        np.save(folder / "image.npy", image)
        if noise is not None:
            np.save(folder / "noise.npy", noise)
        request = {
            "image": str(folder / "image.npy"),
            "classes": classes,
            "samples": samples,
            "sigma": NOISE_LEVEL * float(image.max() - image.min()),
            "noise": None if noise is None else str(folder / "noise.npy"),
            "maps": str(folder / "maps.npy"),
        }
        pipe = self._pipe(self._process.stdin)
        pipe.write(json.dumps(request) + "\n")
        pipe.flush()
        answer = self._read()
        return Answer(np.load(folder / "maps.npy"), answer["seconds"], answer["peak_mb"])

    def _read(self) -> dict[str, float]:
        line = self._pipe(self._process.stdout).readline()
        if not line:
            self._process.wait()
            last = self._errors.read_text(errors="replace").strip().splitlines()[-1:] or ["no message"]
            raise ContenderFailed(f"{self.contender.name} ended: {last[0]}")
        answer: dict[str, float] = json.loads(line)
        return answer

    def _pipe(self, pipe: IO[str] | None) -> IO[str]:
        if pipe is None:
            raise ContenderFailed(f"{self.contender.name} has no pipe")
        return pipe

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.communicate()
        self._scratch.cleanup()
