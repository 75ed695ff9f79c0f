"""Objects of S3 with all their versions, found and deleted for good; elsewhere nothing is ever deleted from S3."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import boto3

from heatdrop.errors import NotErased

if TYPE_CHECKING:
    from mypy_boto3_s3.client import S3Client

_MOST_DELETED = 1000
"""Versions that one call deletes."""


@dataclass(frozen=True)
class ObjectVersion:
    """A version of an object, or a delete marker, by which S3 hides the versions before it."""

    key: str
    version_id: str
    is_marker: bool
    etag: str = ""


class ObjectVersions:
    """The versions of the objects in a bucket; in a bucket without versioning each object has the version ``null``."""

    def __init__(self, bucket: str) -> None:
        self.bucket = bucket
        self._s3: S3Client = boto3.client("s3")

    def under(self, prefix: str) -> Iterator[ObjectVersion]:
        """Every version and delete marker whose key begins with ``prefix``."""
        for page in self._s3.get_paginator("list_object_versions").paginate(Bucket=self.bucket, Prefix=prefix):
            for version in page.get("Versions", []):
                yield ObjectVersion(version["Key"], version["VersionId"], False, version["ETag"].strip('"'))
            for marker in page.get("DeleteMarkers", []):
                yield ObjectVersion(marker["Key"], marker["VersionId"], True)

    def delete(self, versions: Sequence[ObjectVersion]) -> None:
        """Delete versions for good; those that are gone already do not matter.

        Raises:
            NotErased: S3 refuses to delete some.
        """
        for start in range(0, len(versions), _MOST_DELETED):
            some = versions[start : start + _MOST_DELETED]
            answer = self._s3.delete_objects(
                Bucket=self.bucket,
                Delete={"Objects": [{"Key": v.key, "VersionId": v.version_id} for v in some], "Quiet": True},
            )
            if errors := answer.get("Errors"):
                raise NotErased(
                    f"S3 refuses to delete {len(errors)} of {len(some)} objects of {self.bucket} "
                    f"({errors[0].get('Message') or errors[0].get('Code')}); mend that, then run it again"
                )
