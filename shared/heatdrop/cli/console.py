"""What commands print: tables, progress bars and messages for people, JSON for programs."""

import json
import os
import sys
from collections.abc import Container, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import BaseModel
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from heatdrop.text import printable
from heatdrop.vocabulary import DISCLAIMER, Result, State

if TYPE_CHECKING:
    from heatdrop.aws.notifications import Notification

T = TypeVar("T")

# Answers go to standard output, everything else to standard error, so that answers can be piped.
messages = Console(stderr=True, highlight=False)
answers = Console(highlight=False, soft_wrap=False)

_COLOURS = {
    State.EXPLAINED: "green",
    State.CLASSIFIED: "green",
    State.REJECTED: "yellow",
    State.FAILED: "red",
    State.RECEIVED: "cyan",
}


def table(*columns: str, right: Container[str] = ()) -> Table:
    """An empty table without borders; the columns named in ``right`` are right-aligned, as numbers are."""
    made = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        made.add_column(column, overflow="fold", justify="right" if column in right else "left")
    return made


def progress_bar(disable: bool = False) -> Progress:
    """A progress display on standard error, one line for each stage."""
    # rich would otherwise redirect standard output, and print the answers on the terminal instead of into a pipe.
    return Progress(
        TextColumn("{task.description:<10}"),
        BarColumn(bar_width=32),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=messages,
        redirect_stdout=False,
        disable=disable,
    )


def track(items: Iterable[T], description: str, total: int, printing: bool = False) -> Iterable[T]:
    """Go through ``items`` with a progress bar, unless each is printed (``printing``) to the same terminal anyway."""
    with progress_bar(disable=printing and sys.stdout.isatty()) as bar:
        yield from bar.track(items, description=description, total=total)


def print_json(answer: Any) -> None:
    """Print one answer as one line of JSON."""
    text = answer.model_dump_json() if isinstance(answer, BaseModel) else json.dumps(answer, ensure_ascii=False)
    sys.stdout.buffer.write(f"{text}\n".encode())
    sys.stdout.flush()


def show_results(results: Sequence[Result], output: Path | None = None) -> None:
    """Print a row for each image: file, state, its best classes with their scores, and the folder of its heatmaps."""
    rows = Table(box=None, pad_edge=False, header_style="bold")
    rows.add_column("file", overflow="fold", ratio=3)
    rows.add_column("state", no_wrap=True)
    rows.add_column("classes, or why not", overflow="fold", ratio=4)
    if output is not None:
        rows.add_column("heatmaps", overflow="fold", ratio=4)
    for result, file in zip(results, _short_names([result.file for result in results]), strict=True):
        colour = _COLOURS[result.state]
        row = [
            escape(printable(file)),
            f"[{colour}]{result.state}[/]",
            escape(printable(result.reason or _classes(result))),
        ]
        if output is not None:
            row.append(escape(printable(_folder(result, output))))
        rows.add_row(*row)
    answers.print(rows)
    answers.print(DISCLAIMER, style="dim")


def show_rows(columns: Sequence[str], rows: Iterable[Sequence[str]], whole: Container[str] = ("image_id",)) -> None:
    """Print a table of untrusted text; columns in ``whole`` are not wrapped, so that their cells can be copied."""
    made = table(*columns)
    for column in made.columns:
        column.no_wrap = column.header in whole
    for row in rows:
        made.add_row(*(escape(printable(cell)) for cell in row))
    answers.print(made)


def show_facts(facts: Iterable[tuple[str, str]]) -> None:
    """Print names and values, one pair on each line; lines are not wrapped, so that links can be clicked."""
    for name, fact in facts:
        answers.print(f"{name:<10}  {printable(fact)}", markup=False, soft_wrap=True)


def show_notification(notice: "Notification") -> None:
    """Print a notification as one line."""
    best = f"{notice.label} {notice.score:.3f}" if notice.label is not None and notice.score is not None else ""
    line = f"{notice.at:%H:%M:%S}  {notice.state:<10}  {notice.image_id}  {notice.key}  {notice.reason or best}"
    answers.print(printable(line), markup=False, soft_wrap=True)


def _short_names(files: Sequence[str]) -> list[str]:
    """Paths relative to the folder that all files share; for a single file that is its name."""
    folders = {os.path.dirname(file) for file in files}  # noqa: PTH120 (text that may be no path of this machine)
    if len({file.startswith("/") for file in files}) != 1:
        return list(files)
    return [os.path.relpath(file, os.path.commonpath(folders) or ".") for file in files]


def _classes(result: Result) -> str:
    return "  ".join(f"{p.label} {p.score:.3f}" for p in result.predictions[:3])


def _folder(result: Result, output: Path) -> str:
    return str((output / result.heatmaps[0].overlay).parent) if result.heatmaps else ""
