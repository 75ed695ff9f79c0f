"""The real template is deployed into the local cloud, and whatever is not really there is named."""

import json
from pathlib import Path
from typing import Any

import boto3
import pytest
from tests.integration.cloud import Cloud

from heatdrop.aws.notifications import Announcer, Notification
from heatdrop.errors import DeploymentFailed
from heatdrop.local.deployment import Deployment, deploy
from heatdrop.local.transform import read_template
from heatdrop.project import TEMPLATE
from heatdrop.vocabulary import State


def test_every_resource_of_the_template_exists(cloud: Cloud) -> None:
    # SAM gives a layer's logical id a suffix that changes with its content.
    for logical_id, resource in read_template(TEMPLATE)["Resources"].items():
        if resource.get("Condition") in {
            "Gpu",
            "GpuSpot",
            "GpuOnDemand",
            "CpuSpot",
            "MailAlarms",
            "MailNews",
            "Budgeted",
        }:
            continue  # deployed by the tests of the options
        assert any(deployed.startswith(logical_id) for deployed in cloud.deployment.physical_ids), logical_id


def test_functions_are_deployed_with_their_memory_timeout_and_environment(cloud: Cloud) -> None:
    functions = {function.code.name: function for function in cloud.deployment.functions}
    assert functions.keys() == {"inference", "job_events", "api"}
    inference = functions["inference"]
    assert (inference.handler, inference.memory_mb, inference.timeout_s) == ("app.handler", 2048, 90)
    deployed = boto3.client("lambda").get_function_configuration(FunctionName=inference.name)
    assert deployed["EphemeralStorage"] == {"Size": 1024}
    assert inference.environment["IMAGES_TABLE"] == cloud.deployment.outputs["ImagesTable"]
    assert inference.environment["JOB_QUEUE"] == cloud.deployment.outputs["HeatmapJobQueue"]
    assert inference.environment["SAMPLES"] == "2"


def test_queues_feed_the_functions_as_the_template_says(cloud: Cloud) -> None:
    names = {function.name: function.code.name for function in cloud.deployment.functions}
    sources = {
        (names[s.function], s.batch_size, s.window_s, s.partial_failures) for s in cloud.deployment.event_sources
    }
    assert sources == {("inference", 50, 5, True), ("job_events", 10, 1, True)}
    assert len(cloud.deployment.event_sources) == 3


def test_buckets_keep_versions_and_are_closed_to_the_public(cloud: Cloud) -> None:
    s3 = boto3.client("s3")
    assert s3.get_bucket_versioning(Bucket=cloud.input_bucket)["Status"] == "Enabled"
    for bucket in (cloud.input_bucket, cloud.deployment.outputs["ResultsBucket"]):
        assert all(s3.get_public_access_block(Bucket=bucket)["PublicAccessBlockConfiguration"].values())


def test_failed_messages_end_in_the_dead_letter_queue(cloud: Cloud) -> None:
    attributes = boto3.client("sqs").get_queue_attributes(
        QueueUrl=cloud.deployment.outputs["IngestQueue"], AttributeNames=["All"]
    )["Attributes"]
    assert '"maxReceiveCount":5' in attributes["RedrivePolicy"].replace(" ", "")
    assert int(attributes["VisibilityTimeout"]) >= 6 * 90


def test_records_are_protected_and_end_at_the_moment_that_they_name(cloud: Cloud) -> None:
    dynamodb, table = boto3.client("dynamodb"), cloud.deployment.outputs["ImagesTable"]
    assert dynamodb.describe_table(TableName=table)["Table"]["DeletionProtectionEnabled"] is True
    ttl = dynamodb.describe_time_to_live(TableName=table)["TimeToLiveDescription"]
    assert ttl == {"TimeToLiveStatus": "ENABLED", "AttributeName": "expires_at"}


def job_definition(deployment: Deployment) -> dict[str, Any]:
    arn = deployment.physical_ids["HeatmapJobDefinition"]
    (definition,) = boto3.client("batch").describe_job_definitions(jobDefinitions=[arn])["jobDefinitions"]
    return definition


