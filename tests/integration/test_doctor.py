"""`heatdrop doctor`: a sound stack passes, and each thing that is broken is named with what to do."""

import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime, timedelta
from unittest import mock

import boto3
import pytest
from botocore.client import BaseClient
from tests.iam.roles import acting
from tests.integration.cloud import Cloud
from typer.testing import CliRunner

from heatdrop.aws.doctor import CHECKS, DeployedStack, Finding, Verdict, examine
from heatdrop.aws.image_table import ImageTable
from heatdrop.aws.item_table import ItemTable
from heatdrop.aws.table_schema import iso
from heatdrop.cli.app import app
from heatdrop.errors import InvalidRequest
from heatdrop.ids import image_id
from heatdrop.local.moto_cloud import MotoCloud
from heatdrop.model.bundle import Bundle
from heatdrop.vocabulary import Drop

GB = 10**9
Answers = dict[str, dict[str, object]]

SOUND: Answers = {
    "GetAccountSettings": {"AccountLimit": {"UnreservedConcurrentExecutions": 1000}},
    "GetServiceQuota": {"Quota": {"Value": 64.0}},
    "SimulatePrincipalPolicy": {"EvaluationResults": [{"EvalDecision": "allowed"}]},
}
"""What AWS answers where moto has no answer."""


@contextmanager
def answering(answers: Answers) -> Iterator[None]:
    """Let AWS answer some operations as a test says, and the local cloud all others."""
    call = BaseClient._make_api_call

    def answer(self: BaseClient, operation: str, parameters: dict[str, object]) -> object:
        return answers[operation] if operation in answers else call(self, operation, parameters)

    with mock.patch.object(BaseClient, "_make_api_call", answer):
        yield


@pytest.fixture(scope="module")
def stack(cloud: Cloud) -> DeployedStack:
    """The deployed stack as if it were in AWS: with an image in its repository, and somebody who hears of alarms."""
    found = DeployedStack.read("heatdrop")
    push_image(found)
    boto3.client("sns").subscribe(TopicArn=found.outputs["AlarmTopic"], Protocol="sms", Endpoint="+15550100")
    parameters = found.parameters | {"BundleUri": "/opt/bundle"}
    return DeployedStack(found.name, found.arn, parameters, found.outputs, found.resources)


def push_image(stack: DeployedStack, architecture: str = "amd64", tag: str | None = None) -> None:
    """An image under the tag that the stack runs."""
    platforms = [
        {"digest": "sha256:" + "0" * 64, "size": GB, "platform": {"architecture": architecture, "os": "linux"}}
    ]
    boto3.client("ecr").put_image(
        repositoryName=stack.resources["HeatmapsRepository"],
        imageTag=tag or stack.parameters["HeatmapsTag"],
        imageManifest=json.dumps(
            {
                "schemaVersion": 2,
                "mediaType": "application/vnd.oci.image.index.v1+json",
                "manifests": [
                    entry | {"mediaType": "application/vnd.oci.image.manifest.v1+json"} for entry in platforms
                ],
            }
        ),
    )


def findings(stack: DeployedStack, check: str, **answers: dict[str, object]) -> list[Finding]:
    """What one check finds, or all that is not OK."""
    with answering(SOUND | answers):
        return [f for f in examine(stack) if f.check == check]


def test_a_sound_stack_has_nothing_to_mend(stack: DeployedStack) -> None:
    with answering(SOUND):
        found = list(examine(stack))
    assert {f.check for f in found} == set(CHECKS)
    assert [f for f in found if f.verdict is not Verdict.OK] == []


def test_whoever_runs_it_needs_no_more_than_the_policy_for_it(stack: DeployedStack, cloud: Cloud) -> None:
    """A call that DoctorPolicy does not allow fails this test, as every call is judged that a role makes."""
    with forgotten(200)(stack), acting(cloud.holder("DoctorPolicy")), answering(SOUND):
        found = list(examine(DeployedStack.read("heatdrop")))
    assert {f.check for f in found} == set(CHECKS)


def test_it_changes_nothing(stack: DeployedStack) -> None:
    reading = ("Get", "List", "Describe", "Simulate", "Batch", "Query", "Head")
    asked = set()
    call = BaseClient._make_api_call

    def noting(self: BaseClient, operation: str, parameters: dict[str, object]) -> object:
        asked.add(operation)
        return SOUND[operation] if operation in SOUND else call(self, operation, parameters)

    with mock.patch.object(BaseClient, "_make_api_call", noting):
        list(examine(stack))
    assert len(asked) > 10
    assert [operation for operation in asked if not operation.startswith(reading)] == []


@contextmanager
def bucket_that_tells_nobody(stack: DeployedStack) -> Iterator[None]:
    s3, bucket = boto3.client("s3"), stack.outputs["InputBucket"]
    before = s3.get_bucket_notification_configuration(Bucket=bucket)
    s3.put_bucket_notification_configuration(Bucket=bucket, NotificationConfiguration={})
    yield
    kept = {name: value for name, value in before.items() if name != "ResponseMetadata"}
    s3.put_bucket_notification_configuration(Bucket=bucket, NotificationConfiguration=kept)


