"""Bundles that most tests share, packed once for all workers of a run, and again when the code or a library changes."""

import fcntl
import hashlib
import shutil
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path

from heatdrop.model.bundle import Bundle, open_bundle

ROOT = Path(__file__).parents[1]
KEPT = ROOT / "build/test-bundles"


def kept_bundle(folder: Path, pack: Callable[[Path], object]) -> Bundle:
    """A copy, at ``folder``, of the bundle of that name, which ``pack`` writes if no test has needed it so far."""
    kept = KEPT / _digest_of_code() / folder.name
    kept.parent.mkdir(parents=True, exist_ok=True)
    with kept.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not kept.exists():
            _remove_those_of_other_code()
            pack(kept)
    return open_bundle(shutil.copytree(kept, folder))


@cache
def _digest_of_code() -> str:
    """Of all that a bundle depends on: the package, the models that tests build, Python and the pinned libraries."""
    files = sorted((ROOT / "shared/heatdrop").rglob("*.py"))
    digest = hashlib.sha256(sys.version.encode())
    for file in (*files, ROOT / "tests/conftest.py", ROOT / "requirements/dev.txt"):
        digest.update(hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()[:16]


def _remove_those_of_other_code() -> None:
    for folder in KEPT.iterdir():
        if folder.name != _digest_of_code():
            shutil.rmtree(folder, ignore_errors=True)
