"""Decode in a process of its own: a file that makes a native decoder crash, hang or bloat costs no other file anything.

The process is kept warm and spoken to through pipes. It holds no credentials and has limits of its own.
"""

import json
import os
import signal
import subprocess
import sys
import threading
import weakref
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from heatdrop import errors
from heatdrop.errors import DecoderLost, RejectedImage, UnsafeImage
from heatdrop.images import DecodedImage, Limits
from heatdrop.images.decoding_process import FILE_AT_FAULT

CPU_SECONDS = 5
"""Processor time that decoding one file may take. Not time on the wall: a busy machine is no fault of the image."""
MEMORY_BYTES = 1 << 30
"""Memory that the decoding process may take."""
STALL_SECONDS = 60.0
"""Time on the wall after which the process counts as lost, whatever it does."""

_INHERITED = ("PATH", "LD_LIBRARY_PATH", "LANG", "TMPDIR")
_ADVICE = "save the picture as an ordinary PNG and upload that."


class GuardedDecoder:
    """``images.decode`` at arm's length. Not safe for use by several threads at once."""

    def __init__(
        self, cpu_seconds: int = CPU_SECONDS, memory_bytes: int = MEMORY_BYTES, stall_seconds: float = STALL_SECONDS
    ) -> None:
        """Set the limits; nothing is started yet."""
        self._cpu_seconds, self._memory_bytes, self._stall_seconds = cpu_seconds, memory_bytes, stall_seconds
        self._running: subprocess.Popen[bytes] | None = None

    def start(self) -> int:
        """Start the process unless it runs, which takes it a moment until the first file; returns its id."""
        if self._running is None or self._running.poll() is not None:
            self.close()
            self._running = _start()
            # Whoever forgets about this object leaves no process behind.
            self._end = weakref.finalize(self, _end, self._running)
        return self._running.pid

    def decode(
        self, data: bytes, *, at_least: tuple[int, int] | None = None, limits: Limits = Limits()
    ) -> DecodedImage:
        """Decode a file as ``images.decode`` does.

        Raises:
            RejectedImage: as ``images.decode``; ``UnsafeImage`` where the file makes its decoder crash, or takes more
                processor time or memory than any file may.
            DecoderLost: the process was lost for another reason; the file may be tried again.
        """
        request = {
            "at_least": at_least,
            "max_bytes": limits.max_bytes,
            "max_pixels": limits.max_pixels,
            "cpu_seconds": self._cpu_seconds,
            "memory_bytes": self._memory_bytes,
            "length": len(data),
        }
        answer = self._ask(request, data)
        if isinstance(answer, int):
            if answer == -signal.SIGXCPU:
                message = f"Decoding the file takes more than {self._cpu_seconds} s of processor time; {_ADVICE}"
                raise UnsafeImage(message)
            # What an earlier file did to the process must not be blamed on this one: a fresh process decides.
            answer = self._ask(request, data)
        if isinstance(answer, int):
            if answer in (-signal.SIGKILL, -signal.SIGTERM):
                raise DecoderLost("the process that decodes images was killed twice; redrive the image")
            if answer >= 0 and answer != FILE_AT_FAULT:
                message = f"the process that decodes images does not start (exit code {answer})"
                raise DecoderLost(f"{message}; mend the installation, then redrive the image")
            raise UnsafeImage(f"The file makes its decoder crash; {_ADVICE}")
        return answer

    def close(self) -> None:
        """End the process; the next file starts another one."""
        if self._running is not None:
            self._end()
            self._running = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _ask(self, request: dict[str, Any], data: bytes) -> DecodedImage | int:
        """The picture, or the exit code of the process where it ended.

        Raises:
            RejectedImage, DecoderLost
        """
        self.start()
        process = self._running
        assert process is not None  # noqa: S101
        stalled = threading.Event()

        def give_up() -> None:
            stalled.set()
            process.kill()

        watchdog = threading.Timer(self._stall_seconds, give_up)
        watchdog.start()
        try:
            return _exchange(process, request, data)
        except (BrokenPipeError, EOFError) as error:
            if stalled.is_set():
                seconds = f"{self._stall_seconds:.0f} s"
                raise DecoderLost(f"decoding did not end within {seconds}; redrive the image") from error
            return process.wait()
        finally:
            watchdog.cancel()


def _start() -> subprocess.Popen[bytes]:
    environment = {name: os.environ[name] for name in _INHERITED if name in os.environ}
    # Absolute, since it works elsewhere; an empty entry is the folder of now.
    environment |= {"PYTHONPATH": os.pathsep.join(str(Path(path).absolute()) for path in sys.path)}
    # Threads would only take memory, stack by stack.
    environment |= {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, "-m", "heatdrop.images.decoding_process"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        cwd="/",
        env=environment,
        start_new_session=True,
    )


def _end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    # What could not be written any more is nobody's loss.
    with suppress(BrokenPipeError):
        process.communicate()


def _exchange(process: subprocess.Popen[bytes], request: dict[str, Any], data: bytes) -> DecodedImage:
    """One file in, one picture or rejection out.

    Raises:
        BrokenPipeError, EOFError: the process has ended.
        RejectedImage: as the process says.
    """
    assert process.stdin is not None  # noqa: S101
    assert process.stdout is not None  # noqa: S101
    process.stdin.write(json.dumps(request).encode() + b"\n")
    process.stdin.write(data)
    process.stdin.flush()
    line = process.stdout.readline()
    if not line.endswith(b"\n"):
        raise EOFError
    answer = json.loads(line)
    if "error" in answer:
        kind = getattr(errors, answer["error"])
        assert issubclass(kind, RejectedImage)  # noqa: S101
        raise kind(answer["message"])
    pixels = np.empty(answer["shape"], np.uint8)
    rest = pixels.reshape(-1).data
    while rest:
        count = process.stdout.readinto(rest)  # type: ignore[attr-defined]
        if not count:
            raise EOFError
        rest = rest[count:]
    return DecodedImage(pixels, answer["format"], answer["width"], answer["height"])
