"""Creates what moto's CloudFormation does not: missing resource types, and properties that it ignores.

moto looks for the class of a resource type among the subclasses of ``CloudFormationModel`` and takes the last that
names it. The functions here become such classes; each calls the service's API with the resolved properties.
"""

import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from moto.awslambda.utils import get_backend as lambda_backend
from moto.batch.models import ComputeEnvironment, batch_backends
from moto.cloudformation import parsing
from moto.core.common_models import CloudFormationModel
from moto.dynamodb.models.table import Table
from moto.ecr.models import Repository
from moto.s3.models import FakeBucket

from heatdrop.local.clients import client

Properties = dict[str, Any]


@dataclass
class _Created:
    """Stands for a resource that moto has no object for; holds what Ref and GetAtt return."""

    type: str
    physical_resource_id: str
    attributes: dict[str, str] = field(default_factory=dict)

    def get_cfn_attribute(self, name: str) -> str:
        return self.attributes[name]

    def is_created(self) -> bool:
        return True

    def delete(self, account_id: str, region: str) -> None:
        """Do nothing: the whole cloud ends with its process."""


@dataclass(frozen=True)
class _Request:
    """A resource to create, its intrinsic functions resolved."""

    name: str
    properties: Properties
    json: dict[str, Any]
    account: str
    region: str


_Maker = Callable[[_Request], Any]


def _makes(cfn_type: str, name_property: str = "", attributes: tuple[str, ...] = ()) -> Callable[[_Maker], _Maker]:
    """Register the decorated function as the maker of a CloudFormation type."""

    def register(make: _Maker) -> _Maker:
        def create(cls: type, /, name: str, json_: dict[str, Any], account: str, region: str, **_: Any) -> Any:
            return make(_Request(name, json_.get("Properties") or {}, json_, account, region))

        members = {
            "cloudformation_type": staticmethod(lambda: cfn_type),
            "cloudformation_name_type": staticmethod(lambda: name_property or None),
            "create_from_cloudformation_json": classmethod(create),
            "delete_from_cloudformation_json": classmethod(lambda cls, *args, **kwargs: None),
            "has_cfn_attr": classmethod(lambda cls, attribute: attribute in attributes),
        }
        _registered.append(type(f"Local{cfn_type.replace('::', '')}", (CloudFormationModel,), members))
        return make

    return register


_registered: list[type] = []


def install() -> None:
    """Clear moto's caches of resource classes, so that it finds those of this module."""
    for lookup in (parsing.get_model_list, parsing.get_model_map, parsing.get_name_type_map):
        lookup.cache_clear()


@_makes("AWS::S3::Bucket", "BucketName", ("Arn", "DomainName", "RegionalDomainName"))
def _bucket(request: _Request) -> Any:
    bucket = FakeBucket.create_from_cloudformation_json(request.name, request.json, request.account, request.region)
    s3, p = client("s3"), request.properties
    if "PublicAccessBlockConfiguration" in p:
        s3.put_public_access_block(
            Bucket=request.name, PublicAccessBlockConfiguration=_with_booleans(p["PublicAccessBlockConfiguration"])
        )
    if "VersioningConfiguration" in p:
        s3.put_bucket_versioning(Bucket=request.name, VersioningConfiguration=p["VersioningConfiguration"])
    if "LifecycleConfiguration" in p:
        rules = [_lifecycle_rule(rule) for rule in p["LifecycleConfiguration"]["Rules"]]
        s3.put_bucket_lifecycle_configuration(Bucket=request.name, LifecycleConfiguration={"Rules": rules})
    queues = p.get("NotificationConfiguration", {}).get("QueueConfigurations", [])
    if queues:
        configurations = [{"QueueArn": queue["Queue"], "Events": [queue["Event"]]} for queue in queues]
        s3.put_bucket_notification_configuration(
            Bucket=request.name, NotificationConfiguration={"QueueConfigurations": configurations}
        )
    return bucket


