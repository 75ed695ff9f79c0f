"""``heatdrop redrive``."""

import os
from typing import Annotated

import typer
from botocore.exceptions import BotoCoreError, ClientError

from heatdrop.cli import console
from heatdrop.messages import DeadLetters, DropQueue
from heatdrop.pipeline.redrive import failed_images, redrive
from heatdrop.records import Record, Records
from heatdrop.stack import CloudUnreachable, outputs_of
from heatdrop.text import printable


def redrive_images(
    images: Annotated[
        list[str] | None, typer.Argument(metavar="[IMAGE_ID]...", help="FAILED images; all of them by default.")
    ] = None,
    stack: Annotated[str, typer.Option(help="The stack that they failed in.")] = "heatdrop",
    endpoint: Annotated[str | None, typer.Option(help="The address of a local cloud instead of AWS.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be brought back.")] = False,
) -> None:
    """Bring FAILED images and what could not be settled back into the pipeline, once the cause is mended.

    Example: heatdrop redrive --stack heatdrop --dry-run
    """
    if endpoint:
        _go_to(endpoint)
    outputs = outputs_of(stack)
    try:
        records = Records(outputs["ImagesTable"])
        dead_letters = DeadLetters(outputs["JobEventsDeadLetters"], outputs["JobEventsQueue"])
        failed = list(failed_images(records, images or []))
        if dry_run:
            for record in failed:
                console.answers.print(_line(record), markup=False, soft_wrap=True)
            letters = 0 if images else dead_letters.count()
            console.answers.print(f"{len(failed)} images and {letters} dead letters would be brought back.")
            return
        # First, since what could not be settled may fail more images, which is then seen.
        letters = 0 if images else dead_letters.send_back()
        count = redrive(failed, records, DropQueue(outputs["IngestQueue"]))
    except (BotoCoreError, ClientError) as error:
        raise CloudUnreachable(f"the redrive stopped half-way; run it again: {error}") from error
    console.answers.print(f"{count} images and {letters} dead letters were brought back.")


def _line(record: Record) -> str:
    return printable(f"{record.image_id}  {record.drop.key}  {record.reason}")


def _go_to(endpoint: str) -> None:
    """Speak to a local cloud, which takes any credentials."""
    os.environ["AWS_ENDPOINT_URL"] = endpoint
    os.environ.setdefault("AWS_DEFAULT_REGION", "eu-west-1")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        os.environ.setdefault(name, "local")
