"""The command line."""

import logging
import os
import sys

from heatdrop.errors import HeatdropError, InvalidBundle, InvalidDataset, InvalidRequest


def main() -> None:
    """Run the command line; what Heatdrop reports becomes a sentence and an exit code, never a traceback."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
    from heatdrop.cli.app import app
    from heatdrop.cli.console import messages
    from heatdrop.text import printable

    try:
        app(prog_name="heatdrop")
    except HeatdropError as error:
        messages.print(f"heatdrop: {printable(str(error))}", style="red", markup=False, soft_wrap=True)
        sys.exit(2 if isinstance(error, InvalidRequest | InvalidBundle | InvalidDataset) else 1)
    except KeyboardInterrupt:
        messages.print("heatdrop: interrupted")
        sys.exit(130)
