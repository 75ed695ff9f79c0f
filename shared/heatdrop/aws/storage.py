"""Objects in S3: drops, manifests and artefacts. No other module knows the keys of the results bucket."""

import hashlib
from collections.abc import Collection
from typing import IO, TYPE_CHECKING

import boto3
from botocore.exceptions import ClientError

from heatdrop.errors import FileTooLarge, ManifestMissing, SourceMissing
from heatdrop.vocabulary import Drop, ExplanationSettings, FrozenModel, ModelName, Prediction

if TYPE_CHECKING:
    from mypy_boto3_s3.client import S3Client

_LONGEST_KEY = 1024
"""Bytes of UTF-8 that S3 takes."""
_GONE = {"NoSuchKey", "NoSuchVersion", "404"}
_MEDIA_TYPES = {".png": "image/png", ".npz": "application/octet-stream", ".dcm": "application/dicom"}


class ManifestEntry(FrozenModel):
    """One image of a heatmap job, with the predictions that are to be explained."""

    image_id: str
    drop: Drop
    predictions: tuple[Prediction, ...]
    trace_header: str | None = None
    """The header by which X-Ray follows the drop; None where there was none."""


class Manifest(FrozenModel):
    """The images that one heatmap job explains, and how."""

    manifest_id: str
    model: ModelName
    """That made the predictions, and so is to explain them; its version is a digest of the bundle."""
    bundle_uri: str | None = None
    """Where the bundle of ``model`` lies; manifests of earlier versions lack it, and mean the bundle of the job."""
    settings: ExplanationSettings
    images: tuple[ManifestEntry, ...]


def manifest_key(manifest_id: str) -> str:
    """The S3 key of a manifest."""
    return f"manifests/{manifest_id}.json"


def artefact_folder(image_id: str) -> str:
    """What the S3 keys of all artefacts of an image begin with."""
    return f"images/{image_id}/"


def fitting_key(key: str) -> str:
    """``key``, or where it is too long for S3 its end, behind a digest that keeps it unique."""
    encoded = key.encode()
    if len(encoded) <= _LONGEST_KEY:
        return key
    digest = hashlib.sha256(encoded).hexdigest()
    return f"{digest}/{encoded[-(_LONGEST_KEY - 80) :].decode(errors='ignore')}"


def put_drop(s3: "S3Client", bucket: str, key: str, body: IO[bytes] | bytes) -> Drop:
    """Put an image into the input bucket, as anyone does who drops one."""
    answer = s3.put_object(Bucket=bucket, Key=key, Body=body)
    return Drop(bucket=bucket, key=key, version_id=answer.get("VersionId"), etag=answer["ETag"].strip('"'))


class Storage:
    """Reads drops from the input bucket, and keeps manifests and artefacts in the results bucket."""

    def __init__(self, results_bucket: str) -> None:
        self.results_bucket = results_bucket
        self._s3: S3Client = boto3.client("s3")

    def fetch_drop(self, drop: Drop, max_bytes: int) -> bytes:
        """The bytes of exactly the object version that was dropped.

        Raises:
            SourceMissing: it was deleted since.
            FileTooLarge: it has more than ``max_bytes``; it is not downloaded.
        """
        request = {"Bucket": drop.bucket, "Key": drop.key}
        if drop.version_id:
            request["VersionId"] = drop.version_id
        try:
            answer = self._s3.get_object(**request)  # type: ignore[arg-type]
        except ClientError as error:
            if error.response.get("Error", {}).get("Code") in _GONE:
                raise SourceMissing("the image was deleted from the input bucket; drop it again") from error
            raise
        with answer["Body"] as body:
            if answer["ContentLength"] > max_bytes:
                raise FileTooLarge.over(max_bytes, answer["ContentLength"])
            return body.read()

    def put_manifest(self, manifest: Manifest) -> str:
        """Store a manifest; returns its S3 key."""
        key = manifest_key(manifest.manifest_id)
        body = manifest.model_dump_json().encode()
        self._s3.put_object(Bucket=self.results_bucket, Key=key, Body=body, ContentType="application/json")
        return key

    def get_manifest(self, key: str) -> Manifest:
        """Read the manifest at ``key``.

        Raises:
            ManifestMissing: it was deleted since.
        """
        try:
            with self._s3.get_object(Bucket=self.results_bucket, Key=key)["Body"] as body:
                return Manifest.model_validate_json(body.read())
        except self._s3.exceptions.NoSuchKey as error:
            raise ManifestMissing(f"{key} is gone: all its images were erased, or it has expired") from error

    def has_manifest(self, key: str) -> bool:
        """Whether the manifest at ``key`` is still there; each expires after some months."""
        return "Contents" in self._s3.list_objects_v2(Bucket=self.results_bucket, Prefix=key, MaxKeys=1)

    def remove_from_manifest(self, key: str, image_ids: Collection[str]) -> None:
        """Take images out of the manifest at ``key``; one without any image left is deleted."""
        manifest = self.get_manifest(key)
        left = tuple(entry for entry in manifest.images if entry.image_id not in image_ids)
        if left:
            self.put_manifest(manifest.model_copy(update={"images": left}))
        else:
            self._s3.delete_object(Bucket=self.results_bucket, Key=key)

    def put_artefact(self, image_id: str, model: ModelName, name: str, content: bytes) -> str:
        """Store one artefact of an image; returns its key, ``images/IMAGE_ID/MODEL_VERSION/NAME``.

        For an explanation on request, ``name`` begins with its id and a slash.
        """
        key = f"{artefact_folder(image_id)}{model.version}/{name}"
        media_type = _MEDIA_TYPES[name[name.rindex(".") :]]
        self._s3.put_object(Bucket=self.results_bucket, Key=key, Body=content, ContentType=media_type)
        return key

    def get_artefact(self, key: str) -> bytes:
        """Read the artefact at ``key``."""
        with self._s3.get_object(Bucket=self.results_bucket, Key=key)["Body"] as body:
            return body.read()
