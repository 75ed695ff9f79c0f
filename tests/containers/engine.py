"""The Docker engine and the SAM CLI, as the tests call them."""

import json
import os
import shutil
import socket
import subprocess
import tempfile
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from heatdrop.project import TEMPLATE

ROOT = TEMPLATE.parent
BUILD = ROOT / "build" / "sam"
SAM = ROOT / "build" / "tools" / "sam" / "bin" / "sam"
LAMBDA_BASE = "public.ecr.aws/lambda/python:3.12"
HEATMAPS = "heatdrop-heatmaps:test"
REGION = "eu-west-1"
DOCKER = "docker" if shutil.which("docker") else "podman"


def docker(*arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
    """Call the engine; raises unless ``check=False``."""
    return subprocess.run([DOCKER, *arguments], capture_output=True, text=True, **{"check": True, **options})


def run_in(
    image: str, *command: str, env: dict[str, str] | None = None, options: tuple[str, ...] = ()
) -> subprocess.CompletedProcess[str]:
    """Run a command in a fresh container of an image, with further ``options`` of the engine."""
    variables = [part for name, value in (env or {}).items() for part in ("--env", f"{name}={value}")]
    program, *arguments = command
    name = f"heatdrop-test-{uuid.uuid4().hex}"
    entry = ("--entrypoint", program, image)
    try:
        done = docker("run", "--name", name, *variables, *options, *entry, *arguments, check=False)
        # Not every engine hands a container's exit code on to `docker run`.
        done.returncode = int(docker("inspect", "--format", "{{.State.ExitCode}}", name).stdout)
        return done
    finally:
        docker("rm", "--force", name, check=False)


@dataclass(frozen=True)
class Invocation:
    """What a function answered, and what it took."""

    answer: Any
    cpu_seconds: float
    """Of all its processes since the container was started: initialisation is most of it."""
    found: dict[str, Any]
    """What the function's user finds around them."""


# Asks the runtime interface emulator in the same container, as the function's own user.
_INVOKE = """
import json, os, pathlib, pwd, shutil, sys, urllib.request
url = "http://127.0.0.1:8080/2015-03-31/functions/function/invocations"
answer = json.load(urllib.request.urlopen(url, sys.stdin.buffer.read(), timeout=300))
ticks = 0
for stat in pathlib.Path("/proc").glob("[0-9]*/stat"):
    if stat.parent.name != str(os.getpid()):
        ticks += sum(map(int, stat.read_text().rpartition(")")[2].split()[11:15]))
everywhere = ["/", "/dev/shm", "/opt", "/tmp", "/var/task", "/var/tmp"]
found = {
    "uid": os.getuid(),
    "known": os.getuid() in {user.pw_uid for user in pwd.getpwall()},
    "writable": [path for path in everywhere if os.access(path, os.W_OK)],
    "tmp_mb": shutil.disk_usage("/tmp").total / 2**20,
}
print(json.dumps([answer, ticks / os.sysconf("SC_CLK_TCK"), found]))
"""


def invoke_as_lambda(
    image: str, handler: str, event: Any, memory_mb: int, env: dict[str, str], mounts: Sequence[str] = ()
) -> Invocation:
    """Start a function as AWS does, give it one event, and return its answer.

    By the image's own entry point, so that modules are searched in AWS's order; as a user without rights or a name, on
    a file system that is read-only but for 512 MB of ``/tmp``, without ``/dev/shm``, within the function's memory.
    """
    variables = env | {"AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(memory_mb)}
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "passwd").write_text("root:x:0:0:root:/root:/bin/sh\n")
        (Path(folder) / "nothing").mkdir()
        # Some engines make an entry for the user, and some leave /var/tmp open.
        hidden = (f"{folder}/passwd:/etc/passwd:ro", f"{folder}/nothing:/var/tmp:ro")
        container = docker(
            *("run", "--detach", "--read-only", "--user", "993:990", "--ipc", "none"),
            *("--tmpfs", "/tmp:rw,size=512m", "--memory", f"{memory_mb}m"),
            *(part for name, value in variables.items() for part in ("--env", f"{name}={value}")),
            *(part for mount in (*hidden, *mounts) for part in ("--volume", mount)),
            *(image, handler),
        ).stdout.strip()
        try:
            asked = ("exec", "--interactive", container, "python", "-c", _INVOKE)
            done = docker(*asked, input=json.dumps(event), check=False)
            said = docker("logs", container, check=False)
        finally:
            docker("rm", "--force", container)
    assert done.returncode == 0, done.stderr + said.stdout + said.stderr
    answer, cpu_seconds, found = json.loads(done.stdout)
    assert "errorType" not in answer, (answer, said.stdout, said.stderr)
    return Invocation(answer, cpu_seconds, found)


def compressed_mb(image: str) -> float:
    """What a registry stores of an image and Lambda pulls; the engine itself tells the unpacked size alone."""
    packed = f"{DOCKER} save {image} | gzip -1 | wc -c"
    return int(subprocess.run(["sh", "-c", packed], capture_output=True, text=True, check=True).stdout) / 1e6


def sam(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Call the SAM CLI without anybody's credentials."""
    command, environment = _sam(*arguments)
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    return done


def invoke(function: str, template: Path, event: Path) -> Any:
    """`sam local invoke`: what the function answers to an event."""
    done = sam("local", "invoke", function, "--template", str(template), "--event", str(event), "--region", REGION)
    return json.loads(done.stdout.strip().splitlines()[-1])


@contextmanager
def api_of(template: Path, log: Path) -> Iterator[str]:
    """`sam local start-api`, as long as the ``with`` block: the address at which it answers."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command, environment = _sam(
        *("local", "start-api", "--template", str(template), "--region", REGION),
        *("--host", "127.0.0.1", "--port", str(port), "--warm-containers", "LAZY"),
    )
    with log.open("w") as said:
        process = subprocess.Popen(command, stdout=said, stderr=said, env=environment, cwd=ROOT)
    try:
        _wait_for(port, process, log)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(timeout=60)


def _wait_for(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    for _ in range(600):
        assert process.poll() is None, log.read_text()
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            time.sleep(0.1)
    raise AssertionError(f"the API does not answer: {log.read_text()}")


def _sam(*arguments: str) -> tuple[list[str], dict[str, str]]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    environment["SAM_CLI_TELEMETRY"] = "0"
    if docker("image", "inspect", LAMBDA_BASE, check=False).returncode == 0:
        arguments = (*arguments, "--skip-pull-image")
    return [str(SAM), *arguments], environment
