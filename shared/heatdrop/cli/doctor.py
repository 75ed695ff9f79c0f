"""``heatdrop doctor``."""

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import typer
from rich.markup import escape

from heatdrop.cli import console
from heatdrop.cli.options import Json
from heatdrop.cli.targets import Folder, Local, Stack, find_target
from heatdrop.text import printable

if TYPE_CHECKING:
    from heatdrop.aws.doctor import Finding

_COLOURS = {"OK": "green", "WARNING": "yellow", "PROBLEM": "red", "UNKNOWN": "cyan"}


def doctor(stack: Stack = None, local: Local = False, out: Folder = Path("out"), as_json: Json = False) -> None:
    """Look at a deployed stack and say what would go wrong, and what to do; nothing is changed.

    Ends with exit code 1 where something would fail.

    Example: heatdrop doctor --stack heatdrop
    """
    target = find_target(stack, local, out)
    # These load boto3, which other commands can do without.
    from heatdrop.aws.doctor import CHECKS, DeployedStack, Verdict, examine

    deployed = DeployedStack.read(target.stack, local=target.local)
    with console.messages.status(f"looking at {deployed.name}"):
        findings = list(examine(deployed))
    if as_json:
        for finding in findings:
            console.print_json(finding)
    else:
        _show(findings, len(CHECKS))
    raise typer.Exit(int(any(finding.verdict is Verdict.PROBLEM for finding in findings)))


def _show(findings: "list[Finding]", checks: int) -> None:
    table = console.table("check", "verdict", "what was found, and what to do")
    for column in table.columns[:2]:
        column.no_wrap = True
    for finding in findings:
        colour = _COLOURS[finding.verdict]
        table.add_row(finding.check, f"[{colour}]{finding.verdict}[/]", escape(printable(finding.sentence)))
    console.answers.print(table)
    counts = Counter(finding.verdict.value for finding in findings)
    said = ", ".join(f"{counts[verdict]} {verdict}" for verdict in _COLOURS if counts[verdict])
    console.answers.print(f"{checks} checks: {said}.")
