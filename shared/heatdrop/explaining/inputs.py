"""The files that the paths and patterns on a command line stand for."""

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
    found: dict[str, Path] = {}
    for text in paths:
        files = sorted(_files_of(text))
        if not files:
            raise InvalidRequest(
                f"{text or repr(text)} is no file, no folder with files and no pattern that matches any"
            )
        for file in files:
            found.setdefault(os.path.abspath(file), file)  # noqa: PTH100 (Path.absolute keeps "..")
    return list(found.values())


def path_text(path: Path) -> str:
    """A path as text that JSON and UTF-8 can hold, whatever bytes its name is made of."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def _files_of(text: str) -> Iterable[Path]:
    path = Path(text)
    # Path's own checks raise for a name that is too long.
    if os.path.isfile(text):  # noqa: PTH113
        return [path]
    if os.path.isdir(text):  # noqa: PTH112
        return (p for p in path.rglob("*") if p.is_file() and not _hidden(p.relative_to(path)))
    matches = (Path(match) for match in glob.glob(text, recursive=True))
    return (p for p in matches if p.is_file())


def _hidden(relative: Path) -> bool:
    return any(part.startswith(".") for part in relative.parts)
