"""Runs the programs that a deployment needs: ``sam`` and ``docker``."""

import os
import shlex
import subprocess
from collections.abc import Sequence
from pathlib import Path

from heatdrop.errors import DeploymentFailed

_INSTALLED_BY = {"sam": "`make deploy` installs it", "docker": "install a Docker engine"}


def run_program(command: Sequence[str], folder: Path, typed: str | None = None) -> None:
    """Run a program in ``folder`` until it ends; what it prints goes to the terminal.

    ``typed`` is handed to it on standard input, where it shows up in no list of processes.

    Raises:
        DeploymentFailed: it is not installed, or ends with another exit code than 0.
    """
    # What goes to the registry is one image and not a list of one image and its attestations.
    environment = os.environ | {"BUILDX_NO_DEFAULT_ATTESTATIONS": "1", "SAM_CLI_TELEMETRY": "0"}
    try:
        done = subprocess.run(command, cwd=folder, env=environment, input=typed, text=True, check=False)  # noqa: S603
    except FileNotFoundError as error:
        raise DeploymentFailed(f"{command[0]} is not on the path; {_INSTALLED_BY[command[0]]}") from error
    if done.returncode:
        raise DeploymentFailed(f"`{shlex.join(command)}` failed; what it printed above says why")