@contextmanager
def rule_that_is_off(stack: DeployedStack) -> Iterator[None]:
    events, rule = boto3.client("events"), stack.resources["JobFailedRule"].rsplit("/", 1)[-1]
    events.disable_rule(Name=rule)
    yield
    events.enable_rule(Name=rule)


@contextmanager
def rule_that_reaches_nobody(stack: DeployedStack) -> Iterator[None]:
    events, rule = boto3.client("events"), stack.resources["SweepRule"].rsplit("/", 1)[-1]
    targets = events.list_targets_by_rule(Rule=rule)["Targets"]
    events.remove_targets(Rule=rule, Ids=[target["Id"] for target in targets])
    yield
    events.put_targets(Rule=rule, Targets=targets)


@contextmanager
def job_queue_that_is_off(stack: DeployedStack) -> Iterator[None]:
    batch, queue = boto3.client("batch"), stack.outputs["HeatmapJobQueue"]
    batch.update_job_queue(jobQueue=queue, state="DISABLED")
    yield
    batch.update_job_queue(jobQueue=queue, state="ENABLED")


@contextmanager
def dead_letter(stack: DeployedStack) -> Iterator[None]:
    sqs, url = boto3.client("sqs"), stack.outputs["JobEventsDeadLetters"]
    sqs.send_message(QueueUrl=url, MessageBody="{}")
    yield
    sqs.purge_queue(QueueUrl=url)


@contextmanager
def alarm_that_rings(stack: DeployedStack) -> Iterator[None]:
    cloudwatch, name = boto3.client("cloudwatch"), stack.resources["DropsWaitAlarm"]
    cloudwatch.set_alarm_state(AlarmName=name, StateValue="ALARM", StateReason="a test")
    yield
    cloudwatch.set_alarm_state(AlarmName=name, StateValue="OK", StateReason="a test")


def forgotten(minutes: int) -> Callable[[DeployedStack], AbstractContextManager[None]]:
    """An image that made no progress for some minutes."""

    @contextmanager
    def broken(stack: DeployedStack) -> Iterator[None]:
        drop = Drop(bucket=stack.outputs["InputBucket"], key="forgotten.png", etag="doctor")
        table = boto3.resource("dynamodb").Table(stack.outputs["ImagesTable"])
        ImageTable(ItemTable(table.name)).find_or_add(image_id(drop), drop)
        table.update_item(
            Key={"image_id": image_id(drop)},
            UpdateExpression="SET updated_at = :then",
            ExpressionAttributeValues={":then": iso(datetime.now(UTC) - timedelta(minutes=minutes))},
        )
        yield
        table.delete_item(Key={"image_id": image_id(drop)})

    return broken


@contextmanager
def unconfirmed_mail(stack: DeployedStack) -> Iterator[None]:
    page = {"Subscriptions": [{"SubscriptionArn": "PendingConfirmation", "Endpoint": "someone@example.org"}]}
    with answering({"ListSubscriptionsByTopic": page}):
        yield


@pytest.mark.parametrize(
    ("broken", "check", "verdict", "words"),
    [
        (bucket_that_tells_nobody, "drops arrive", Verdict.PROBLEM, "does not tell the queue"),
        (rule_that_is_off, "failures arrive", Verdict.PROBLEM, "is disabled; enable it"),
        (rule_that_reaches_nobody, "failures arrive", Verdict.PROBLEM, "does not reach the queue"),
        (unconfirmed_mail, "subscriptions", Verdict.WARNING, "someone@example.org has not confirmed"),
        (job_queue_that_is_off, "job queues", Verdict.PROBLEM, "is DISABLED and VALID"),
        (dead_letter, "queues", Verdict.PROBLEM, "1 message could not be settled"),
        (alarm_that_rings, "alarms", Verdict.PROBLEM, "waited for inference for more than 15 minutes (a test)"),
        (forgotten(200), "oldest open image", Verdict.WARNING, "made no progress for 200 minutes"),
        (forgotten(2000), "oldest open image", Verdict.PROBLEM, "the sweep does not look after it"),
    ],
)
def test_what_is_broken_is_named_with_what_to_do(
    stack: DeployedStack,
    broken: Callable[[DeployedStack], AbstractContextManager[None]],
    check: str,
    verdict: Verdict,
    words: str,
) -> None:
    with broken(stack):
        found = findings(stack, check)
    assert any(f.verdict is verdict and words in f.sentence for f in found), found
    assert [f for f in findings(stack, check) if f.verdict is not Verdict.OK] == []


