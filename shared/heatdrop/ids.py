"""Ids that are digests of what they name, so that a step that runs again finds what it made before."""

import hashlib
import json
from collections.abc import Iterable

from heatdrop.vocabulary import Drop


def image_id(drop: Drop) -> str:
    """32 hexadecimal digits of bucket, key and object version (else its ETag): one drop, one id."""
    return _digest([drop.bucket, drop.key, drop.version_id or drop.etag])


def manifest_id(image_ids: Iterable[str], model_version: str, settings: str) -> str:
    """32 hexadecimal digits of what a job is to explain; a retry with the same images writes the same manifest."""
    return _digest([sorted(image_ids), model_version, settings])


def _digest(parts: object) -> str:
    return hashlib.sha256(json.dumps(parts, ensure_ascii=False).encode("utf-8", "surrogatepass")).hexdigest()[:32]
