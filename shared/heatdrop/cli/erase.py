"""``heatdrop erase``."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from heatdrop.cli import console
from heatdrop.cli.options import Json
from heatdrop.cli.targets import Folder, Local, Stack, find_target
from heatdrop.errors import InvalidRequest
from heatdrop.text import counted, printable

if TYPE_CHECKING:
    from heatdrop.pipeline.erasing import Traces


def erase_images(
    key: Annotated[str | None, typer.Argument(metavar="[KEY]", help="S3 key of dropped images.")] = None,
    prefix: Annotated[str | None, typer.Option(help="Every image whose key begins so, like ward-3/.")] = None,
    image_id: Annotated[str | None, typer.Option(help="One image, by its id.")] = None,
    stack: Stack = None,
    local: Local = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be erased.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask first.")] = False,
    out: Folder = Path("out"),
    as_json: Json = False,
) -> None:
    """Erase images for good: all versions of what was dropped, heatmaps and maps, and the records. Logs hold ids only.

    Example: heatdrop erase --prefix ward-3/ --stack heatdrop --dry-run
    """
    if sum(bool(way) for way in (key, prefix, image_id)) != 1:
        raise InvalidRequest("name a KEY, --prefix or --image-id, one of the three")
    outputs = find_target(stack, local, out).outputs
    # These load boto3, which other commands can do without.
    from botocore.exceptions import BotoCoreError, ClientError

    from heatdrop.errors import CloudUnreachable
    from heatdrop.pipeline.erasing import Eraser

    try:
        eraser = Eraser.of_stack(outputs)
        if image_id:
            found = eraser.of_image(image_id)
        else:
            found = eraser.of_prefix(prefix) if prefix else eraser.of_key(key or "")
        if not (dry_run or yes) and any(found.counts.values()):
            _show(found, as_json=False)
            typer.confirm("Erase all of this? It cannot be brought back.", abort=True, err=True)
        if not dry_run:
            eraser.erase(found)
    except (BotoCoreError, ClientError) as error:
        raise CloudUnreachable(f"the erasure stopped half-way; run it again: {error}") from error
    if dry_run:
        _show(found, as_json)
    _sum_up(found, dry_run, as_json)


def _show(found: "Traces", as_json: bool) -> None:
    for record in found.records:
        image = {"image_id": record.image_id, "key": record.drop.key, "state": record.state.value}
        if as_json:
            console.print_json(image)
        else:
            console.messages.print(printable("  ".join(image.values())), markup=False, soft_wrap=True)


def _sum_up(found: "Traces", dry_run: bool, as_json: bool) -> None:
    if as_json:
        console.print_json(found.counts | {"open_images": found.open_images, "erased": not dry_run})
        return
    parts = [counted(count, kind.replace("_", " ").removesuffix("s")) for kind, count in found.counts.items()]
    verb = "would be erased" if dry_run else "were erased"
    console.answers.print(f"{', '.join(parts)} {verb}.", soft_wrap=True)
    if found.open_images and not dry_run:
        console.answers.print(
            f"{counted(found.open_images, 'image')} had not reached a final state; run it again in some minutes, "
            "in case a heatmap job has just stored something.",
            soft_wrap=True,
        )
