"""The command line."""

import logging
import os
import sys
from typing import Any

from heatdrop.errors import HeatdropError, InvalidBundle, InvalidDataset, InvalidRequest

INTERRUPTED = 130


def main() -> None:
    """Run the command line; an error becomes one sentence and an exit code, not a traceback.

    Exit codes: 1 it failed, 2 it was called in a way that cannot work, 130 Ctrl-C.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
    from typer import BadParameter

    from heatdrop.cli.app import app

    # Typer has no public name for the errors that it raises for wrong options and arguments.
    wrong_usage: type[Exception] = BadParameter.__bases__[0]
    try:
        code = app(prog_name="heatdrop", standalone_mode=False)
    except HeatdropError as error:
        _say(str(error))
        code = 2 if isinstance(error, InvalidRequest | InvalidBundle | InvalidDataset) else 1
    except wrong_usage as error:
        _say(_usage(error))
        code = 2
    except ModuleNotFoundError as error:
        from heatdrop.cli.extras import advice

        what_to_install = advice(error)
        if what_to_install is None:
            raise
        _say(what_to_install)
        code = 2
    if code == INTERRUPTED:
        _say("interrupted")
    sys.exit(code)


def _say(sentence: str) -> None:
    if not sentence:
        return
    from heatdrop.cli.console import messages
    from heatdrop.text import printable

    messages.print(f"heatdrop: {printable(sentence)}", style="red", markup=False, soft_wrap=True)


def _usage(error: Any) -> str:
    """What is wrong with a command line, and which ``--help`` explains it; empty if Typer printed the help already."""
    problem: str = error.format_message().replace("Value error, ", "").rstrip(".")
    if not problem:
        return ""
    end = "" if problem.endswith("?") else "."
    path = error.ctx.command_path if error.ctx else "heatdrop"
    return f"{problem[:1].lower()}{problem[1:]}{end} See `{path} --help`."
