"""Python environments for the peers that cannot be installed beside Heatdrop, made on first use."""

import subprocess
import sys
import venv
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from heatdrop.errors import PeerUnavailable
from heatdrop.project import BUILD

FOLDER = BUILD / "bench" / "envs"


@dataclass(frozen=True)
class Environment:
    """What a peer needs installed.

    Attributes:
        name: name of its folder.
        packages: what is installed, with versions.
        shares_ours: whether it also sees this environment's packages, and installs no dependencies. The peer then runs
            on the same TensorFlow as Heatdrop, so that only the methods differ.
    """

    name: str
    packages: tuple[str, ...]
    shares_ours: bool


def python_of(environment: Environment | None, say: Callable[[str], None]) -> Path:
    """The interpreter to run a peer with; its environment is made first if needed.

    Raises:
        PeerUnavailable: a package cannot be installed.
    """
    if environment is None:
        return Path(sys.executable)
    folder = FOLDER / environment.name
    python = folder.absolute() / "bin" / "python"
    ready = folder / "ready"
    wanted = "\n".join(environment.packages)
    if ready.exists() and ready.read_text() == wanted:
        return python
    say(f"Installing {', '.join(environment.packages)} into {folder}, once ...")
    venv.create(folder, with_pip=True, clear=True)
    command = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    if environment.shares_ours:
        command.append("--no-deps")
        (_site_packages(folder) / "ours.pth").write_text(
            "\n".join(path for path in sys.path if "site-packages" in path)
        )
    done = subprocess.run([*command, *environment.packages], capture_output=True, text=True)  # noqa: S603
    if done.returncode:
        raise PeerUnavailable(f"{environment.name} cannot be installed: {done.stderr.strip().splitlines()[-1]}")
    ready.write_text(wanted)
    return python


def _site_packages(folder: Path) -> Path:
    return next((folder / "lib").glob("python*/site-packages"))
