"""Model bundles where a deployment keeps them: in a folder of the container image, or under a prefix in S3."""

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import boto3
from botocore.exceptions import BotoCoreError, ClientError
from pydantic import Field
from typing_extensions import override

from heatdrop.errors import InvalidBundle, InvalidRequest
from heatdrop.model.bundle import DESCRIPTION, LABELS, Bundle, BundleDescription, open_bundle
from heatdrop.vocabulary import ModelName

if TYPE_CHECKING:
    from mypy_boto3_s3.client import S3Client

_SCHEME = "s3://"
_PERMANENT = {"404", "403", "NoSuchKey", "NoSuchBucket", "AccessDenied"}


def in_s3(uri: str) -> bool:
    """Whether a bundle lies in S3, so that whoever may read it there can open it, or in a folder of a container."""
    return uri.startswith(_SCHEME)


def model_at(uri: str) -> ModelName | None:
    """The model of the bundle at ``uri``, of which only the description is read; None where no bundle can be read.

    Raises:
        ClientError: S3 throttles or is down, which says nothing about the bundle; try again.
    """
    if not in_s3(uri):
        try:
            return open_bundle(Path(uri)).model
        except InvalidBundle:
            return None
    bucket, prefix = _bucket_and_prefix(uri)
    try:
        description = _description_at(boto3.client("s3"), bucket, f"{prefix}/{DESCRIPTION}")
    except ClientError as error:
        if not _is_permanent(error):
            raise
        return None
    except ValueError:
        return None
    return description.model if description else None


class BundleInS3(Bundle):
    """A bundle under ``s3://bucket/prefix``; each of its files is fetched into ``folder`` when it is read first."""

    uri: str
    s3: Annotated[Any, Field(exclude=True, repr=False)]
    """The client that fetches; making one takes longer than a cold start should."""

    @override
    def read(self, name: str) -> bytes:
        if not (self.folder / name).exists():
            _fetch(self.s3, self.uri, name, self.folder)
        return super().read(name)


def open_bundle_at(uri: str, folder: Path | None = None) -> Bundle:
    """Open the bundle at ``uri``, a folder or ``s3://bucket/prefix``.

    What lies in S3 is fetched into ``folder``, a temporary one by default: a model not before it is read. Each file is
    checked against its digest when it is read, wherever it came from.

    Raises:
        InvalidBundle: there is no bundle, or it was changed after packing.
        ClientError: S3 throttles or is down, which says nothing about the bundle; try again.
    """
    if not in_s3(uri):
        return open_bundle(Path(uri))
    folder = folder or Path(tempfile.mkdtemp(prefix="bundle-"))
    s3: S3Client = boto3.client("s3")
    for name in (LABELS, DESCRIPTION):
        _fetch(s3, uri, name, folder)
    return BundleInS3(**dict(open_bundle(folder)), uri=uri, s3=s3)


def _fetch(s3: "S3Client", uri: str, name: str, folder: Path) -> None:
    bucket, prefix = _bucket_and_prefix(uri)
    key = f"{prefix}/{name}"
    try:
        s3.download_file(bucket, key, str(folder / name))
    except ClientError as error:
        if not _is_permanent(error):
            raise
        raise InvalidBundle(f"s3://{bucket}/{key} cannot be fetched: {error}") from error


def push_bundle(bundle: Bundle, uri: str) -> None:
    """Upload a bundle to ``s3://bucket/prefix``, its description last, so that half an upload is no bundle.

    A prefix that holds a model is never given another one: running containers may still read it.

    Raises:
        InvalidBundle: a file of the bundle is not the one that was packed.
        InvalidRequest: ``uri`` is not such a URI, cannot be written to, or holds another model.
    """
    bucket, prefix = _bucket_and_prefix(uri)
    files = {name: bundle.read(name) for name in bundle.files}
    description = (bundle.folder / DESCRIPTION).read_bytes()
    s3: S3Client = boto3.client("s3")
    try:
        there = _description_at(s3, bucket, f"{prefix}/{DESCRIPTION}")
        if there and there.model != bundle.model:
            raise InvalidRequest(
                f"{uri} holds {there.model.name} {there.model.version}; push {bundle.model.name} "
                f"{bundle.model.version} to a prefix of its own"
            )
        for name, content in (*files.items(), (DESCRIPTION, description)):
            s3.put_object(Bucket=bucket, Key=f"{prefix}/{name}", Body=content)
    except (ClientError, BotoCoreError) as error:
        raise InvalidRequest(f"{uri} cannot be written to: {error}") from error


def _is_permanent(error: ClientError) -> bool:
    return error.response.get("Error", {}).get("Code") in _PERMANENT


def _description_at(s3: "S3Client", bucket: str, key: str) -> BundleDescription | None:
    try:
        with s3.get_object(Bucket=bucket, Key=key)["Body"] as body:
            return BundleDescription.model_validate_json(body.read())
    except s3.exceptions.NoSuchKey:
        return None


def _bucket_and_prefix(uri: str) -> tuple[str, str]:
    bucket, _, prefix = uri.removeprefix(_SCHEME).partition("/")
    if not (in_s3(uri) and bucket and prefix.strip("/")):
        raise InvalidRequest(f"{uri} is no place for a bundle; write it like s3://bucket/prefix")
    return bucket, prefix.rstrip("/")
