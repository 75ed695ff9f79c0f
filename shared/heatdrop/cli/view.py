"""``heatdrop view``."""

import secrets
import threading
import webbrowser
from pathlib import Path
from typing import Annotated

import typer

from heatdrop.cli import console
from heatdrop.cli.options import Json
from heatdrop.cli.targets import Folder, Local, Stack, find_target
from heatdrop.vocabulary import DISCLAIMER


def view(
    stack: Stack = None,
    local: Local = False,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port of the page; 0: any that is free.")] = 0,
    browser: Annotated[bool, typer.Option(help="Open the page in the browser.")] = True,
    out: Folder = Path("out"),
    as_json: Json = False,
) -> None:
    """View images and their heatmaps in the browser, with your own AWS credentials, until Ctrl-C.

    Example: heatdrop view --stack heatdrop
    """
    target = find_target(stack, local, out)
    from heatdrop.loopback import open_port, served
    from heatdrop.viewer.server import Viewer

    # Other users of this machine can reach the port, but only the link contains the token.
    token = secrets.token_urlsafe()
    viewer = Viewer(target.outputs["ApiUrl"], target.signer, token)
    with open_port(port) as listener, served(viewer, listener) as address:
        link = f"{address}/?token={token}"
        if as_json:
            console.print_json({"viewer": link})
        else:
            console.answers.print(f"Open {link}\n{DISCLAIMER} Stop with Ctrl-C.", markup=False, soft_wrap=True)
        if browser:
            webbrowser.open(link)
        threading.Event().wait()