def _with_booleans(properties: Properties) -> Properties:
    return {name: value in (True, "true") for name, value in properties.items()}


def _lifecycle_rule(rule: Properties) -> Properties:
    made = {"ID": rule["Id"], "Status": rule["Status"], "Filter": {"Prefix": rule.get("Prefix", "")}}
    if "ExpirationInDays" in rule:
        made["Expiration"] = {"Days": int(rule["ExpirationInDays"])}
    if "ExpiredObjectDeleteMarker" in rule:
        made["Expiration"] = _with_booleans({"ExpiredObjectDeleteMarker": rule["ExpiredObjectDeleteMarker"]})
    for name, inner in (
        ("AbortIncompleteMultipartUpload", "DaysAfterInitiation"),
        ("NoncurrentVersionExpiration", "NoncurrentDays"),
    ):
        if name in rule:
            made[name] = {inner: int(rule[name][inner])}
    return made


@_makes("AWS::S3::BucketPolicy")
def _bucket_policy(request: _Request) -> Any:
    policy = request.properties["PolicyDocument"]
    # moto obeys a Deny but not its Condition, so "deny what is not TLS" would deny everything.
    kept = [s for s in policy["Statement"] if not (s["Effect"] == "Deny" and "Condition" in s)]
    if kept:
        client("s3").put_bucket_policy(
            Bucket=request.properties["Bucket"], Policy=json.dumps(policy | {"Statement": kept})
        )
    return _Created("AWS::S3::BucketPolicy", request.properties["Bucket"])


@_makes("AWS::SQS::QueuePolicy")
def _queue_policy(request: _Request) -> Any:
    for queue in request.properties["Queues"]:
        client("sqs").set_queue_attributes(
            QueueUrl=queue, Attributes={"Policy": json.dumps(request.properties["PolicyDocument"])}
        )
    return _Created("AWS::SQS::QueuePolicy", request.properties["Queues"][0])


@_makes("AWS::SNS::TopicPolicy")
def _topic_policy(request: _Request) -> Any:
    for topic in request.properties["Topics"]:
        client("sns").set_topic_attributes(
            TopicArn=topic, AttributeName="Policy", AttributeValue=json.dumps(request.properties["PolicyDocument"])
        )
    return _Created("AWS::SNS::TopicPolicy", request.properties["Topics"][0])


@_makes("AWS::SNS::Subscription")
def _subscription(request: _Request) -> Any:
    p = dict(request.properties)
    policy = p.pop("FilterPolicy", None)
    attributes = {"FilterPolicy": json.dumps(policy)} if policy else {}
    made = client("sns").subscribe(**p, Attributes=attributes, ReturnSubscriptionArn=True)
    return _Created("AWS::SNS::Subscription", made["SubscriptionArn"])


@_makes("AWS::EC2::SubnetRouteTableAssociation")
def _subnet_route_table_association(request: _Request) -> Any:
    # moto keeps those of CloudFormation apart, where no describe call finds them.
    made = client("ec2").associate_route_table(**request.properties)
    return _Created("AWS::EC2::SubnetRouteTableAssociation", made["AssociationId"])


@_makes("AWS::DynamoDB::Table", "TableName", ("Arn", "StreamArn"))
def _table(request: _Request) -> Any:
    p = request.properties
    protected = _with_booleans({"DeletionProtectionEnabled": p.get("DeletionProtectionEnabled", False)})
    json_ = request.json | {"Properties": p | protected}
    table = Table.create_from_cloudformation_json(request.name, json_, request.account, request.region)
    recovery, expiry = p.get("PointInTimeRecoverySpecification"), p.get("TimeToLiveSpecification")
    if recovery:
        client("dynamodb").update_continuous_backups(
            TableName=request.name, PointInTimeRecoverySpecification=_with_booleans(recovery)
        )
    if expiry:
        expiry = expiry | _with_booleans({"Enabled": expiry["Enabled"]})
        client("dynamodb").update_time_to_live(TableName=request.name, TimeToLiveSpecification=expiry)
    return table


