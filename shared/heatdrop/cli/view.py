"""``heatdrop view``."""

import secrets
import webbrowser
from pathlib import Path
from typing import Annotated

import typer

from heatdrop.cli import console
from heatdrop.cli.targets import Folder, Local, Stack, find_target
from heatdrop.vocabulary import DISCLAIMER


def view(
    stack: Stack = None,
    local: Local = False,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port of the page; 0 takes any that is free.")] = 0,
    browser: Annotated[bool, typer.Option(help="Open it in the browser.")] = True,
    out: Folder = Path("out"),
) -> None:
    """Look at images and their heatmaps in the browser, with your own AWS credentials, until Ctrl-C.

    Example: heatdrop view --stack heatdrop
    """
    target = find_target(stack, local, out)
    from heatdrop.viewer.serving import viewer_server

    # Whoever else has an account on this machine can reach the port, but not without the link.
    token = secrets.token_urlsafe()
    with viewer_server(target.outputs["ApiUrl"], target.signer, port, token) as server:
        link = f"http://127.0.0.1:{server.server_port}/?token={token}"
        console.answers.print(f"Open {link}\n{DISCLAIMER} Stop with Ctrl-C.", markup=False, soft_wrap=True)
        if browser:
            webbrowser.open(link)
        server.serve_forever()
