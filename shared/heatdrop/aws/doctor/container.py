"""Can Batch pull the heatmap container, and would it run there?"""

import json
import urllib.request
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import boto3

from heatdrop.aws.doctor.deployed import DeployedStack
from heatdrop.aws.doctor.findings import Finding

if TYPE_CHECKING:
    from mypy_boto3_batch.client import BatchClient
    from mypy_boto3_ecr.client import ECRClient

_ARCHITECTURE = "amd64"
_WITH_CUDA_BYTES = 1_500_000_000
"""TensorFlow for GPUs brings more than two gigabytes of CUDA, compressed; without it the image has 0.7."""
_MEDIA_TYPES = [
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
    "application/vnd.docker.distribution.manifest.v2+json",
]
_MEND = "run `make deploy` once more, which builds and pushes it"


def heatmap_image(stack: DeployedStack) -> Iterator[Finding]:
    """The tag that the job definition names is in the repository, for the right machines and with CUDA if need be."""
    check = "heatmap image"
    if stack.local:
        yield Finding.ok(check, "not needed: on this machine the job runs as a process")
        return
    batch: BatchClient = boto3.client("batch")
    definitions = batch.describe_job_definitions(jobDefinitions=[stack.resources["HeatmapJobDefinition"]])
    image = definitions["jobDefinitions"][0]["containerProperties"]["image"]
    repository, tag = stack.resources["HeatmapsRepository"], image.rsplit(":", 1)[-1]
    ecr: ECRClient = boto3.client("ecr")
    try:
        (described,) = ecr.describe_images(repositoryName=repository, imageIds=[{"imageTag": tag}])["imageDetails"]
    except ecr.exceptions.ImageNotFoundException:
        yield Finding.problem(check, f"the repository {repository} has no image with the tag {tag}; {_MEND}")
        return
    size = described.get("imageSizeInBytes", 0)
    if stack.uses_gpus and 0 < size < _WITH_CUDA_BYTES:
        yield Finding.problem(
            check,
            f"jobs run on GPUs, but the image {tag} has only {size / 1e6:.0f} MB and so no CUDA: build it without "
            "TENSORFLOW=tensorflow-cpu, or deploy with UseGpu=false",
        )
        return
    architectures = _architectures(ecr, repository, tag)
    if architectures and _ARCHITECTURE not in architectures:
        yield Finding.problem(
            check,
            f"the image {tag} is for {', '.join(sorted(architectures))}, jobs run on {_ARCHITECTURE}: "
            "build it with --platform linux/amd64",
        )
    else:
        known = f" for {_ARCHITECTURE}" if architectures else "; its architecture cannot be told"
        yield Finding.ok(check, f"the image {tag} is there, {size / 1e6:.0f} MB{known}")


def _architectures(ecr: "ECRClient", repository: str, tag: str) -> set[str]:
    """The processors that an image is for: read from its index, else from its configuration; empty where unknown."""
    answer = ecr.batch_get_image(
        repositoryName=repository, imageIds=[{"imageTag": tag}], acceptedMediaTypes=_MEDIA_TYPES
    )
    manifest: dict[str, Any] = json.loads(answer["images"][0]["imageManifest"]) if answer["images"] else {}
    if "manifests" in manifest:
        return {entry["platform"]["architecture"] for entry in manifest["manifests"] if "platform" in entry}
    if "config" not in manifest:
        return set()
    digest = manifest["config"]["digest"]
    url = ecr.get_download_url_for_layer(repositoryName=repository, layerDigest=digest)["downloadUrl"]
    with urllib.request.urlopen(url, timeout=30) as answered:  # noqa: S310 (an https link that ECR signed)
        return {json.load(answered)["architecture"]}
