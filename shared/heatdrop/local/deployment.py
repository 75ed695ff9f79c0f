"""Deploys the real template into the local cloud, and describes the deployed stack.

The description is read back from the services; only the folders of the code are taken from the template itself.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
from moto.cloudformation.models import cloudformation_backends

from heatdrop.aws.stack import outputs_of
from heatdrop.errors import DeploymentFailed
from heatdrop.local import verification
from heatdrop.local.transform import read_template, to_cloudformation

STACK = "heatdrop"
"""What the stack of a local cloud is called, unless a test calls it otherwise."""


@dataclass(frozen=True)
class DeployedFunction:
    """A Lambda function as it was deployed; ``code`` is the folder that holds its handler, ``role`` its role's ARN."""

    name: str
    handler: str
    code: Path
    role: str
    environment: dict[str, str]
    memory_mb: int
    timeout_s: int


@dataclass(frozen=True)
class EventSource:
    """A queue that feeds a function."""

    function: str
    queue_url: str
    batch_size: int
    window_s: int
    partial_failures: bool


@dataclass(frozen=True)
class Deployment:
    """A deployed stack."""

    outputs: dict[str, str]
    physical_ids: dict[str, str]
    functions: tuple[DeployedFunction, ...]
    event_sources: tuple[EventSource, ...]
    job_code: dict[str, Path]
    """Batch job definition ARN to the folder that its command runs in."""


def deploy(template: Path, parameters: Mapping[str, str], stack_name: str = STACK) -> Deployment:
    """Deploy ``template`` and verify that every resource exists.

    Raises:
        DeploymentFailed: naming each that does not.
    """
    source = read_template(template)
    # Defaults are passed explicitly, since moto converts lists and numbers only in parameters that it is given.
    values = {name: str(parameter["Default"]) for name, parameter in source["Parameters"].items()} | dict(parameters)
    transformed = to_cloudformation(template, values)
    cloudformation = boto3.client("cloudformation")
    cloudformation.create_stack(
        StackName=stack_name,
        TemplateBody=json.dumps(transformed),
        Parameters=[{"ParameterKey": name, "ParameterValue": value} for name, value in values.items()],
        Capabilities=["CAPABILITY_IAM"],
    )
    described = cloudformation.describe_stack_resources(StackName=stack_name)["StackResources"]
    physical_ids = {r["LogicalResourceId"]: r["PhysicalResourceId"] for r in described if r.get("PhysicalResourceId")}
    holds = _conditions(stack_name)
    types = {
        logical_id: resource["Type"]
        for logical_id, resource in transformed["Resources"].items()
        if "Condition" not in resource or holds[resource["Condition"]]
    }
    missing = verification.missing_resources(types, physical_ids)
    if missing:
        raise DeploymentFailed("the local cloud lacks " + "; ".join(missing))
    return Deployment(
        outputs=outputs_of(stack_name),
        physical_ids=physical_ids,
        functions=_functions(source, physical_ids, template.parent),
        event_sources=_event_sources(),
        job_code={
            physical_ids[logical_id]: _folder_of_dockerfile(resource, template.parent)
            for logical_id, resource in source["Resources"].items()
            if resource["Type"] == "AWS::Batch::JobDefinition"
        },
    )


def _conditions(stack_name: str) -> Mapping[str, bool]:
    """Whether each condition of the template holds in the deployed stack."""
    account = boto3.client("sts").get_caller_identity()["Account"]
    stack = cloudformation_backends[account][boto3.Session().region_name].get_stack(stack_name)
    holds: Mapping[str, bool] = stack.resource_map.lazy_condition_map
    return holds


def _functions(source: Mapping[str, Any], physical_ids: Mapping[str, str], root: Path) -> tuple[DeployedFunction, ...]:
    found = []
    for logical_id, resource in source["Resources"].items():
        if resource["Type"] != "AWS::Serverless::Function":
            continue
        deployed = boto3.client("lambda").get_function_configuration(FunctionName=physical_ids[logical_id])
        properties = resource["Properties"]
        if deployed.get("PackageType") == "Image":
            handler, code = properties["ImageConfig"]["Command"][0], _folder_of_dockerfile(resource, root)
        else:
            handler, code = deployed["Handler"], (root / properties["CodeUri"]).resolve()
        found.append(
            DeployedFunction(
                name=deployed["FunctionName"],
                handler=handler,
                code=code,
                role=deployed["Role"],
                environment=deployed["Environment"]["Variables"],
                memory_mb=deployed["MemorySize"],
                timeout_s=int(deployed["Timeout"]),
            )
        )
    return tuple(found)


def _folder_of_dockerfile(resource: Mapping[str, Any], root: Path) -> Path:
    dockerfile: str = resource["Metadata"]["Dockerfile"]
    return (root / dockerfile).resolve().parent


def _event_sources() -> tuple[EventSource, ...]:
    sqs = boto3.client("sqs")
    mappings = boto3.client("lambda").list_event_source_mappings()["EventSourceMappings"]
    return tuple(
        EventSource(
            function=mapping["FunctionArn"].split(":")[6],
            queue_url=sqs.get_queue_url(QueueName=mapping["EventSourceArn"].split(":")[-1])["QueueUrl"],
            batch_size=int(mapping["BatchSize"]),
            window_s=int(mapping.get("MaximumBatchingWindowInSeconds", 0)),
            partial_failures="ReportBatchItemFailures" in mapping.get("FunctionResponseTypes", []),
        )
        for mapping in mappings
    )
