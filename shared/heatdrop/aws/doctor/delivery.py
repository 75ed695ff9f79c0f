"""Do drops, failures and notifications reach whoever waits for them?"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import boto3

from heatdrop.aws.doctor.deployed import DeployedStack
from heatdrop.aws.doctor.findings import Finding

if TYPE_CHECKING:
    from mypy_boto3_events.client import EventBridgeClient
    from mypy_boto3_lambda.client import LambdaClient
    from mypy_boto3_s3.client import S3Client
    from mypy_boto3_sns.client import SNSClient

_PENDING = "PendingConfirmation"


def drops_arrive(stack: DeployedStack) -> Iterator[Finding]:
    """The bucket tells the queue, and the queue feeds the function."""
    check, bucket = "drops arrive", stack.outputs["InputBucket"]
    s3: S3Client = boto3.client("s3")
    queue = stack.outputs["IngestQueue"].rsplit("/", 1)[-1]
    told = [
        configuration["QueueArn"].rsplit(":", 1)[-1]
        for configuration in s3.get_bucket_notification_configuration(Bucket=bucket).get("QueueConfigurations", [])
        if any(event.startswith("s3:ObjectCreated:") for event in configuration["Events"])
    ]
    if queue not in told:
        yield Finding.problem(check, f"the bucket {bucket} does not tell the queue {queue} of drops; deploy again")
        return
    function = stack.resources["InferenceFunction"]
    awslambda: LambdaClient = boto3.client("lambda")
    mappings = awslambda.list_event_source_mappings(FunctionName=function)["EventSourceMappings"]
    states = [m.get("State", "Enabled") for m in mappings if m["EventSourceArn"].rsplit(":", 1)[-1] == queue]
    if not states:
        yield Finding.problem(check, f"nothing feeds the drops to the function {function}; deploy again")
    elif states != ["Enabled"]:
        yield Finding.problem(
            check, f"the event source mapping of {function} is {', '.join(states)}; enable it, drops wait meanwhile"
        )
    else:
        yield Finding.ok(check, f"{bucket} tells the queue, and the queue feeds the inference function")


def failures_arrive(stack: DeployedStack) -> Iterator[Finding]:
    """The two rules that settle failed jobs and stuck images are on."""
    check, queue = "failures arrive", stack.outputs["JobEventsQueue"].rsplit("/", 1)[-1]
    events: EventBridgeClient = boto3.client("events")
    broken = []
    for logical_id, what in (("JobFailedRule", "failed jobs"), ("SweepRule", "the sweep for stuck images")):
        rule = stack.resources[logical_id].rsplit("/", 1)[-1]
        targets = [t["Arn"].rsplit(":", 1)[-1] for t in events.list_targets_by_rule(Rule=rule)["Targets"]]
        if events.describe_rule(Name=rule)["State"] != "ENABLED":
            broken.append(f"the rule {rule} ({what}) is disabled; enable it")
        elif queue not in targets:
            broken.append(f"the rule {rule} ({what}) does not reach the queue {queue}; deploy again")
    yield from (Finding.problem(check, sentence) for sentence in broken)
    if not broken:
        yield Finding.ok(check, "failed jobs and the sweep reach the queue of job events")


def subscriptions(stack: DeployedStack) -> Iterator[Finding]:
    """Somebody hears of alarms, and whoever subscribed has confirmed it."""
    check = "subscriptions"
    sns: SNSClient = boto3.client("sns")
    pages = sns.get_paginator("list_subscriptions_by_topic")
    confirmed = {}
    for topic in ("NotificationsTopic", "AlarmTopic"):
        found = [s for page in pages.paginate(TopicArn=stack.outputs[topic]) for s in page["Subscriptions"]]
        confirmed[topic] = 0
        for subscription in found:
            if subscription["SubscriptionArn"] == _PENDING:
                yield Finding.warning(
                    check,
                    f"{subscription['Endpoint']} has not confirmed its subscription to {topic}; "
                    "follow the link in the mail that AWS sent, or subscribe again",
                )
            else:
                confirmed[topic] += 1
    if not confirmed["AlarmTopic"] and not stack.local:
        yield Finding.warning(
            check, "nobody hears of alarms; deploy with AlarmEmail, or subscribe to the output AlarmTopic"
        )
    yield Finding.ok(
        check,
        f"confirmed: {confirmed['NotificationsTopic']} to notifications, {confirmed['AlarmTopic']} to alarms",
    )
