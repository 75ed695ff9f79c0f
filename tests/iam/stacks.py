"""The policies of what is deployed into moto, as CloudFormation resolved them.

moto's own services do not keep all of it: its IAM has policies as Python's text, its S3 no conditions.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from moto.cloudformation.models import cloudformation_backends
from moto.cloudformation.parsing import ResourceMap, clean_json
from moto.core import DEFAULT_ACCOUNT_ID
from moto.iam.models import iam_backends
from tests.iam.policies import Statement, statements


@dataclass
class Policies:
    """What all stacks of this process allow and deny.

    Attributes:
        of_role: ARN of a role to the statements of its policies, those that are attached to it included.
        of_resources: the statements of buckets', queues', topics' and keys' own policies.
        names: ARNs to the names that the template gives the resources.
        keys: ARNs of resources to that of the account's own key which encrypts them.
    """

    of_role: dict[str, list[Statement]] = field(default_factory=dict)
    of_resources: list[Statement] = field(default_factory=list)
    names: dict[str, str] = field(default_factory=dict)
    keys: dict[str, str] = field(default_factory=dict)

    def named(self, text: str) -> str:
        """A text with resources as the template calls them: ``ImagesTable/index/by_time``, ``InputBucket/*``."""
        for physical, logical in sorted(self.names.items(), key=lambda item: -len(item[0])):
            text = text.replace(physical, logical)
        return text

    def key_of(self, resource: str) -> str | None:
        """The key that a resource, or what it lies in, is encrypted with, if it is one of the account's own."""
        return next((key for arn, key in self.keys.items() if f"{resource}/".startswith(f"{arn}/")), None)


def deployed() -> Policies:
    """Read the policies of all stacks."""
    found = Policies()
    managed: dict[str, list[Statement]] = {}
    roles = {role.name: role for role in iam_backends[DEFAULT_ACCOUNT_ID]["aws"].roles.values()}
    for stack_map in _stacks():
        found.names[f"arn:aws:cloudformation:eu-west-1:{DEFAULT_ACCOUNT_ID}:stack/{stack_map['AWS::StackName']}/*"] = (
            "the stack"
        )
        for logical, kind, properties, physical in _resources(stack_map):
            names = _names(logical, kind, physical)
            found.names |= names
            if key := _key(properties):
                found.keys |= dict.fromkeys(names, key)
                found.names[key] = "KmsKeyArn"
            match kind:
                case "AWS::IAM::Role":
                    found.of_role[roles[physical].arn] = [
                        statement
                        for policy in properties.get("Policies", [])
                        for statement in statements(policy["PolicyName"], policy["PolicyDocument"])
                    ]
                case "AWS::IAM::ManagedPolicy":
                    managed[physical] = statements(logical, properties["PolicyDocument"])
                case "AWS::S3::BucketPolicy" | "AWS::SQS::QueuePolicy" | "AWS::SNS::TopicPolicy":
                    found.of_resources += statements(logical, properties["PolicyDocument"])
                case "AWS::KMS::Key":
                    document = properties["KeyPolicy"]
                    key = {"Resource": stack_map[logical].arn}  # a key's policy says "*" and means the key
                    own = [statement | key for statement in document["Statement"]]
                    found.of_resources += statements(logical, document | {"Statement": own})
    for role in roles.values():
        attached = [statement for policy in role.managed_policies for statement in managed.get(policy, [])]
        found.of_role[role.arn] = found.of_role.get(role.arn, []) + attached
        found.names.setdefault(role.arn, role.name)
    return found


def _stacks() -> Iterator[ResourceMap]:
    for backend in cloudformation_backends[DEFAULT_ACCOUNT_ID].values():
        for stack in backend.stacks.values():
            yield stack.resource_map


def _resources(stack: ResourceMap) -> Iterator[tuple[str, str, dict[str, Any], str]]:
    """Each resource that was made: its logical id, its type, its resolved properties and its physical id."""
    for logical, resource in stack._resource_json_map.items():
        if resource.get("Condition") and not stack.lazy_condition_map[resource["Condition"]]:
            continue
        made = stack[logical]
        if made is not None:
            properties = clean_json(resource.get("Properties", {}), stack)
            yield logical, resource["Type"], properties, made.physical_resource_id


def _key(properties: dict[str, Any]) -> str | None:
    """The ARN of the key that a resource is encrypted with, if it is one of the account's own."""
    rules = properties.get("BucketEncryption", {}).get("ServerSideEncryptionConfiguration", [])
    named = [rule["ServerSideEncryptionByDefault"].get("KMSMasterKeyID") for rule in rules]
    named += [properties.get("KmsMasterKeyId"), properties.get("SSESpecification", {}).get("KMSMasterKeyId")]
    return next((key for key in named if key and key.startswith("arn:")), None)


def _names(logical: str, kind: str, physical: str) -> dict[str, str]:
    """How the resource is written in ARNs, and what to write instead."""
    name = physical.rpartition("/")[2] if kind == "AWS::SQS::Queue" else physical
    place = f":eu-west-1:{DEFAULT_ACCOUNT_ID}:"
    match kind:
        case "AWS::S3::Bucket":
            return {f"arn:aws:s3:::{name}": logical}
        case "AWS::DynamoDB::Table":
            return {f"arn:aws:dynamodb{place}table/{name}": logical}
        case "AWS::SQS::Queue":
            return {f"arn:aws:sqs{place}{name}": logical}
        case "AWS::IAM::Role":
            return {f"arn:aws:iam::{DEFAULT_ACCOUNT_ID}:role/{name}": logical}
        case "AWS::Logs::LogGroup":
            return {f"arn:aws:logs{place}log-group:{name}": logical}
        case "AWS::ApiGatewayV2::Api":
            return {f"arn:aws:execute-api{place}{name}": logical}
        case "AWS::ECR::Repository":
            return {f"arn:aws:ecr{place}repository/{name}": logical}
    if kind.endswith("Policy"):  # its physical id is that of what it belongs to
        return {}
    # The name alone too: a policy may speak of all revisions of a job definition.
    name = re.split("[/:]", physical.removesuffix(":1"))[-1]
    named = {name: logical} if re.search(r"-[A-Z0-9]{12}$", name) else {}
    return named | ({physical: logical} if physical.startswith("arn:") else {})
