"""``heatdrop serve``."""

import secrets
import shlex
import signal
import time
from pathlib import Path
from typing import Annotated

import typer

from heatdrop.cli import bundles, console, extras
from heatdrop.cli.options import BundleFolder, Json, with_settings
from heatdrop.errors import InvalidRequest
from heatdrop.explaining.output_folder import OutputFolder
from heatdrop.local.serve_file import RunningCloud, find_running
from heatdrop.vocabulary import DISCLAIMER, ExplanationSettings


@with_settings
def serve(
    settings: ExplanationSettings,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port of the API; 0: any that is free.")] = 8020,
    view_port: Annotated[int, typer.Option(min=0, max=65535, help="Port of the viewer; 0: any that is free.")] = 0,
    bundle: BundleFolder = None,
    out: Annotated[
        Path, typer.Option(help="Folder for the logs, and for the file by which other commands find the cloud.")
    ] = Path("out"),
    as_json: Json = False,
) -> None:
    """Run the cloud on this machine until Ctrl-C, for the AWS CLI, curl and the other commands.

    Example: heatdrop serve --port 8020 --dicom
    """
    # SIGTERM ends it in the same orderly way as Ctrl-C.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    if find_running(out):
        raise InvalidRequest(f"a cloud of {out} is running already; stop it, or choose another --out")
    extras.require("local", "explain", "view")
    ready, folder = bundles.open_or_build(bundle), OutputFolder(out)
    # Imported late: moto takes seconds, and a mistake in the command should be told at once.
    from heatdrop.local.serve import cloud_with_api
    from heatdrop.loopback import open_port, served
    from heatdrop.viewer.server import Viewer

    with open_port(view_port, "--view-port") as listener:
        console.messages.print("Deploying the template on this machine ...")
        token = secrets.token_urlsafe()
        with (
            cloud_with_api(ready, settings, folder.root, port) as (cloud, running),
            served(Viewer(running.outputs["ApiUrl"], token=token), listener) as viewer,
        ):
            link = f"{viewer}/?token={token}"
            if as_json:
                console.print_json(running.model_dump() | {"viewer": link})
            else:
                show_addresses(running, out, link)
            while True:
                cloud.check()
                time.sleep(1)


def show_addresses(running: RunningCloud, out: Path, viewer: str) -> None:
    """Print where everything is, and commands that can be pasted into another terminal."""
    bucket, api = running.outputs["InputBucket"], running.outputs["ApiUrl"]
    exported = " ".join(f"{name}={shlex.quote(value)}" for name, value in running.environment.items())
    local = "--local" if out == Path("out") else f"--local --out {shlex.quote(str(out))}"
    lines = [
        f"S3 and all else   {running.endpoint}",
        f"API               {api}",
        f"Viewer            {viewer}",
        f"Logs              {out / 'logs'}",
        "",
        "In another terminal:",
        f"  export {exported}",
        f"  aws s3 cp chest.dcm s3://{bucket}/",
        f"  curl '{api}/images?state=EXPLAINED'",
        f"  heatdrop drop chest.dcm {local}",
        f"  heatdrop results {local}",
        f"  heatdrop watch {local}",
        "",
        f"{DISCLAIMER} Stop with Ctrl-C; nothing is kept.",
    ]
    for line in lines:
        console.answers.print(line, markup=False, soft_wrap=True)
