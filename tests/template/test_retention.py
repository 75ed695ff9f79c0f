"""What is kept survives whatever happens to the stack, and what is to go goes without anybody being alarmed."""

import tomllib

import pytest
from tests.template.cloud_template import chosen, referenced, resources, template

from heatdrop.project import ROOT

TABLE = resources("AWS::DynamoDB::Table")["ImagesTable"]
KEPT = resources("AWS::DynamoDB::Table", "AWS::S3::Bucket")


@pytest.mark.parametrize("name", sorted(KEPT))
def test_records_and_images_outlive_the_stack_and_a_replacement(name: str) -> None:
    assert KEPT[name]["DeletionPolicy"] in {"Retain", "RetainExceptOnCreate"}
    assert KEPT[name]["UpdateReplacePolicy"] == "Retain"


def test_table_refuses_to_be_deleted_unless_that_was_asked_for() -> None:
    assert TABLE["Properties"]["DeletionProtectionEnabled"] == {"Ref": "ProtectRecords"}
    assert template()["Parameters"]["ProtectRecords"]["Default"] == "true"
    # A deployment that fails deletes what it has just made, which a protected table would refuse.
    assert TABLE["DeletionPolicy"] == "Retain"
    assert TABLE["Properties"]["PointInTimeRecoverySpecification"] == {"PointInTimeRecoveryEnabled": True}


def test_bucket_with_a_fixed_name_is_not_in_the_way_of_a_second_attempt() -> None:
    for bucket in resources("AWS::S3::Bucket").values():
        assert bucket["DeletionPolicy"] == "RetainExceptOnCreate"


def test_records_end_with_their_heatmaps() -> None:
    assert TABLE["Properties"]["TimeToLiveSpecification"] == {"AttributeName": "expires_at", "Enabled": True}
    rules = resources("AWS::S3::Bucket")["ResultsBucket"]["Properties"]["LifecycleConfiguration"]["Rules"]
    (days,) = (rule["ExpirationInDays"] for rule in rules if rule.get("Prefix") == "images/")
    job = resources("AWS::Batch::JobDefinition")["HeatmapJobDefinition"]["Properties"]["ContainerProperties"]
    of_job = {variable["Name"]: variable["Value"] for variable in job["Environment"]}
    of_functions = template()["Globals"]["Function"]["Environment"]["Variables"]
    assert days == of_job["KEEP_RESULTS_DAYS"] == of_functions["KEEP_RESULTS_DAYS"] == {"Ref": "KeepResultsDays"}


@pytest.mark.parametrize("end", [True, False])
def test_dropped_images_end_where_that_is_asked_for_with_all_their_versions(end: bool) -> None:
    bucket = chosen(resources("AWS::S3::Bucket")["InputBucket"]["Properties"], InputsEnd=end)
    rules = {rule["Id"]: rule for rule in bucket["LifecycleConfiguration"]["Rules"]}
    assert all(rule["Status"] == "Enabled" for rule in rules.values())
    assert ("old-images" in rules) is end
    if end:
        assert rules["old-images"]["ExpirationInDays"] == {"Ref": "KeepInputsDays"}
        # KeepInputsDays promises that nothing is left a week later.
        assert rules["older-versions"]["NoncurrentVersionExpiration"]["NoncurrentDays"] < 7
    # S3 refuses a rule that has both.
    assert not any({"ExpirationInDays", "ExpiredObjectDeleteMarker"} <= rule.keys() for rule in rules.values())


def test_nobody_is_told_when_something_ends() -> None:
    (told,) = resources("AWS::S3::Bucket")["InputBucket"]["Properties"]["NotificationConfiguration"][
        "QueueConfigurations"
    ]
    assert told["Event"] == "s3:ObjectCreated:*"
    assert "StreamSpecification" not in TABLE["Properties"]
    for alarm in resources("AWS::CloudWatch::Alarm").values():
        assert not referenced(alarm["Properties"]["Dimensions"]) & KEPT.keys()


def test_no_file_remembers_parameters_that_a_later_deployment_would_bring_back() -> None:
    settings = tomllib.loads((ROOT / "samconfig.toml").read_text())
    assert "parameter_overrides" not in str(settings)


def test_shards_begin_with_eight_and_may_grow() -> None:
    shards = template()["Parameters"]["Shards"]
    assert shards["Default"] == shards["MinValue"] == 8
    assert shards["MaxValue"] > 8
    assert "never" in shards["Description"]
