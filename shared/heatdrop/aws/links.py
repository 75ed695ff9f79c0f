"""Presigned links, which end after minutes: to read one object of the results, or to upload one image."""

import os
import uuid
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Literal

import boto3
from botocore.config import Config

from heatdrop.vocabulary import FrozenModel

if TYPE_CHECKING:
    from mypy_boto3_s3.client import S3Client

UPLOADS = "uploads/"
"""The prefix, in the input bucket, of images that are uploaded with a link."""


class Link(FrozenModel):
    """Where an object can be read until ``expires_at``."""

    url: str
    expires_at: datetime


class UploadLink(FrozenModel):
    """A form (``multipart/form-data``) to send to ``url`` with all ``fields`` and, last, the image as ``file``."""

    url: str
    fields: dict[str, str]
    key: str
    expires_at: datetime


class Links:
    """Makes links with the rights of whoever runs this; they also end when its credentials do."""

    def __init__(self, input_bucket: str, results_bucket: str, seconds: int) -> None:
        self._input_bucket, self._results_bucket, self._seconds = input_bucket, results_bucket, seconds
        self._s3 = _signing_client()

    def to_result(self, key: str) -> Link:
        """A link to one artefact."""
        parameters = {"Bucket": self._results_bucket, "Key": key}
        url = self._s3.generate_presigned_url("get_object", Params=parameters, ExpiresIn=self._seconds)
        return Link(url=url, expires_at=self._end())

    def for_upload(self, name: str, size: int, media_type: str) -> UploadLink:
        """A form that uploads one object of exactly ``size`` bytes, under a new key that ends with ``name``."""
        key = f"{UPLOADS}{uuid.uuid4().hex}/{name}"
        made = self._s3.generate_presigned_post(
            self._input_bucket,
            key,
            Fields={"Content-Type": media_type},
            Conditions=[{"Content-Type": media_type}, ["content-length-range", size, size]],
            ExpiresIn=self._seconds,
        )
        return UploadLink(url=made["url"], fields=made["fields"], key=key, expires_at=self._end())

    def _end(self) -> datetime:
        return (datetime.now(UTC) + timedelta(seconds=self._seconds)).replace(microsecond=0)


def _signing_client() -> "S3Client":
    """A client whose links name the host of the bucket in its own region, ``BUCKET.s3.REGION.amazonaws.com``.

    Without these settings boto3 signs for ``BUCKET.s3.amazonaws.com``. That host redirects requests for a new bucket of
    another region, which breaks the signature and CORS, and does not serve opt-in regions. Objects encrypted with KMS
    are read with version 4 signatures only. An endpoint of one's own (the local cloud) may not know hosts of buckets.
    """
    own_endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    style: Literal["path", "virtual"] = "path" if own_endpoint else "virtual"
    s3 = Config(signature_version="s3v4", s3={"addressing_style": style, "us_east_1_regional_endpoint": "regional"})
    return boto3.client("s3", config=s3)
