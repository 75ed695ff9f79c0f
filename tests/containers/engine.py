"""The Docker engine and the SAM CLI, as the tests call them."""

import json
import os
import subprocess
import uuid
from pathlib import Path
from typing import Any

from heatdrop.local.cloud import TEMPLATE

ROOT = TEMPLATE.parent
BUILD = ROOT / "build" / "sam"
SAM = ROOT / "build" / "tools" / "sam" / "bin" / "sam"
LAMBDA_BASE = "public.ecr.aws/lambda/python:3.12"
HEATMAPS = "heatdrop-heatmaps:test"


def docker(*arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
    """Call the engine; raises unless ``check=False``."""
    return subprocess.run(["docker", *arguments], capture_output=True, text=True, **{"check": True, **options})


def run_in(image: str, *command: str, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """Run a command in a fresh container of an image."""
    variables = [part for name, value in (env or {}).items() for part in ("--env", f"{name}={value}")]
    program, *arguments = command
    name = f"heatdrop-test-{uuid.uuid4().hex}"
    try:
        done = docker("run", "--name", name, *variables, "--entrypoint", program, image, *arguments, check=False)
        # Not every engine hands a container's exit code on to `docker run`.
        done.returncode = int(docker("inspect", "--format", "{{.State.ExitCode}}", name).stdout)
        return done
    finally:
        docker("rm", "--force", name, check=False)


def compressed_mb(image: str) -> float:
    """What a registry stores of an image and Lambda pulls; the engine itself tells the unpacked size alone."""
    packed = f"docker save {image} | gzip -1 | wc -c"
    return int(subprocess.run(["sh", "-c", packed], capture_output=True, text=True, check=True).stdout) / 1e6


def sam(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Call the SAM CLI without anybody's credentials."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    environment["SAM_CLI_TELEMETRY"] = "0"
    if docker("image", "inspect", LAMBDA_BASE, check=False).returncode == 0:
        arguments = (*arguments, "--skip-pull-image")
    done = subprocess.run([str(SAM), *arguments], capture_output=True, text=True, env=environment, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    return done


def invoke(function: str, template: Path, event: Path) -> Any:
    """`sam local invoke`: what the function answers to an event."""
    done = sam("local", "invoke", function, "--template", str(template), "--event", str(event), "--region", "eu-west-1")
    return json.loads(done.stdout.strip().splitlines()[-1])
