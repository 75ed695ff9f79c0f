"""May each part do what it must? IAM is asked to simulate its role's policies, with the organisation's above them."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import boto3

from heatdrop.aws.doctor.deployed import DeployedStack
from heatdrop.aws.doctor.findings import Finding

if TYPE_CHECKING:
    from mypy_boto3_iam.client import IAMClient


def rights(stack: DeployedStack) -> Iterator[Finding]:
    """The calls without which no image is classified, explained, announced or settled."""
    check = "rights"
    if stack.local:
        yield Finding.ok(check, "not enforced on this machine")
        return
    iam: IAMClient = boto3.client("iam")
    partition, _, account = stack.arn_prefix
    denied = []
    for role, action, resource in _needed(stack):
        name = stack.resources[role]
        answer = iam.simulate_principal_policy(
            PolicySourceArn=f"arn:{partition}:iam::{account}:role/{name}",
            ActionNames=[action],
            ResourceArns=[resource],
            ContextEntries=[
                {"ContextKeyName": "aws:SecureTransport", "ContextKeyValues": ["true"], "ContextKeyType": "boolean"}
            ],
        )
        denied += [
            f"{role} may not {action} on {resource} ({result['EvalDecision']})"
            for result in answer["EvaluationResults"]
            if result["EvalDecision"] != "allowed"
        ]
    yield from (
        Finding.problem(check, f"{sentence}; look for a service control policy, or deploy again") for sentence in denied
    )
    if not denied:
        yield Finding.ok(check, "functions and jobs may do what they must")


def _needed(stack: DeployedStack) -> list[tuple[str, str, str]]:
    partition, region, account = stack.arn_prefix
    bucket, results = stack.outputs["InputBucket"], stack.outputs["ResultsBucket"]
    table = f"arn:{partition}:dynamodb:{region}:{account}:table/{stack.outputs['ImagesTable']}"
    topic = stack.outputs["NotificationsTopic"]
    read = f"arn:{partition}:s3:::{bucket}/any"
    return [
        ("InferenceRole", "s3:GetObject", read),
        ("InferenceRole", "s3:PutObject", f"arn:{partition}:s3:::{results}/manifests/any.json"),
        ("InferenceRole", "dynamodb:UpdateItem", table),
        ("InferenceRole", "batch:SubmitJob", stack.outputs["HeatmapJobQueue"]),
        ("InferenceRole", "sns:Publish", topic),
        ("HeatmapJobRole", "s3:GetObject", read),
        ("HeatmapJobRole", "s3:PutObject", f"arn:{partition}:s3:::{results}/images/any"),
        ("HeatmapJobRole", "dynamodb:UpdateItem", table),
        ("HeatmapJobRole", "sns:Publish", topic),
        ("JobEventsRole", "dynamodb:UpdateItem", table),
        ("JobEventsRole", "sns:Publish", topic),
    ]
