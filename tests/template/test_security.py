"""Each part may do its own work on its own resources, over TLS, and nothing else."""

import re

import pytest
from tests.template.cloud_template import as_list, chosen, one, referenced, resources, statements, template, walk

from heatdrop.project import TEMPLATE

ALLOWED = [(name, statement) for name, statement in statements() if statement["Effect"] == "Allow"]
LINES = TEMPLATE.read_text(encoding="utf-8").splitlines()

# What each service knows as its resources' policy.
POLICIES = {
    "AWS::S3::Bucket": ("AWS::S3::BucketPolicy", "Bucket"),
    "AWS::SQS::Queue": ("AWS::SQS::QueuePolicy", "Queues"),
    "AWS::SNS::Topic": ("AWS::SNS::TopicPolicy", "Topics"),
}


def test_no_statement_allows_every_action() -> None:
    for name, statement in ALLOWED:
        for action in as_list(statement["Action"]):
            assert "*" not in action, f"{name} allows {action}"


def test_statement_on_every_resource_has_its_reason_beside_it() -> None:
    everywhere = [number for number, line in enumerate(LINES) if re.search(r'Resource: "?\*"?$', line)]
    assert everywhere
    for number in everywhere:
        assert LINES[number - 1].strip().startswith("# "), f"line {number + 1}: why every resource?"


def test_wildcard_in_a_resource_stands_behind_a_name() -> None:
    for name, statement in ALLOWED:
        for resource in (node for node in walk(statement.get("Resource", [])) if isinstance(node, str)):
            if "*" in resource and resource != "*":
                # Everything below a name, every revision of a name, alarms that bear the stack's name, or the queues of
                # `heatdrop watch`.
                assert re.search(r"[}\w]/(\w+/)*\*$|}:\*$|:alarm:\$\{AWS::StackName\}-\*$|:heatdrop-\*$", resource), (
                    f"{name} reaches {resource}"
                )


def test_no_role_takes_over_a_managed_policy_but_that_of_the_ecs_agent() -> None:
    managed = {
        policy["Fn::Sub"].rsplit("/", 1)[-1]
        for role in resources("AWS::IAM::Role").values()
        for policy in role["Properties"].get("ManagedPolicyArns", [])
    }
    assert managed == {"AmazonEC2ContainerServiceforEC2Role"}


@pytest.mark.parametrize("function", sorted(resources("AWS::Serverless::Function")))
def test_function_has_a_role_of_its_own(function: str) -> None:
    roles = {name: one(f["Properties"]["Role"]) for name, f in resources("AWS::Serverless::Function").items()}
    assert list(roles.values()).count(roles[function]) == 1
    # SAM adds its own, wide policies only to roles that it makes.
    assert "Policies" not in resources("AWS::Serverless::Function")[function]["Properties"]


