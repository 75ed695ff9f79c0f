"""Where a deployed model bundle lies: a folder of the container image, or a prefix in S3 that is fetched at start."""

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import boto3
from botocore.exceptions import ClientError

from heatdrop.errors import InvalidBundle
from heatdrop.model.bundle import DESCRIPTION, LABELS, Bundle, open_bundle

if TYPE_CHECKING:
    from mypy_boto3_s3.client import S3Client

_SCHEME = "s3://"
_FOR_GOOD = {"404", "403", "NoSuchKey", "NoSuchBucket", "AccessDenied"}


def open_bundle_at(uri: str, model_file: str) -> Bundle:
    """Open the bundle at ``uri``, a folder or ``s3://bucket/prefix``; of its models only ``model_file`` is fetched.

    What is fetched is checked like what is local: every file against its digest, when it is read.

    Raises:
        InvalidBundle: there is no bundle, or it was changed after packing.
        ClientError: S3 is throttling or down, and says nothing about the bundle.
    """
    if not uri.startswith(_SCHEME):
        return open_bundle(Path(uri))
    folder = Path(tempfile.mkdtemp(prefix="bundle-"))
    bucket, _, prefix = uri.removeprefix(_SCHEME).partition("/")
    s3: S3Client = boto3.client("s3")
    for name in (LABELS, model_file, DESCRIPTION):
        key = f"{prefix.rstrip('/')}/{name}"
        try:
            s3.download_file(bucket, key, str(folder / name))
        except ClientError as error:
            if error.response.get("Error", {}).get("Code") not in _FOR_GOOD:
                raise
            raise InvalidBundle(f"s3://{bucket}/{key} cannot be fetched: {error}") from error
    return open_bundle(folder)
