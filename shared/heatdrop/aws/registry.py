"""A repository of container images in ECR."""

import base64
from typing import TYPE_CHECKING

import boto3

if TYPE_CHECKING:
    from mypy_boto3_ecr.client import ECRClient


class ImageRepository:
    """One repository, by its URI, such as ``123456789012.dkr.ecr.eu-west-1.amazonaws.com/name``."""

    def __init__(self, uri: str) -> None:
        self.uri = uri
        self._ecr: ECRClient = boto3.client("ecr")

    @property
    def registry(self) -> str:
        """The host that Docker logs in to."""
        return self.uri.partition("/")[0]

    def has(self, tag: str) -> bool:
        """Whether an image with this tag is there."""
        name = self.uri.partition("/")[2]
        try:
            self._ecr.describe_images(repositoryName=name, imageIds=[{"imageTag": tag}])
        except self._ecr.exceptions.ImageNotFoundException:
            return False
        return True

    def credentials(self) -> tuple[str, str]:
        """User and password for ``docker login``; they last twelve hours."""
        token = self._ecr.get_authorization_token()["authorizationData"][0]["authorizationToken"]
        user, _, password = base64.b64decode(token).decode().partition(":")
        return user, password