@_makes("AWS::Lambda::Function", "FunctionName", ("Arn",))
def _function(request: _Request) -> Any:
    left_out = {"Tags", "LoggingConfig", "ReservedConcurrentExecutions"}
    wanted = {name: value for name, value in request.properties.items() if name not in left_out}
    wanted |= {"FunctionName": request.name}
    for name in ("MemorySize", "Timeout"):
        wanted[name] = int(wanted[name])
    if "EphemeralStorage" in wanted:
        wanted["EphemeralStorage"] = {"Size": int(wanted["EphemeralStorage"]["Size"])}
    variables = wanted["Environment"]["Variables"]
    wanted["Environment"] = {"Variables": {name: str(value) for name, value in variables.items()}}
    client("lambda").create_function(**wanted)
    return lambda_backend(request.account, request.region).get_function(request.name)


@_makes("AWS::Lambda::Permission")
def _permission(request: _Request) -> Any:
    # The statement would be the function's policy; here only the name of the statement is kept.
    wanted = request.properties | {"StatementId": request.name}
    client("lambda").add_permission(**wanted)
    return _Created("AWS::Lambda::Permission", f"{wanted['FunctionName']}/{request.name}")


@_makes("AWS::ApiGatewayV2::Api", "Name", ("ApiId", "ApiEndpoint"))
def _http_api(request: _Request) -> Any:
    # moto keeps the routes, and local/http_api.py hands requests on as they say.
    gateway, body = client("apigatewayv2"), request.properties["Body"]
    cors = body.get("x-amazon-apigateway-cors")
    more = {}
    if cors:
        cased = {f"{name[:1].upper()}{name[1:]}": value for name, value in cors.items()}
        more = {"CorsConfiguration": cased | {"MaxAge": int(cors["maxAge"])}}
    made = gateway.create_api(Name=request.name, ProtocolType="HTTP", **more)
    gateway.reimport_api(ApiId=made["ApiId"], Body=json.dumps(body, default=str), FailOnWarnings=True)
    attributes = {"ApiId": made["ApiId"], "ApiEndpoint": made["ApiEndpoint"]}
    return _Created("AWS::ApiGatewayV2::Api", made["ApiId"], attributes)


@_makes("AWS::ApiGatewayV2::Stage")
def _api_stage(request: _Request) -> Any:
    p = request.properties
    settings = p["DefaultRouteSettings"] | {
        "ThrottlingBurstLimit": int(p["DefaultRouteSettings"]["ThrottlingBurstLimit"])
    }
    settings["ThrottlingRateLimit"] = float(settings["ThrottlingRateLimit"])
    settings["DetailedMetricsEnabled"] = settings["DetailedMetricsEnabled"] in (True, "true")
    client("apigatewayv2").create_stage(
        ApiId=p["ApiId"],
        StageName=p["StageName"],
        AutoDeploy=True,
        AccessLogSettings=p["AccessLogSettings"],
        DefaultRouteSettings=settings,
    )
    return _Created("AWS::ApiGatewayV2::Stage", f"{p['ApiId']}/{p['StageName']}")


@_makes("AWS::SecretsManager::Secret")
def _secret(request: _Request) -> Any:
    rules = dict(request.properties["GenerateSecretString"])
    rules["PasswordLength"] = int(rules["PasswordLength"])
    rules |= _with_booleans({name: value for name, value in rules.items() if name.startswith("Exclude")})
    secrets = client("secretsmanager")
    password = secrets.get_random_password(**rules)["RandomPassword"]
    made = secrets.create_secret(Name=f"{request.name}-{request.account}", SecretString=password)
    return _Created("AWS::SecretsManager::Secret", made["ARN"])