def compute_types(deployment: Deployment, output: str = "HeatmapJobQueue") -> list[str]:
    """The compute environments of a job queue, in order."""
    batch = boto3.client("batch")
    (queue,) = batch.describe_job_queues(jobQueues=[deployment.outputs[output]])["jobQueues"]
    arns = [entry["computeEnvironment"] for entry in queue["computeEnvironmentOrder"]]
    environments = batch.describe_compute_environments(computeEnvironments=arns)["computeEnvironments"]
    types = {
        environment["computeEnvironmentArn"]: environment["computeResources"]["type"] for environment in environments
    }
    return [types[arn] for arn in arns]


def test_without_gpu_the_same_job_runs_on_fargate(cloud: Cloud) -> None:
    container = job_definition(cloud.deployment)["containerProperties"]
    assert job_definition(cloud.deployment)["platformCapabilities"] == ["FARGATE"]
    assert {requirement["type"] for requirement in container["resourceRequirements"]} == {"VCPU", "MEMORY"}
    assert container["executionRoleArn"]
    assert {"name": "REQUIRE_GPU", "value": "false"} in container["environment"]
    assert compute_types(cloud.deployment) == ["FARGATE"]


@pytest.mark.parametrize(
    ("capacity", "expected"),
    [("SPOT", ["SPOT"]), ("ON_DEMAND", ["EC2"]), ("SPOT_THEN_ON_DEMAND", ["SPOT", "EC2"])],
)
def test_gpu_job_runs_on_the_capacity_that_was_chosen(cloud: Cloud, capacity: str, expected: list[str]) -> None:
    deployment = deploy(TEMPLATE, {"Capacity": capacity}, capacity.lower().replace("_", "-"))
    container = job_definition(deployment)["containerProperties"]
    assert job_definition(deployment)["platformCapabilities"] == ["EC2"]
    assert {"type": "GPU", "value": "1"} in container["resourceRequirements"]
    assert {"name": "REQUIRE_GPU", "value": "true"} in container["environment"]
    assert compute_types(deployment) == expected
    assert compute_types(deployment, "RequestJobQueue") == expected


def test_fargate_takes_spot_where_that_is_asked_for(cloud: Cloud) -> None:
    deployment = deploy(TEMPLATE, {"UseGpu": "false", "Capacity": "SPOT"}, "fargate-spot")
    assert compute_types(deployment) == compute_types(deployment, "RequestJobQueue") == ["FARGATE_SPOT"]


def test_every_option_can_be_taken_at_once_in_a_network_of_ones_own(cloud: Cloud) -> None:
    ec2 = boto3.client("ec2")
    vpc = ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
    subnets = [ec2.create_subnet(VpcId=vpc, CidrBlock=f"10.0.{n}.0/24")["Subnet"]["SubnetId"] for n in range(2)]
    options = {
        "VpcId": vpc,
        "SubnetIds": ",".join(subnets),
        "BundleUri": "s3://models/chest",
        "AlarmEmail": "someone@example.org",
        "MonthlyBudgetUsd": "50",
        "NotifyEmail": "someone@example.org",
        "NotifyLabel": "NORMAL",
        "NotificationsBus": "default",
        "JwtIssuer": "https://cognito-idp.eu-west-1.amazonaws.com/eu-west-1_Pool",
        "JwtAudience": "the-viewer",
        "CorsOrigins": "https://one.example.org,https://two.example.org",
        "BundlesUnder": "s3://models",
        "KeepInputsDays": "30",
        "ProtectRecords": "false",
        "KmsKeyArn": "arn:aws:kms:eu-west-1:123456789012:key/ours",
    }
    deployment = deploy(TEMPLATE, options, "options")
    assert {"AlarmSubscription", "MonthlyBudget", "NewsByMail"} <= deployment.physical_ids.keys()
    assert not {"Vpc", "SubnetA", "S3Endpoint"} & deployment.physical_ids.keys()
    role = deployment.physical_ids["InferenceRole"]
    policy = boto3.client("iam").get_role_policy(RoleName=role, PolicyName="infer")["PolicyDocument"]
    assert "arn:aws:s3:::models/chest/*" in str(policy)
    assert ":event-bus/default" in str(policy)
    assert "'arn:aws:kms:eu-west-1:123456789012:key/ours'" in str(policy)
    bucket = deployment.outputs["InputBucket"]
    (rule,) = boto3.client("s3").get_bucket_encryption(Bucket=bucket)["ServerSideEncryptionConfiguration"]["Rules"]
    assert rule["ApplyServerSideEncryptionByDefault"]["KMSMasterKeyID"].endswith("key/ours")
    rules = boto3.client("s3").get_bucket_lifecycle_configuration(Bucket=bucket)["Rules"]
    assert {"Days": 30} in [rule.get("Expiration") for rule in rules]
    table = boto3.client("dynamodb").describe_table(TableName=deployment.outputs["ImagesTable"])["Table"]
    assert table["DeletionProtectionEnabled"] is False
    news = boto3.client("sns").get_subscription_attributes(SubscriptionArn=deployment.physical_ids["NewsByMail"])
    assert json.loads(news["Attributes"]["FilterPolicy"]) == {"state": ["EXPLAINED"], "label": ["NORMAL"]}
    api = boto3.client("apigatewayv2").get_api(ApiId=deployment.physical_ids["Api"])
    assert api["CorsConfiguration"]["AllowOrigins"] == ["https://one.example.org", "https://two.example.org"]


