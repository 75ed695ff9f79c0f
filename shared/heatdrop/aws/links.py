"""Short-lived links: to read one object of the results, to upload one image. Nothing is made public."""

import uuid
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import boto3
from botocore.config import Config

from heatdrop.vocabulary import FrozenModel

if TYPE_CHECKING:
    from mypy_boto3_s3.client import S3Client

UPLOADS = "uploads/"
"""Where images that come by link lie in the input bucket."""


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
    """Makes links with the rights of whoever runs it; they end with its credentials, if those end before."""

    def __init__(self, input_bucket: str, results_bucket: str, seconds: int) -> None:
        self._input_bucket, self._results_bucket, self._seconds = input_bucket, results_bucket, seconds
        self._s3: S3Client = boto3.client("s3", config=Config(signature_version="s3v4"))

    def to_result(self, key: str) -> Link:
        """A link to one artefact."""
        parameters = {"Bucket": self._results_bucket, "Key": key}
        url = self._s3.generate_presigned_url("get_object", Params=parameters, ExpiresIn=self._seconds)
        return Link(url=url, expires_at=self._end())

    def for_upload(self, name: str, size: int, media_type: str) -> UploadLink:
        """A link that takes exactly one object of ``size`` bytes, under a key of its own that ends with ``name``."""
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