@pytest.mark.parametrize(
    ("parameters", "answers", "check", "verdict", "words"),
    [
        ({"UseGpu": "true"}, {"GetServiceQuota": {"Quota": {"Value": 0.0}}}, "GPU quota", Verdict.PROBLEM, "no GPU"),
        ({"UseGpu": "true"}, {"GetServiceQuota": {"Quota": {"Value": 8.0}}}, "GPU quota", Verdict.WARNING, "jobs wait"),
        (
            {},
            {"GetAccountSettings": {"AccountLimit": {"UnreservedConcurrentExecutions": 10}}},
            "Lambda concurrency",
            Verdict.WARNING,
            "share 10 concurrent invocations",
        ),
        (
            {},
            {"SimulatePrincipalPolicy": {"EvaluationResults": [{"EvalDecision": "explicitDeny"}]}},
            "rights",
            Verdict.PROBLEM,
            "InferenceRole may not s3:GetObject",
        ),
    ],
)
def test_what_an_account_lacks_is_named(
    stack: DeployedStack,
    parameters: dict[str, str],
    answers: Answers,
    check: str,
    verdict: Verdict,
    words: str,
) -> None:
    changed = DeployedStack(stack.name, stack.arn, stack.parameters | parameters, stack.outputs, stack.resources)
    found = findings(changed, check, **answers)
    assert any(f.verdict is verdict and words in f.sentence for f in found), found


def image_details(size: int, architecture: str = "amd64") -> Answers:
    manifest = {"manifests": [{"platform": {"architecture": architecture}}]}
    return {
        "DescribeImages": {"imageDetails": [{"imageSizeInBytes": size}]},
        "BatchGetImage": {"images": [{"imageManifest": json.dumps(manifest)}]},
    }


@pytest.mark.parametrize(
    ("gpus", "size", "architecture", "words"),
    [
        ("true", 700_000_000, "amd64", "has only 700 MB and so no CUDA"),
        ("true", 4 * GB, "arm64", "is for arm64, jobs run on amd64"),
        ("false", 700_000_000, "arm64", "build it with --platform linux/amd64"),
    ],
)
def test_a_heatmap_image_that_cannot_run_is_named(
    stack: DeployedStack, gpus: str, size: int, architecture: str, words: str
) -> None:
    parameters = stack.parameters | {"UseGpu": gpus}
    changed = DeployedStack(stack.name, stack.arn, parameters, stack.outputs, stack.resources)
    (found,) = findings(changed, "heatmap image", **image_details(size, architecture))
    assert found.verdict is Verdict.PROBLEM
    assert words in found.sentence


def test_a_heatmap_image_that_was_never_pushed_is_named(stack: DeployedStack) -> None:
    ecr, repository = boto3.client("ecr"), stack.resources["HeatmapsRepository"]
    ecr.batch_delete_image(repositoryName=repository, imageIds=[{"imageTag": stack.parameters["HeatmapsTag"]}])
    (found,) = findings(stack, "heatmap image")
    push_image(stack)
    assert found.verdict is Verdict.PROBLEM
    assert "has no image with the tag" in found.sentence


def test_the_bundle_in_s3_is_read_and_its_digests_are_checked(stack: DeployedStack, small_bundle: Bundle) -> None:
    s3, bucket = boto3.client("s3"), stack.outputs["ResultsBucket"]
    parameters = stack.parameters | {"BundleUri": f"s3://{bucket}/bundle"}
    in_s3 = DeployedStack(stack.name, stack.arn, parameters, stack.outputs, stack.resources)
    (found,) = findings(in_s3, "bundle")
    assert (found.verdict, "cannot be fetched" in found.sentence) == (Verdict.PROBLEM, True)
    for name in (*small_bundle.files, "bundle.json"):
        s3.put_object(Bucket=bucket, Key=f"bundle/{name}", Body=(small_bundle.folder / name).read_bytes())
    (found,) = findings(in_s3, "bundle")
    assert (found.verdict, small_bundle.model.version in found.sentence) == (Verdict.OK, True)
    s3.put_object(Bucket=bucket, Key="bundle/model.keras", Body=b"another file")
    (found,) = findings(in_s3, "bundle")
    assert (found.verdict, "is not the file that was packed" in found.sentence) == (Verdict.PROBLEM, True)


def test_what_aws_does_not_answer_is_unknown_and_stops_nothing(stack: DeployedStack) -> None:
    # moto has no answer for quotas, and none for simulated policies.
    parameters = stack.parameters | {"UseGpu": "true"}
    found = list(examine(DeployedStack(stack.name, stack.arn, parameters, stack.outputs, stack.resources)))
    unknown = {f.check for f in found if f.verdict is Verdict.UNKNOWN}
    assert {"GPU quota", "rights"} <= unknown
    assert {f.check for f in found} == set(CHECKS)


def doctor(*arguments: str) -> tuple[int, list[dict[str, str]]]:
    result = CliRunner().invoke(app, ["doctor", "--stack", "heatdrop", "--json", *arguments])
    return result.exit_code, [json.loads(line) for line in result.stdout.splitlines()]


def test_the_exit_code_is_1_only_where_something_would_fail(stack: DeployedStack, local_aws: MotoCloud) -> None:
    with answering(SOUND), mock.patch.dict(CHECKS, {"bundle": lambda _: []}):
        assert doctor()[0] == 0
        with alarm_that_rings(stack):
            code, lines = doctor()
    assert code == 1
    assert [line["verdict"] for line in lines if line["check"] == "alarms"] == ["PROBLEM"]


def test_a_stack_that_is_not_there_is_said_in_a_sentence(local_aws: MotoCloud) -> None:
    with pytest.raises(InvalidRequest, match="there is no stack nowhere"):
        DeployedStack.read("nowhere")
