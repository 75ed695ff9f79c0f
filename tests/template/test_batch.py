"""What no linter knows of AWS::Batch: jobs end, machines go away, and nothing has a name that stops updates."""

import pytest
from tests.template.cloud_template import default, one, resources, template

from heatdrop.aws.jobs import RETRY_EXIT_CODE

GPU_ENVIRONMENTS = {
    name: environment["Properties"]["ComputeResources"]
    for name, environment in resources("AWS::Batch::ComputeEnvironment").items()
    if "InstanceTypes" in environment["Properties"]["ComputeResources"]
}


def job() -> dict:
    return resources("AWS::Batch::JobDefinition")["HeatmapJobDefinition"]["Properties"]


def test_retry_rules_end_with_exit_and_a_lost_host_is_retried() -> None:
    strategy = job()["RetryStrategy"]
    rules = strategy["EvaluateOnExit"]
    assert strategy["Attempts"] > 1
    assert len(rules) <= 5
    assert rules[-1] == {"Action": "EXIT", "OnReason": "*"}
    assert {"Action": "RETRY", "OnStatusReason": "Host EC2*"} in rules
    assert {"Action": "RETRY", "OnStatusReason": "Your Spot Task was interrupted*"} in rules
    assert {"Action": "RETRY", "OnExitCode": str(RETRY_EXIT_CODE)} in rules


def test_job_has_an_end_before_its_images_count_as_stuck() -> None:
    timeout = default(job()["Timeout"]["AttemptDurationSeconds"])
    assert 0 < timeout < 60 * template()["Parameters"]["StuckAfterMinutes"]["Default"]


def test_gpu_is_required_where_it_is_promised() -> None:
    requirements = job()["ContainerProperties"]["ResourceRequirements"]
    assert {"Fn::If": ["Gpu", {"Type": "GPU", "Value": "1"}, {"Ref": "AWS::NoValue"}]} in requirements
    assert {"Name": "REQUIRE_GPU", "Value": {"Ref": "UseGpu"}} in job()["ContainerProperties"]["Environment"]


def test_memory_leaves_room_for_the_agent_and_fits_fargate() -> None:
    (memory,) = (
        r["Value"]["Fn::If"]
        for r in job()["ContainerProperties"]["ResourceRequirements"]
        if "Value" in r and r["Type"] == "MEMORY"
    )
    _, gpu, fargate = memory
    assert int(gpu) <= 0.9 * 16 * 1024
    assert int(fargate) % 1024 == 0
    assert 8 * 1024 <= int(fargate) <= 30 * 1024  # what Fargate gives with four vCPUs


@pytest.mark.parametrize("name", sorted(GPU_ENVIRONMENTS))
def test_gpu_instances_exist_only_while_there_is_work(name: str) -> None:
    compute = GPU_ENVIRONMENTS[name]
    assert compute["MinvCpus"] == 0
    assert compute["Ec2Configuration"] == [{"ImageType": "ECS_AL2023_NVIDIA"}]
    assert compute["InstanceTypes"] == {"Ref": "GpuInstanceTypes"}
    assert one(compute["LaunchTemplate"]) == "InstanceTemplate"


def test_gpus_are_bought_as_spot_and_on_demand() -> None:
    assert {compute["Type"] for compute in GPU_ENVIRONMENTS.values()} == {"SPOT", "EC2"}


def test_instances_have_room_for_the_container_and_keep_their_role_to_themselves() -> None:
    data = resources("AWS::EC2::LaunchTemplate")["InstanceTemplate"]["Properties"]["LaunchTemplateData"]
    assert data["MetadataOptions"] == {"HttpTokens": "required", "HttpPutResponseHopLimit": 1}
    (disk,) = (mapping["Ebs"] for mapping in data["BlockDeviceMappings"])
    assert disk["VolumeSize"] >= 40
    assert disk["Encrypted"] is True


def test_job_that_cannot_be_placed_is_cancelled_whatever_the_reason() -> None:
    actions = resources("AWS::Batch::JobQueue")["HeatmapJobQueue"]["Properties"]["JobStateTimeLimitActions"]
    assert {action["Reason"] for action in actions} == {
        "MISCONFIGURATION:JOB_RESOURCE_REQUIREMENT",
        "MISCONFIGURATION:COMPUTE_ENVIRONMENT_MAX_RESOURCE",
        "CAPACITY:INSUFFICIENT_INSTANCE_CAPACITY",
    }
    # Cancelled before the sweep gives its images up, so that they carry the true reason.
    assert all(a["MaxTimeSeconds"] < 60 * template()["Parameters"]["StuckAfterMinutes"]["Default"] for a in actions)


@pytest.mark.parametrize("cfn_type", ["ComputeEnvironment", "JobQueue", "JobDefinition"])
def test_nothing_of_batch_has_a_fixed_name(cfn_type: str) -> None:
    for resource in resources(f"AWS::Batch::{cfn_type}").values():
        assert f"{cfn_type}Name" not in resource["Properties"]
