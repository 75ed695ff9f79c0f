"""``heatdrop drop``."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated

import typer

from heatdrop.cli import console
from heatdrop.cli.options import Json, Paths
from heatdrop.cli.targets import Folder, Local, Stack, find_target
from heatdrop.errors import InvalidRequest
from heatdrop.explaining.inputs import find_files, path_text
from heatdrop.ids import image_id
from heatdrop.vocabulary import Drop


def drop(
    paths: Paths,
    bucket: Annotated[str | None, typer.Option(help="The input bucket itself, instead of a stack's name.")] = None,
    stack: Stack = None,
    local: Local = False,
    prefix: Annotated[str, typer.Option(help="Put before each key, like ward-3/.")] = "",
    out: Folder = Path("out"),
    as_json: Json = False,
) -> None:
    """Put images into the input bucket; the pipeline processes them from there.

    Example: heatdrop drop xrays/ --stack heatdrop
    """
    if bucket and (stack or local):
        raise InvalidRequest("say --bucket, --stack or --local, only one of them")
    files = find_files(paths)
    bucket = bucket or find_target(stack, local, out).outputs["InputBucket"]
    keys = [prefix + key for key in keys_of(files)]
    dropped = console.track(_put(files, keys, bucket), "dropped", len(files), as_json)
    if as_json:
        for file, made in dropped:
            answer = {"file": path_text(file), "image_id": image_id(made), "key": made.key, "bucket": made.bucket}
            console.print_json(answer)
    else:
        console.show_rows(
            ("file", "image_id", "key"), [(path_text(file), image_id(made), made.key) for file, made in dropped]
        )


def keys_of(files: Sequence[Path]) -> list[str]:
    """A key for each file, no two the same: the paths as they were given, without a leading slash.

    Whole paths are taken where a path leads upwards (S3 takes no key that begins with ``../``), or where two paths
    would make one key, as ``/a.png`` and ``a.png`` do.
    """
    keys = [path_text(file).lstrip("/") for file in files]
    if len(set(keys)) < len(files) or any(".." in file.parts for file in files):
        keys = [path_text(Path(os.path.abspath(file))).lstrip("/") for file in files]  # noqa: PTH100 (keeps "..")
    return keys


def _put(files: Sequence[Path], keys: Sequence[str], bucket: str) -> Iterator[tuple[Path, Drop]]:
    import boto3
    from botocore.exceptions import BotoCoreError, ClientError

    from heatdrop.aws.storage import fitting_key, put_drop
    from heatdrop.errors import CloudUnreachable

    s3 = boto3.client("s3")
    for file, key in zip(files, keys, strict=True):
        try:
            with file.open("rb") as body:
                made = put_drop(s3, bucket, fitting_key(key), body)
        except OSError as error:
            raise InvalidRequest(f"{path_text(file)} cannot be read: {error.strerror}") from error
        except (BotoCoreError, ClientError) as error:
            raise CloudUnreachable(f"{path_text(file)} could not be put into {bucket}: {error}") from error
        yield file, made
