"""What calls ask IAM for."""

from typing import Any

import pytest
from tests.iam.calls import ACTIONS, IAM, Call, if_absent, needed
from tests.iam.policies import NotUnderstood

HERE = "eu-west-1:123456789012"
QUEUE = "https://sqs.eu-west-1.amazonaws.com/123456789012/drops"


@pytest.mark.parametrize(
    ("service", "operation", "parameters", "permissions"),
    [
        ("s3", "GetObject", {"Bucket": "b", "Key": "a/ü"}, {("s3:GetObject", "arn:aws:s3:::b/a/ü")}),
        ("s3", "HeadObject", {"Bucket": "b", "Key": "k"}, {("s3:GetObject", "arn:aws:s3:::b/k")}),
        (
            *("s3", "HeadObject", {"Bucket": "b", "Key": "k", "versionId": "1"}),
            {("s3:GetObjectVersion", "arn:aws:s3:::b/k")},
        ),
        ("s3", "ListObjectsV2", {"Bucket": "b", "prefix": "a/"}, {("s3:ListBucket", "arn:aws:s3:::b")}),
        (
            *("dynamodb", "Query", {"TableName": "t", "IndexName": "i"}),
            {("dynamodb:Query", f"arn:aws:dynamodb:{HERE}:table/t/index/i")},
        ),
        ("dynamodb", "Query", {"TableName": "t"}, {("dynamodb:Query", f"arn:aws:dynamodb:{HERE}:table/t")}),
        (
            *("dynamodb", "BatchGetItem", {"RequestItems": {"t": {}, "u": {}}}),
            {("dynamodb:BatchGetItem", f"arn:aws:dynamodb:{HERE}:table/{name}") for name in "tu"},
        ),
        (
            "dynamodb",
            "TransactWriteItems",
            {"TransactItems": [{"Put": {"TableName": "t"}}, {"ConditionCheck": {"TableName": "u"}}]},
            {
                ("dynamodb:PutItem", f"arn:aws:dynamodb:{HERE}:table/t"),
                ("dynamodb:ConditionCheckItem", f"arn:aws:dynamodb:{HERE}:table/u"),
            },
        ),
        ("sqs", "SendMessageBatch", {"QueueUrl": QUEUE}, {("sqs:SendMessage", f"arn:aws:sqs:{HERE}:drops")}),
        (
            *("batch", "SubmitJob", {"jobQueue": "q", "jobDefinition": f"arn:aws:batch:{HERE}:job-definition/d:2"}),
            {
                ("batch:SubmitJob", f"arn:aws:batch:{HERE}:job-queue/q"),
                ("batch:SubmitJob", f"arn:aws:batch:{HERE}:job-definition/d:2"),
            },
        ),
        ("batch", "ListJobs", {"jobQueue": "q"}, {("batch:ListJobs", "*")}),  # a queue, but no resource of the action
        (
            *("events", "PutEvents", {"Entries": [{}, {"EventBusName": "news"}]}),
            {("events:PutEvents", f"arn:aws:events:{HERE}:event-bus/{name}") for name in ("default", "news")},
        ),
        (
            *("cloudformation", "DescribeStacks", {"StackName": "heatdrop"}),
            {("cloudformation:DescribeStacks", f"arn:aws:cloudformation:{HERE}:stack/heatdrop/*")},
        ),
        ("sts", "GetCallerIdentity", {}, set()),
        (
            *("secretsmanager", "GetSecretValue", {"SecretId": f"arn:aws:secretsmanager:{HERE}:secret:s-1"}),
            {("secretsmanager:GetSecretValue", f"arn:aws:secretsmanager:{HERE}:secret:s-1")},
        ),
        ("events", "DescribeRule", {"Name": "r"}, {("events:DescribeRule", f"arn:aws:events:{HERE}:rule/r")}),
        ("cloudwatch", "DescribeAlarms", {}, {("cloudwatch:DescribeAlarms", f"arn:aws:cloudwatch:{HERE}:alarm:*")}),
        (
            *("ecr", "DescribeImages", {"repositoryName": "a/b"}),
            {("ecr:DescribeImages", f"arn:aws:ecr:{HERE}:repository/a/b")},
        ),
    ],
)
def test_call_needs(
    service: str, operation: str, parameters: dict[str, Any], permissions: set[tuple[str, str]]
) -> None:
    assert {(one.action, one.resource) for one in needed(Call(service, operation, parameters))} == permissions


@pytest.mark.parametrize(("version", "action"), [({}, "s3:ListBucket"), ({"versionId": "1"}, "s3:ListBucketVersions")])
def test_reading_what_is_not_there_needs_the_right_to_see_that(version: dict[str, str], action: str) -> None:
    (one,) = if_absent(Call("s3", "GetObject", {"Bucket": "b", "Key": "k"} | version))
    assert (one.action, one.resource) == (action, "arn:aws:s3:::b")


@pytest.mark.parametrize(
    ("service", "operation"),
    [("s3", "NoSuchOperation"), ("no-such-service", "GetObject"), ("xray", "GetGroup")],
)
def test_what_is_not_known_is_an_error_and_no_guess(service: str, operation: str) -> None:
    with pytest.raises(NotUnderstood):
        needed(Call(service, operation, {}))


@pytest.mark.parametrize(("service", "operation"), ACTIONS)
def test_only_operations_without_an_action_of_their_name_are_listed(service: str, operation: str) -> None:
    assert not IAM.actions.action_exists(service, operation)
    assert IAM.actions.action_exists(service, ACTIONS[service, operation])