@_makes("AWS::Lambda::LayerVersion", "LayerName")
def _layer(request: _Request) -> Any:
    wanted = {n: request.properties[n] for n in ("Content", "CompatibleRuntimes", "Description")}
    layer = client("lambda").publish_layer_version(LayerName=request.name, **wanted)
    return _Created("AWS::Lambda::LayerVersion", layer["LayerVersionArn"])


@_makes("AWS::Batch::ComputeEnvironment", "ComputeEnvironmentName")
def _compute_environment(request: _Request) -> Any:
    # Batch makes its service-linked role itself, once an account; moto wants to be given one.
    iam = client("iam")
    with suppress(iam.exceptions.EntityAlreadyExistsException):
        iam.create_service_linked_role(AWSServiceName="batch.amazonaws.com")
    (role,) = iam.list_roles(PathPrefix="/aws-service-role/batch.amazonaws.com/")["Roles"]
    properties = request.properties | {"ServiceRole": role["Arn"]}
    return ComputeEnvironment.create_from_cloudformation_json(
        request.name, request.json | {"Properties": properties}, request.account, request.region
    )


@_makes("AWS::Batch::JobDefinition", "JobDefinitionName")
def _job_definition(request: _Request) -> Any:
    p = request.properties
    left_out = {"Type", "Parameters", "ResourceRetentionPolicy"}  # the last is for CloudFormation, not for Batch
    wanted = {_camel(name): _camel_keys(value) for name, value in p.items() if name not in left_out}
    container = wanted["containerProperties"]
    # CloudFormation makes strings of numbers where the service wants strings.
    container["environment"] = [variable | {"value": str(variable["value"])} for variable in container["environment"]]
    # The names of log options are the driver's, not CloudFormation's: they stay as they are written.
    container["logConfiguration"]["options"] = p["ContainerProperties"]["LogConfiguration"]["Options"]
    definition = client("batch").register_job_definition(
        jobDefinitionName=request.name, type=p["Type"], parameters=p["Parameters"], **wanted
    )
    return batch_backends[request.account][request.region].get_job_definition_by_arn(definition["jobDefinitionArn"])


def _camel(name: str) -> str:
    return name[:1].lower() + name[1:]


def _camel_keys(value: Any) -> Any:
    if isinstance(value, dict):
        return {_camel(name): _camel_keys(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_camel_keys(inner) for inner in value]
    return value


@_makes("AWS::ECR::Repository", "RepositoryName", ("Arn", "RepositoryUri"))
def _repository(request: _Request) -> Any:
    # CloudFormation makes names of small letters for repositories; moto would refuse its own.
    name = request.name.lower()
    repository = Repository.create_from_cloudformation_json(name, request.json, request.account, request.region)
    if "LifecyclePolicy" in request.properties:
        policy = request.properties["LifecyclePolicy"]["LifecyclePolicyText"]
        client("ecr").put_lifecycle_policy(repositoryName=name, lifecyclePolicyText=policy)
    return repository


@_makes("AWS::CloudWatch::Alarm", "AlarmName", ("Arn",))
def _alarm(request: _Request) -> Any:
    numbers = {name: float(request.properties[name]) for name in ("Threshold",)}
    numbers |= {name: int(request.properties[name]) for name in ("Period", "EvaluationPeriods")}
    client("cloudwatch").put_metric_alarm(AlarmName=request.name, **{**request.properties, **numbers})
    return _Created("AWS::CloudWatch::Alarm", request.name)


@_makes("AWS::Budgets::Budget")
def _budget(request: _Request) -> Any:
    p = request.properties
    budget = p["Budget"] | {"BudgetName": request.name}
    budget["BudgetLimit"] = {name: str(value) for name, value in budget["BudgetLimit"].items()}
    client("budgets").create_budget(
        AccountId=request.account, Budget=budget, NotificationsWithSubscribers=p["NotificationsWithSubscribers"]
    )
    return _Created("AWS::Budgets::Budget", request.name)
