"""Is there anything for jobs and functions to run on?"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import boto3

from heatdrop.aws.doctor.deployed import DeployedStack
from heatdrop.aws.doctor.findings import Finding

if TYPE_CHECKING:
    from mypy_boto3_batch.client import BatchClient
    from mypy_boto3_lambda.client import LambdaClient
    from mypy_boto3_service_quotas.client import ServiceQuotasClient

_VCPUS_A_JOB = 4
_GPU_QUOTAS = {"ON_DEMAND": ("On-Demand", "L-DB2E81BA"), "SPOT": ("Spot", "L-3819A6DF")}
"""Where the parameter Capacity may buy, to the quota that counts the vCPUs of G and VT instances there."""
_CONCURRENCY_FOR_THE_REST = 10
"""Invocations of the API and of job events that should find room beside inference."""


def job_queues(stack: DeployedStack) -> Iterator[Finding]:
    """Every job queue takes jobs, and every compute environment behind it can start machines."""
    check = "job queues"
    batch: BatchClient = boto3.client("batch")
    queues = [arn for arn in stack.resources.values() if ":job-queue/" in arn]
    environments: set[str] = set()
    broken = []
    for queue in batch.describe_job_queues(jobQueues=queues)["jobQueues"]:
        environments |= {entry["computeEnvironment"] for entry in queue["computeEnvironmentOrder"]}
        if (queue["state"], queue["status"]) != ("ENABLED", "VALID"):
            reason = queue.get("statusReason", "no reason given")
            broken.append(f"the job queue {queue['jobQueueName']} is {queue['state']} and {queue['status']}: {reason}")
    described = batch.describe_compute_environments(computeEnvironments=sorted(environments))["computeEnvironments"]
    for environment in described:
        state, status = environment["state"], environment["status"]
        if (state, status) != ("ENABLED", "VALID"):
            name, reason = environment["computeEnvironmentName"], environment.get("statusReason", "no reason given")
            broken.append(f"the compute environment {name} is {state} and {status}: {reason}")
    yield from (Finding.problem(check, f"{sentence}; enable it, jobs wait meanwhile") for sentence in broken)
    if not broken:
        yield Finding.ok(check, f"{len(queues)} job queues and {len(described)} compute environments are enabled")


def gpu_quota(stack: DeployedStack) -> Iterator[Finding]:
    """The account may run the GPUs that the stack would start."""
    check = "GPU quota"
    if not stack.uses_gpus or stack.local:
        yield Finding.ok(check, "not needed: heatmaps are rendered on CPUs")
        return
    quotas: ServiceQuotasClient = boto3.client("service-quotas")
    most, capacity = int(stack.parameters["MaxVcpus"]), stack.parameters["Capacity"]
    for bought, (name, code) in _GPU_QUOTAS.items():
        if bought not in capacity:
            continue
        allowed = quotas.get_service_quota(ServiceCode="ec2", QuotaCode=code)["Quota"]["Value"]
        ask = f"ask for more: aws service-quotas request-service-quota-increase --service-code ec2 --quota-code {code}"
        if allowed < _VCPUS_A_JOB:
            yield Finding.problem(
                check, f"this account may run no GPU ({name}: {allowed:.0f} vCPUs); {ask}, or deploy with UseGpu=false"
            )
        elif allowed < most:
            yield Finding.warning(
                check, f"{name}: {allowed:.0f} GPU vCPUs are allowed, fewer than MaxVcpus={most}: jobs wait; {ask}"
            )
        else:
            yield Finding.ok(check, f"{name}: {allowed:.0f} GPU vCPUs are allowed, MaxVcpus={most}")


def lambda_concurrency(stack: DeployedStack) -> Iterator[Finding]:
    """The account's concurrency leaves room for InferenceConcurrency and the other functions."""
    check = "Lambda concurrency"
    if stack.local:
        yield Finding.ok(check, "not limited on this machine")
        return
    awslambda: LambdaClient = boto3.client("lambda")
    allowed = awslambda.get_account_settings()["AccountLimit"]["UnreservedConcurrentExecutions"]
    wanted = int(stack.parameters["InferenceConcurrency"])
    if allowed < wanted + _CONCURRENCY_FOR_THE_REST:
        yield Finding.warning(
            check,
            f"functions share {allowed} concurrent invocations (new accounts get few) and inference may take {wanted}: "
            "set InferenceConcurrency lower, or ask for a higher quota L-B99A9384 of the service lambda",
        )
    else:
        yield Finding.ok(check, f"{allowed} invocations at once are allowed, inference takes up to {wanted}")
