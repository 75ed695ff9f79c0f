"""List prices in US dollars, copied by hand at the date below: check them before you rely on a sum."""

AS_OF = "2025-05"
REGION = "us-east-1"

LAMBDA_GB_SECOND = 0.0000166667
LAMBDA_REQUEST = 0.20e-6
S3_PUT = 5.0e-6
S3_GET = 0.4e-6
S3_GB_MONTH = 0.023
DYNAMODB_WRITE_UNIT = 0.625e-6
DYNAMODB_READ_UNIT = 0.125e-6
SQS_REQUEST = 0.40e-6
SNS_PUBLISH = 0.50e-6

INSTANCE_HOUR = {"g4dn.xlarge": 0.526, "g5.xlarge": 1.006, "g6.xlarge": 0.8048}
FARGATE_VCPU_HOUR = 0.04048
FARGATE_GB_HOUR = 0.004445
FARGATE_SHAPE = (4, 16)
"""vCPUs and GiB of the job definition without a GPU."""

FARGATE = "fargate"
COMPUTE = (*INSTANCE_HOUR, FARGATE)
"""What a heatmap job can run on."""


def compute_hour(name: str) -> float:
    """On-Demand price of an hour of the compute that one job uses."""
    if name == FARGATE:
        vcpus, gigabytes = FARGATE_SHAPE
        return vcpus * FARGATE_VCPU_HOUR + gigabytes * FARGATE_GB_HOUR
    return INSTANCE_HOUR[name]
