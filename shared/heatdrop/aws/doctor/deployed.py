"""A deployed stack as CloudFormation describes it: its parameters, and the resource behind each logical id."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self

import boto3

from heatdrop.aws.stack import description_of

if TYPE_CHECKING:
    from mypy_boto3_cloudformation.client import CloudFormationClient


@dataclass(frozen=True)
class DeployedStack:
    """What is deployed under a name.

    Attributes:
        parameters: name to value, defaults included.
        outputs: name to value.
        resources: logical id to physical id; a resource whose condition does not hold is not there.
        local: whether it is the cloud of this machine, which runs functions and jobs as processes.
    """

    name: str
    arn: str
    parameters: dict[str, str]
    outputs: dict[str, str]
    resources: dict[str, str] = field(repr=False)
    local: bool = False

    @classmethod
    def read(cls, name: str, *, local: bool = False) -> Self:
        """Ask CloudFormation.

        Raises:
            InvalidRequest: there is no such stack, or it is not Heatdrop's.
            CloudUnreachable: AWS cannot be asked.
        """
        described = description_of(name)
        cloudformation: CloudFormationClient = boto3.client("cloudformation")
        pages = cloudformation.get_paginator("list_stack_resources").paginate(StackName=name)
        resources = {
            resource["LogicalResourceId"]: resource["PhysicalResourceId"]
            for page in pages
            for resource in page["StackResourceSummaries"]
            if resource.get("LogicalResourceId") and resource.get("PhysicalResourceId")
        }
        return cls(
            name=name,
            arn=described["StackId"],
            parameters={p["ParameterKey"]: p.get("ParameterValue", "") for p in described.get("Parameters", [])},
            outputs={output["OutputKey"]: output["OutputValue"] for output in described.get("Outputs", [])},
            resources=resources,
            local=local,
        )

    @property
    def uses_gpus(self) -> bool:
        """Whether heatmaps are rendered on GPU instances."""
        return self.parameters["UseGpu"] == "true"

    @property
    def arn_prefix(self) -> tuple[str, str, str]:
        """Partition, region and account, as ARNs have them."""
        _, partition, _, region, account, _ = self.arn.split(":", 5)
        return partition, region, account
