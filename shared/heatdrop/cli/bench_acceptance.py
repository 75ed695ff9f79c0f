"""``heatdrop bench acceptance``."""

from pathlib import Path
from typing import Annotated

import typer

from heatdrop.cli import console
from heatdrop.cli.options import Json
from heatdrop.cli.targets import Folder, Local, Stack, find_target
from heatdrop.explaining.inputs import find_files


def acceptance(
    image: Annotated[
        Path | None, typer.Argument(metavar="[IMAGE]", help="A sound picture; a radiograph of the demo by default.")
    ] = None,
    stack: Stack = None,
    local: Local = False,
    second_bundle: Annotated[
        str | None, typer.Option(metavar="s3://...", help="Another model's bundle, to try an upgrade with.")
    ] = None,
    patience: Annotated[float, typer.Option(min=10, help="Seconds that an image may take.")] = 1800,
    out: Folder = Path("out"),
    as_json: Json = False,
) -> None:
    """Try a deployed stack as a whole: doctor, drop, links, explanation on request, upgrade, redrive, erase.

    Ends with exit code 1 where a step failed.

    Example: heatdrop bench acceptance --stack heatdrop
    """
    target = find_target(stack, local, out)
    # These load boto3 and, for the demo's images, moto.
    from heatdrop.aws.doctor import DeployedStack
    from heatdrop.bench.acceptance import STEPS, Trial, accept

    if image is None:
        from heatdrop.local.send import demo_files

        image = demo_files()[0]
    (file,) = find_files([str(image)])
    trial = Trial(DeployedStack.read(target.stack, local=target.local), target.api, file, patience, second_bundle)
    steps = []
    for step in console.track(accept(trial), "steps", len(STEPS), as_json):
        steps.append(step)
        if as_json:
            console.print_json(step)
    if not as_json:
        words = {True: "passed", False: "FAILED", None: "skipped"}
        rows = [(step.name, words[step.passed], f"{step.seconds:.1f}", step.sentence) for step in steps]
        console.show_rows(("step", "", "seconds", "what came of it"), rows)
    raise typer.Exit(int(any(step.passed is False for step in steps)))
