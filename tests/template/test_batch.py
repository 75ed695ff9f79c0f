"""What no linter knows of AWS::Batch: jobs end, machines go away, and nothing has a name that stops updates."""

import email
import itertools
import re

import pytest
from tests.template.cloud_template import (
    as_list,
    chosen,
    default,
    needed_by,
    one,
    referenced,
    resources,
    statements,
    template,
)

from heatdrop.aws.jobs import RETRY_EXIT_CODE
from heatdrop.project import ROOT

ENVIRONMENTS = {
    name: environment["Properties"]["ComputeResources"]
    for name, environment in resources("AWS::Batch::ComputeEnvironment").items()
}
QUEUES = {name: queue["Properties"] for name, queue in resources("AWS::Batch::JobQueue").items()}
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
    assert strategy["Attempts"] == 10, "Batch allows ten, and Spot hosts are taken away more than once a day"
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


def launched() -> dict:
    return resources("AWS::EC2::LaunchTemplate")["InstanceTemplate"]["Properties"]["LaunchTemplateData"]


def test_instances_have_room_for_the_container() -> None:
    (disk,) = (mapping["Ebs"] for mapping in launched()["BlockDeviceMappings"])
    assert disk["VolumeSize"] >= 40
    assert disk["Encrypted"] is True


def test_instances_keep_their_credentials_from_the_user_of_the_job() -> None:
    """Jobs share the network of their host, so that a hop limit alone does not keep them from its metadata."""
    assert launched()["MetadataOptions"] == {"HttpTokens": "required", "HttpPutResponseHopLimit": 1}
    user = job()["ContainerProperties"]["User"]
    assert f"\nUSER {user}\n" in (ROOT / "functions/heatmaps/Dockerfile").read_text()
    # Batch puts parts of its own beside ours, so user data has to be a MIME message of several parts.
    message = email.message_from_string(launched()["UserData"]["Fn::Base64"])
    (script,) = message.get_payload()
    assert script.get_content_type() == "text/x-shellscript"
    assert script.get_payload().startswith("#!/bin/bash\n")
    (rule,) = (line for line in script.get_payload().splitlines() if line.startswith("iptables"))
    assert re.search(rf"OUTPUT .*169\.254\.169\.254/32 .*--uid-owner {user.partition(':')[0]} --jump REJECT$", rule)


@pytest.mark.parametrize("queue", sorted(QUEUES))
def test_queue_holds_environments_of_one_kind(queue: str) -> None:
    """Batch refuses to put EC2 and Fargate into one queue, or to let a queue change from the one to the other."""
    names = {one(entry["Fn::If"][1]["ComputeEnvironment"]) for entry in QUEUES[queue]["ComputeEnvironmentOrder"]}
    assert len({ENVIRONMENTS[name]["Type"].startswith("FARGATE") for name in names}) == 1


@pytest.mark.parametrize("environment", sorted(ENVIRONMENTS))
def test_type_of_an_environment_never_changes(environment: str) -> None:
    """Batch changes the type of no Fargate environment, so each type is a resource of its own."""
    assert isinstance(ENVIRONMENTS[environment]["Type"], str)


@pytest.mark.parametrize("kind", ["Gpu", "Cpu"])
def test_explanations_on_request_go_first_on_the_same_environments(kind: str) -> None:
    of_drops, of_requests = QUEUES[f"{kind}JobQueue"], QUEUES[f"{kind}RequestQueue"]
    assert of_requests["Priority"] > of_drops["Priority"]
    assert of_requests["ComputeEnvironmentOrder"] == of_drops["ComputeEnvironmentOrder"]


@pytest.mark.parametrize("gpu", [True, False])
def test_requests_are_submitted_to_their_own_queue_and_the_failures_of_both_are_heard(gpu: bool) -> None:
    kind = "Gpu" if gpu else "Cpu"
    both = {f"{kind}JobQueue", f"{kind}RequestQueue"}
    functions = resources("AWS::Serverless::Function")
    for name in ("ApiFunction", "JobEventsFunction"):
        variables = chosen(functions[name]["Properties"]["Environment"]["Variables"], Gpu=gpu)
        assert variables["REQUEST_JOB_QUEUE"] == {"Ref": f"{kind}RequestQueue"}
    variables = chosen(functions["InferenceFunction"]["Properties"]["Environment"]["Variables"], Gpu=gpu)
    assert variables["JOB_QUEUE"] == {"Ref": f"{kind}JobQueue"}
    rule = resources("AWS::Events::Rule")["JobFailedRule"]["Properties"]["EventPattern"]["detail"]
    assert referenced(chosen(rule["jobQueue"], Gpu=gpu)) == both


def test_an_update_leaves_the_revision_that_is_still_submitted() -> None:
    assert job()["ResourceRetentionPolicy"] == {"SkipDeregisterOnUpdate": True}


def test_whoever_submits_jobs_may_submit_every_revision() -> None:
    submitting = [(name, s["Resource"]) for name, s in statements() if "batch:SubmitJob" in as_list(s["Action"])]
    assert {name for name, _ in submitting} == {"InferenceRole", "ApiRole"}
    for _, targets in submitting:
        (arn,) = (target["Fn::Sub"] for target in targets if "Fn::Sub" in target)
        template_of_arn, names = arn
        assert template_of_arn.endswith(":${Definition}:*")
        # arn:partition:batch:region:account:job-definition/NAME:REVISION
        assert names["Definition"] == {"Fn::Select": [5, {"Fn::Split": [":", {"Ref": "HeatmapJobDefinition"}]}]}


@pytest.mark.parametrize(("environment", "way_out"), itertools.product(sorted(ENVIRONMENTS), ["Attachment", "Route"]))
def test_environment_goes_before_its_way_out_of_the_network(environment: str, way_out: str) -> None:
    """A gateway cannot be detached while instances with public addresses run, and then the stack is not deleted."""
    needed = {"Attachment": "InternetGatewayAttachment", "Route": "DefaultRoute"}[way_out]
    assert needed in needed_by(environment)


@pytest.mark.parametrize("environment", sorted(ENVIRONMENTS))
def test_jobs_run_in_three_zones_where_the_region_has_them(environment: str) -> None:
    subnets = [one(subnet) for subnet in chosen(ENVIRONMENTS[environment]["Subnets"], OwnVpc=True, ThirdZone=True)]
    zones = [resources("AWS::EC2::Subnet")[name]["Properties"]["AvailabilityZone"] for name in subnets]
    assert zones == [{"Fn::Select": [n, {"Fn::GetAZs": ""}]} for n in range(3)]
    routed = {one(r["Properties"]["SubnetId"]) for r in resources("AWS::EC2::SubnetRouteTableAssociation").values()}
    assert routed == set(subnets)


@pytest.mark.parametrize("queue", sorted(QUEUES))
def test_job_that_cannot_be_placed_is_cancelled_whatever_the_reason(queue: str) -> None:
    actions = QUEUES[queue]["JobStateTimeLimitActions"]
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
