"""The policies of the deployed template: what calls that no test of ours makes would be told, and what AWS knows.

Calls of our own code are judged where they are made; see ``tests/iam``.
"""

import re
from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from tests.iam.calls import IAM, types_of
from tests.iam.policies import Request, Statement, decide
from tests.iam.stacks import Policies, deployed
from tests.integration.cloud import Cloud
from tests.template.cloud_template import resources

ACCOUNT = "123456789012"


@pytest.fixture(scope="module")
def policies(cloud: Cloud) -> Policies:
    return deployed()


def arn_of(cloud: Cloud, name: str) -> str:
    """The ARN of a queue, a topic, a rule or an alarm."""
    physical = cloud.deployment.physical_ids[name]
    if physical.startswith("https:"):
        return f"arn:aws:sqs:eu-west-1:{ACCOUNT}:{physical.rpartition('/')[2]}"
    return physical


def senders(cloud: Cloud) -> Iterator[tuple[str, str, str, str]]:
    """What the template has AWS's services send: who, from where, by which action, to what."""
    yield "s3.amazonaws.com", f"arn:aws:s3:::{cloud.input_bucket}", "sqs:SendMessage", arn_of(cloud, "IngestQueue")
    events = boto3.client("events")
    for rule in events.list_rules()["Rules"]:
        for target in events.list_targets_by_rule(Rule=rule["Name"])["Targets"]:
            yield "events.amazonaws.com", rule["Arn"], "sqs:SendMessage", target["Arn"]
    for alarm in boto3.client("cloudwatch").describe_alarms()["MetricAlarms"]:
        for topic in alarm["AlarmActions"] + alarm["OKActions"]:
            yield "cloudwatch.amazonaws.com", alarm["AlarmArn"], "sns:Publish", topic
    topic = arn_of(cloud, "AlarmTopic")
    yield "budgets.amazonaws.com", f"arn:aws:budgets::{ACCOUNT}:budget/month", "sns:Publish", topic


def sent(policies: Policies, who: str, where: str, action: str, what: str, account: str = ACCOUNT) -> Statement | None:
    context = {"aws:SecureTransport": ("true",), "aws:SourceArn": (where,), "aws:SourceAccount": (account,)}
    return decide(Request(action, what, context, service=who), [], policies.of_resources)


def test_services_may_send_what_the_template_has_them_send(cloud: Cloud, policies: Policies) -> None:
    found = list(senders(cloud))
    assert {who for who, *_ in found} == {f"{name}.amazonaws.com" for name in ("s3", "events", "cloudwatch", "budgets")}
    assert [one for one in found if sent(policies, *one) is None] == []


def test_services_may_not_send_for_others(cloud: Cloud, policies: Policies) -> None:
    """The same service, asked by a bucket, a rule or an alarm of somebody else's, or sending elsewhere."""
    for who, where, action, what in senders(cloud):
        foreign = re.sub(r":\d{12}:", ":999999999999:", where) if ACCOUNT in where else "arn:aws:s3:::other"
        assert sent(policies, who, foreign, action, what, "999999999999") is None
        elsewhere = arn_of(cloud, "IngestDeadLetters" if "sqs" in action else "NotificationsTopic")
        assert sent(policies, who, where, action, elsewhere) is None


@pytest.mark.parametrize("secure", ["true", "false"])
def test_nobody_gets_through_without_tls(cloud: Cloud, policies: Policies, secure: str) -> None:
    outputs = cloud.deployment.outputs
    buckets = [f"arn:aws:s3:::{outputs[name]}" for name in ("InputBucket", "ResultsBucket")]
    asked = [("s3:ListBucket", bucket) for bucket in buckets] + [("s3:GetObject", f"{one}/key") for one in buckets]
    asked += [("sqs:SendMessage", arn_of(cloud, name)) for name in resources("AWS::SQS::Queue")]
    asked += [("sns:Publish", arn_of(cloud, name)) for name in resources("AWS::SNS::Topic")]
    anything = Statement("owner", "Allow", ("*",), ("*",), {})
    for action, resource in asked:
        request = Request(action, resource, {"aws:SecureTransport": (secure,)}, role="arn:aws:iam::1:role/owner")
        assert (decide(request, [anything], policies.of_resources) is not None) is (secure == "true"), resource


@pytest.mark.parametrize(
    ("kind", "service"),
    [("functions", "lambda.amazonaws.com"), ("job", "ecs-tasks.amazonaws.com")],
)
def test_role_can_be_taken_on_by_the_service_that_works_under_it(cloud: Cloud, kind: str, service: str) -> None:
    iam = boto3.client("iam")
    roles = [cloud.job_role_arn] if kind == "job" else [function.role for function in cloud.deployment.functions]
    for role in roles:
        trust: Any = iam.get_role(RoleName=role.rpartition("/")[2])["Role"]["AssumeRolePolicyDocument"]
        assert [statement["Principal"] for statement in trust["Statement"]] == [{"Service": service}]


def test_every_allowed_action_exists_and_works_on_resources_of_that_kind(policies: Policies) -> None:
    """IAM takes any text for an action, and an action on the wrong kind of resource: neither allows anything."""
    allowed = {
        (action, resource)
        for statements in policies.of_role.values()
        for statement in statements
        for action in statement.actions
        for resource in statement.resources
    }
    assert len(allowed) > 30
    for action, resource in sorted(allowed):
        service, _, name = action.partition(":")
        formats = [
            IAM.resources.get_resource_type_details(service, kind)["arn"] for kind in types_of(service, name)
        ] or ["*"]
        assert any(_fits(resource, arn) for arn in formats), f"{action} on {resource}"


def _fits(resource: str, arn: str) -> bool:
    """Whether a policy's resource can be one of a format, such as ``arn:${Partition}:s3:::${BucketName}``."""
    if ":log-group:" in resource:  # moto leaves out the ":*" that ends the Arn of a log group
        return ":log-group:" in arn
    pattern = re.escape(arn).replace(r"\$\{ObjectName\}", ".+")
    return re.fullmatch(re.sub(r"\\\$\\\{\w+\\\}", "[^/]*", pattern), resource) is not None
