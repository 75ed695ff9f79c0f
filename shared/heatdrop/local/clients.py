"""AWS clients for deploying into the local cloud, each made once: making one takes longer than most of its calls."""

from functools import cache
from typing import Any

import boto3


@cache
def client(service: str) -> Any:
    """The client of a service for the cloud of now; untyped, as are the properties from CloudFormation."""
    return boto3.client(service)  # type: ignore[call-overload]
