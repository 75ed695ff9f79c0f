"""The SAM template to plain CloudFormation, offline: what ``sam package`` and the cloud's SAM macro do."""

import io
import zipfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import boto3
from samtranslator.internal.managed_policies import get_bundled_managed_policy_map
from samtranslator.translator.transform import transform
from samtranslator.yaml_helper import yaml_parse

CODE_BUCKET = "heatdrop-local-code"

_CODE_PROPERTIES = {"AWS::Serverless::Function": "CodeUri", "AWS::Serverless::LayerVersion": "ContentUri"}


class _BundledPolicies:
    """SAM's managed policies as they come with the translator, instead of asking IAM."""

    def load(self) -> Any:
        return get_bundled_managed_policy_map("aws")


def read_template(path: Path) -> dict[str, Any]:
    """The template as it is written, with the short forms of the intrinsic functions understood."""
    template: dict[str, Any] = yaml_parse(path.read_text(encoding="utf-8"))
    return template


def to_cloudformation(path: Path, parameters: Mapping[str, str]) -> dict[str, Any]:
    """Transform the template at ``path``; local code is zipped into an S3 bucket, as ``sam package`` does."""
    template = read_template(path)
    s3: Any = boto3.client("s3")
    with suppress(s3.exceptions.BucketAlreadyOwnedByYou):  # a second stack in the same cloud
        s3.create_bucket(Bucket=CODE_BUCKET, CreateBucketConfiguration={"LocationConstraint": s3.meta.region_name})
    for logical_id, resource in template["Resources"].items():
        properties = resource.get("Properties", {})
        name = _CODE_PROPERTIES.get(resource["Type"])
        if name in properties:
            properties[name] = _upload(logical_id, path.parent / properties[name])
        if properties.get("PackageType") == "Image":
            # What `sam build` would have pushed. By digest: moto looks a tag up in a registry of its own.
            properties["ImageUri"] = f"local/{logical_id.lower()}@sha256:{'0' * 64}"
    transformed: dict[str, Any] = transform(template, dict(parameters), _BundledPolicies())
    return transformed


def _upload(logical_id: str, folder: Path) -> dict[str, str]:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for file in sorted(folder.rglob("*")):
            if file.is_file() and "__pycache__" not in file.parts:
                archive.write(file, file.relative_to(folder))
    key = f"{logical_id}.zip"
    boto3.client("s3").put_object(Bucket=CODE_BUCKET, Key=key, Body=buffer.getvalue())
    return {"Bucket": CODE_BUCKET, "Key": key}
