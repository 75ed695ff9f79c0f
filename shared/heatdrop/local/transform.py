"""Turns the SAM template into plain CloudFormation offline, as ``sam package`` and AWS's SAM macro do."""

import io
import zipfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import boto3
import yaml
from samtranslator.internal.managed_policies import get_bundled_managed_policy_map
from samtranslator.translator.transform import transform
from samtranslator.yaml_helper import intrinsics_multi_constructor

CODE_BUCKET = "heatdrop-local-code"

_CODE_PROPERTIES = {"AWS::Serverless::Function": "CodeUri", "AWS::Serverless::LayerVersion": "ContentUri"}


class _TemplateLoader(yaml.CSafeLoader):  # type: ignore[misc]
    """Reads the short forms of the intrinsic functions as SAM does, ten times as fast as SAM's own loader."""


_TemplateLoader.add_multi_constructor("!", intrinsics_multi_constructor)


class _BundledPolicies:
    """Gives the translator its own copy of AWS's managed policies, so that it need not ask IAM."""

    def load(self) -> Any:
        return get_bundled_managed_policy_map("aws")


def read_template(path: Path) -> dict[str, Any]:
    """Parse the template, including the short forms of intrinsic functions (``!Ref``)."""
    template: dict[str, Any] = yaml.load(path.read_text(encoding="utf-8"), _TemplateLoader)  # noqa: S506
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
            # In place of the image that `sam build` makes. By digest, since moto would look a tag up in its registry.
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