@pytest.mark.parametrize(
    ("name", "policy_type", "target"),
    [(name, *POLICIES[r["Type"]]) for name, r in resources(*POLICIES).items()],
)
def test_resource_refuses_whoever_comes_without_tls(name: str, policy_type: str, target: str) -> None:
    (policy,) = (p for p in resources(policy_type).values() if name in referenced(p["Properties"][target]))
    (deny,) = (s for s in policy["Properties"]["PolicyDocument"]["Statement"] if s["Effect"] == "Deny")
    assert deny["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}
    assert deny["Principal"] == "*"
    assert name in referenced(deny["Resource"])


@pytest.mark.parametrize("bucket", sorted(resources("AWS::S3::Bucket")))
def test_bucket_is_closed_encrypted_and_cleans_up(bucket: str) -> None:
    properties = resources("AWS::S3::Bucket")[bucket]["Properties"]
    assert set(properties["PublicAccessBlockConfiguration"].values()) == {True}
    assert "BucketEncryption" in properties
    rules = properties["LifecycleConfiguration"]["Rules"]
    assert any("AbortIncompleteMultipartUpload" in rule for rule in rules)
    assert any(rule.keys() & {"ExpirationInDays", "NoncurrentVersionExpiration"} for rule in rules)


@pytest.mark.parametrize("queue", sorted(resources("AWS::SQS::Queue")))
def test_queue_is_encrypted(queue: str) -> None:
    assert chosen(resources("AWS::SQS::Queue")[queue]["Properties"], OwnKey=False)["SqsManagedSseEnabled"] is True


@pytest.mark.parametrize("name", sorted(resources(*POLICIES, "AWS::DynamoDB::Table")))
def test_a_key_of_ones_own_encrypts_every_bucket_table_queue_and_topic(name: str) -> None:
    properties = template()["Resources"][name]["Properties"]
    assert "KmsKeyArn" in referenced(chosen(properties, OwnKey=True))
    assert "KmsKeyArn" not in referenced(chosen(properties, OwnKey=False))
    # SQS takes a key or its own encryption, not both.
    assert "SqsManagedSseEnabled" not in chosen(properties, OwnKey=True)


WORKERS = {
    name
    for name, role in resources("AWS::IAM::Role").items()
    if any(policy["PolicyName"] != "start-the-container" for policy in role["Properties"].get("Policies", []))
}


@pytest.mark.parametrize("name", sorted(WORKERS | resources("AWS::IAM::ManagedPolicy").keys()))
def test_whoever_reaches_data_may_use_that_key_and_no_other(name: str) -> None:
    uses = [s for owner, s in statements() if owner == name and any("kms:" in a for a in as_list(s["Action"]))]
    (use,) = uses
    assert use["Resource"] == {"Ref": "KmsKeyArn"}
    assert {"kms:Decrypt", "kms:GenerateDataKey"} <= set(use["Action"])


def test_nobody_reads_a_table_from_end_to_end() -> None:
    assert not [name for name, statement in ALLOWED if "dynamodb:Scan" in as_list(statement["Action"])]


def test_redrive_finds_failed_images_by_the_index_that_it_asks() -> None:
    (targets,) = (s["Resource"] for name, s in ALLOWED if name == "RedrivePolicy" and s["Action"] == "dynamodb:Query")
    assert targets == {"Fn::Sub": "${ImagesTable.Arn}/index/by_state"}


def test_jobs_may_read_the_bundles_that_earlier_manifests_name() -> None:
    readable = [s["Resource"] for name, s in ALLOWED if name == "HeatmapJobRole" and s["Action"] == "s3:GetObject"]
    assert any(referenced(target) >= {"BundlesUnder"} for target in readable)


def test_only_the_input_bucket_of_this_account_feeds_the_ingest_queue() -> None:
    policy = resources("AWS::SQS::QueuePolicy")["IngestQueuePolicy"]["Properties"]["PolicyDocument"]
    (allow,) = (s for s in policy["Statement"] if s["Effect"] == "Allow")
    assert allow["Principal"] == {"Service": "s3.amazonaws.com"}
    assert allow["Condition"]["StringEquals"] == {"aws:SourceAccount": {"Ref": "AWS::AccountId"}}
    source = allow["Condition"]["ArnEquals"]["aws:SourceArn"]["Fn::Sub"]
    assert source.endswith(":::" + resources("AWS::S3::Bucket")["InputBucket"]["Properties"]["BucketName"]["Fn::Sub"])


def test_nothing_can_open_a_connection_to_a_job() -> None:
    (group,) = resources("AWS::EC2::SecurityGroup").values()
    assert "SecurityGroupIngress" not in group["Properties"]
    assert [rule["ToPort"] for rule in group["Properties"]["SecurityGroupEgress"]] == [443]


def test_every_checkov_skip_has_its_reason() -> None:
    skips = [
        (name, skip)
        for name, resource in template()["Resources"].items()
        for skip in resource.get("Metadata", {}).get("checkov", {}).get("skip", [])
    ]
    assert skips
    for name, skip in skips:
        assert len(skip["comment"].split()) >= 5, f"{name} skips {skip['id']} without a reason"
