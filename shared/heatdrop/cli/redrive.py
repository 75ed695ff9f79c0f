"""``heatdrop redrive``."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from heatdrop.cli import console
from heatdrop.cli.options import Json
from heatdrop.cli.targets import Folder, Local, Stack, find_target
from heatdrop.text import counted, printable

if TYPE_CHECKING:
    from heatdrop.aws.record import Record


def redrive_images(
    images: Annotated[
        list[str] | None, typer.Argument(metavar="[IMAGE_ID]...", help="Ids of FAILED images; all of them by default.")
    ] = None,
    stack: Stack = None,
    local: Local = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only list what would be processed again.")] = False,
    out: Folder = Path("out"),
    as_json: Json = False,
) -> None:
    """Process FAILED images again once the cause is fixed, and the failures that could not be recorded.

    Example: heatdrop redrive --stack heatdrop --dry-run
    """
    outputs = find_target(stack, local, out).outputs
    # These load boto3, which other commands can do without.
    from botocore.exceptions import BotoCoreError, ClientError

    from heatdrop.aws.image_table import ImageTable
    from heatdrop.aws.item_table import ItemTable
    from heatdrop.aws.queues import DeadLetters, DropQueue
    from heatdrop.aws.table_schema import Layout
    from heatdrop.errors import CloudUnreachable
    from heatdrop.pipeline.redrive import failed_images, redrive

    try:
        records = ImageTable(ItemTable(outputs["ImagesTable"], Layout.of_stack(outputs)))
        dead_letters = DeadLetters(outputs["JobEventsDeadLetters"], outputs["JobEventsQueue"])
        failed = list(failed_images(records, images or []))
        if dry_run:
            for record in failed:
                _show(record, as_json)
            _sum_up(len(failed), 0 if images else dead_letters.count(), "would be brought back", as_json)
            return
        # First, since what could not be settled may fail more images, which is then seen.
        letters = 0 if images else dead_letters.send_back()
        count = redrive(failed, records, DropQueue(outputs["IngestQueue"]))
    except (BotoCoreError, ClientError) as error:
        raise CloudUnreachable(f"the redrive stopped half-way; run it again: {error}") from error
    _sum_up(count, letters, "were brought back", as_json)


def _show(record: "Record", as_json: bool) -> None:
    image = {"image_id": record.image_id, "key": record.drop.key, "reason": record.reason}
    if as_json:
        console.print_json(image)
    else:
        console.answers.print(printable("  ".join(map(str, image.values()))), markup=False, soft_wrap=True)


def _sum_up(images: int, letters: int, what: str, as_json: bool) -> None:
    if as_json:
        console.print_json({"images": images, "dead_letters": letters})
    else:
        console.answers.print(f"{counted(images, 'image')} and {counted(letters, 'dead letter')} {what}.")
