"""The files that a person means by the paths and patterns on a command line."""

import glob
import os
from collections.abc import Iterable
from pathlib import Path

from heatdrop.errors import InvalidRequest


def find_files(paths: Iterable[str]) -> list[Path]:
    """Files named directly, found in folders (walked; hidden ones left out) or matched by patterns, each once.

    What a file holds is not looked at: a file that is no image gets an answer too.

    Raises:
        InvalidRequest: a path or pattern stands for no file.
    """
    found: dict[Path, None] = {}
    for text in paths:
        files = sorted(_files_of(text))
        if not files:
            raise InvalidRequest(f"{text} is no file, no folder with files and no pattern that matches any")
        found |= dict.fromkeys(files)
    return list(found)


def shown(path: Path) -> str:
    """A path as text that JSON and UTF-8 can hold, whatever bytes its name is made of."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def _files_of(text: str) -> Iterable[Path]:
    path = Path(text)
    if path.is_file():
        return [path]
    if path.is_dir():
        return (p for p in path.rglob("*") if p.is_file() and not _hidden(p.relative_to(path)))
    matches = (Path(match) for match in glob.glob(text, recursive=True))
    return (p for p in matches if p.is_file())


def _hidden(relative: Path) -> bool:
    return any(part.startswith(".") for part in relative.parts)