def test_job_definition_keeps_its_retries_and_timeout(cloud: Cloud) -> None:
    definition = job_definition(cloud.deployment)
    assert definition["timeout"] == {"attemptDurationSeconds": 3600}
    assert definition["retryStrategy"]["evaluateOnExit"][-1] == {"action": "exit", "onReason": "*"}


def test_subscribers_can_filter_by_state_label_score_and_model(cloud: Cloud, chest: bytes) -> None:
    sqs, sns = boto3.client("sqs"), boto3.client("sns")
    good, bad = cloud.put(chest), cloud.put(b"not an image")
    cloud.infer(good, bad)
    record = cloud.record(good)
    best = record.predictions[0]

    def heard(policy: str) -> list[str]:
        url = sqs.create_queue(QueueName="filtered")["QueueUrl"]
        arn = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
        subscription = sns.subscribe(
            TopicArn=cloud.deployment.outputs["NotificationsTopic"],
            Protocol="sqs",
            Endpoint=arn,
            Attributes={"FilterPolicy": policy, "RawMessageDelivery": "true"},
            ReturnSubscriptionArn=True,
        )["SubscriptionArn"]
        announcer = Announcer(cloud.deployment.outputs["NotificationsTopic"])
        for drop in (good, bad):
            announcer.announce(cloud.record(drop))
        messages = sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10).get("Messages", [])
        sns.unsubscribe(SubscriptionArn=subscription)
        sqs.delete_queue(QueueUrl=url)
        return [Notification.model_validate_json(message["Body"]).state for message in messages]

    assert heard('{"state": ["REJECTED"]}') == [State.REJECTED]
    assert heard(f'{{"label": ["{best.label}"]}}') == [State.CLASSIFIED]
    assert heard(f'{{"score": [{{"numeric": [">=", {best.score - 0.01}]}}]}}') == [State.CLASSIFIED]
    assert heard(f'{{"score": [{{"numeric": [">", {best.score + 0.01}]}}]}}') == []
    assert heard(f'{{"model": ["{record.model.version}"]}}') == [State.CLASSIFIED]


def test_resource_that_nothing_makes_is_named(cloud: Cloud, tmp_path: Path) -> None:
    template = tmp_path / "template.yaml"
    template.write_text(
        "Transform: AWS::Serverless-2016-10-31\n"
        "Parameters: {}\n"
        "Resources:\n"
        "  Bucket: {Type: AWS::S3::Bucket}\n"
        "  Bus: {Type: AWS::Events::EventBus, Properties: {Name: other}}\n"
    )
    with pytest.raises(DeploymentFailed, match=r"Bus \(AWS::Events::EventBus"):
        deploy(template, {}, "incomplete")
    # What it did not make must not be looked for by whoever reads all stacks.
    boto3.client("cloudformation").delete_stack(StackName="incomplete")
