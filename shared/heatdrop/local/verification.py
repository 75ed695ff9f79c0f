"""Checks that every resource of the template really exists, which moto's CREATE_COMPLETE does not guarantee."""

from collections.abc import Callable
from typing import Any

from botocore.exceptions import ClientError

from heatdrop.local.clients import client

Check = Callable[[str], Any]


def _name(arn: str) -> str:
    return arn.rsplit(":", 1)[-1].rsplit("/", 1)[-1]


def _ec2(method: str, argument: str) -> Check:
    return lambda identifier: getattr(client("ec2"), method)(**{argument: [identifier]})


def _bucket(name: str) -> bool:
    s3 = client("s3")
    s3.head_bucket(Bucket=name)
    return bool(s3.get_public_access_block(Bucket=name))


def _route_tables() -> list[Any]:
    return list(client("ec2").describe_route_tables()["RouteTables"])


def _route(identifier: str) -> bool:
    """moto builds a route's id from its table and destination."""
    return any(
        identifier.startswith(table["RouteTableId"]) and route.get("DestinationCidrBlock", "-") in identifier
        for table in _route_tables()
        for route in table["Routes"]
    )


def _association(identifier: str) -> bool:
    return any(a["RouteTableAssociationId"] == identifier for t in _route_tables() for a in t["Associations"])


def _attachment(identifier: str) -> bool:
    return any(g["Attachments"] for g in client("ec2").describe_internet_gateways()["InternetGateways"])


def _policy_of_queue(url: str) -> bool:
    answer = client("sqs").get_queue_attributes(QueueUrl=url, AttributeNames=["Policy"])
    return "Policy" in answer.get("Attributes", {})


def _policy_of_topic(arn: str) -> bool:
    return "Policy" in client("sns").get_topic_attributes(TopicArn=arn)["Attributes"]


def _job_definition(arn: str) -> bool:
    return bool(client("batch").describe_job_definitions(jobDefinitions=[arn])["jobDefinitions"])


def _job_queue(arn: str) -> bool:
    return bool(client("batch").describe_job_queues(jobQueues=[arn])["jobQueues"])


def _compute_environment(arn: str) -> bool:
    answer = client("batch").describe_compute_environments(computeEnvironments=[_name(arn)])
    return bool(answer["computeEnvironments"])


def _layer(arn: str) -> Any:
    name, version = arn.split(":")[6:8]
    return client("lambda").get_layer_version(LayerName=name, VersionNumber=int(version))


def _permission(name: str) -> bool:
    function, statement = name.split("/")
    return statement in client("lambda").get_policy(FunctionName=function)["Policy"]


def _api(api_id: str) -> bool:
    return bool(client("apigatewayv2").get_routes(ApiId=api_id)["Items"])


def _stage(name: str) -> Any:
    api_id, stage = name.split("/")
    return client("apigatewayv2").get_stage(ApiId=api_id, StageName=stage)


def _log_group(name: str) -> bool:
    return bool(client("logs").describe_log_groups(logGroupNamePrefix=name)["logGroups"])


def _repository(name: str) -> Any:
    return client("ecr").describe_repositories(repositoryNames=[name])["repositories"]


def _alarm(name: str) -> bool:
    return bool(client("cloudwatch").describe_alarms(AlarmNames=[name])["MetricAlarms"])


def _budget(name: str) -> Any:
    account = client("sts").get_caller_identity()["Account"]
    return client("budgets").describe_budget(AccountId=account, BudgetName=name)


_CHECKS: dict[str, Check] = {
    "AWS::ApiGatewayV2::Api": _api,
    "AWS::ApiGatewayV2::Stage": _stage,
    "AWS::Batch::ComputeEnvironment": _compute_environment,
    "AWS::Batch::JobDefinition": _job_definition,
    "AWS::Batch::JobQueue": _job_queue,
    "AWS::Budgets::Budget": _budget,
    "AWS::CloudWatch::Alarm": _alarm,
    "AWS::CloudWatch::Dashboard": lambda name: client("cloudwatch").get_dashboard(DashboardName=name),
    "AWS::DynamoDB::Table": lambda name: client("dynamodb").describe_table(TableName=name),
    "AWS::EC2::InternetGateway": _ec2("describe_internet_gateways", "InternetGatewayIds"),
    "AWS::EC2::LaunchTemplate": _ec2("describe_launch_templates", "LaunchTemplateIds"),
    "AWS::EC2::Route": _route,
    "AWS::EC2::RouteTable": _ec2("describe_route_tables", "RouteTableIds"),
    "AWS::EC2::SecurityGroup": _ec2("describe_security_groups", "GroupIds"),
    "AWS::EC2::Subnet": _ec2("describe_subnets", "SubnetIds"),
    "AWS::EC2::SubnetRouteTableAssociation": _association,
    "AWS::EC2::VPC": _ec2("describe_vpcs", "VpcIds"),
    "AWS::EC2::VPCEndpoint": _ec2("describe_vpc_endpoints", "VpcEndpointIds"),
    "AWS::EC2::VPCGatewayAttachment": _attachment,
    "AWS::ECR::Repository": _repository,
    "AWS::Events::Rule": lambda name: client("events").describe_rule(Name=_name(name)),
    "AWS::IAM::InstanceProfile": lambda name: client("iam").get_instance_profile(InstanceProfileName=name),
    "AWS::IAM::ManagedPolicy": lambda arn: client("iam").get_policy(PolicyArn=arn),
    "AWS::IAM::Role": lambda name: client("iam").get_role(RoleName=name),
    "AWS::Lambda::EventSourceMapping": lambda uuid: client("lambda").get_event_source_mapping(UUID=uuid),
    "AWS::Lambda::Function": lambda name: client("lambda").get_function(FunctionName=name),
    "AWS::Lambda::LayerVersion": _layer,
    "AWS::Lambda::Permission": _permission,
    "AWS::Logs::LogGroup": _log_group,
    "AWS::S3::Bucket": _bucket,
    # moto cannot keep the policy (see resources.py), so only the bucket is checked.
    "AWS::S3::BucketPolicy": lambda name: client("s3").head_bucket(Bucket=name),
    "AWS::SecretsManager::Secret": lambda arn: client("secretsmanager").describe_secret(SecretId=arn),
    "AWS::SNS::Subscription": lambda arn: client("sns").get_subscription_attributes(SubscriptionArn=arn),
    "AWS::SNS::Topic": lambda arn: client("sns").get_topic_attributes(TopicArn=arn),
    "AWS::SNS::TopicPolicy": _policy_of_topic,
    "AWS::SQS::Queue": lambda url: client("sqs").get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"]),
    "AWS::SQS::QueuePolicy": _policy_of_queue,
}


def missing_resources(types: dict[str, str], physical_ids: dict[str, str]) -> list[str]:
    """The resources of ``types`` (logical id to type) that do not exist, each with the reason.

    A type without a check counts as missing.
    """
    missing = []
    for logical_id, cfn_type in types.items():
        check = _CHECKS.get(cfn_type)
        if check is None:
            missing.append(f"{logical_id} ({cfn_type}: there is no check for this type)")
        elif logical_id not in physical_ids:
            missing.append(f"{logical_id} ({cfn_type}: not created)")
        else:
            try:
                exists = bool(check(physical_ids[logical_id]))
            except ClientError as error:
                missing.append(f"{logical_id} ({cfn_type}: {error})")
                continue
            if not exists:
                missing.append(f"{logical_id} ({cfn_type}: {physical_ids[logical_id]} is not there)")
    return missing
