"""What a deployed stack says of itself: the only place that asks CloudFormation for it."""

from dataclasses import dataclass

import boto3
from botocore.exceptions import BotoCoreError, ClientError

from heatdrop.errors import CloudUnreachable, InvalidRequest


@dataclass(frozen=True)
class DeployedStack:
    """The parameters that a stack was deployed with, and its outputs; both by name."""

    parameters: dict[str, str]
    outputs: dict[str, str]


def find_stack(name: str) -> DeployedStack | None:
    """A stack of this account and region; None where there is none, or none that was ever created.

    Raises:
        CloudUnreachable: AWS cannot be asked.
    """
    try:
        described = boto3.client("cloudformation").describe_stacks(StackName=name)["Stacks"][0]
    except ClientError as error:
        if error.response["Error"]["Code"] == "ValidationError":
            return None
        raise CloudUnreachable(f"AWS refuses: {error.response['Error'].get('Message', error)}") from error
    except BotoCoreError as error:
        raise CloudUnreachable(f"AWS cannot be asked: {error}") from error
    # A change set that was never executed leaves a stack of nothing in this state.
    if described["StackStatus"] == "REVIEW_IN_PROGRESS":
        return None
    return DeployedStack(
        parameters={p["ParameterKey"]: p["ParameterValue"] for p in described.get("Parameters", [])},
        outputs={output["OutputKey"]: output["OutputValue"] for output in described.get("Outputs", [])},
    )


def outputs_of(stack: str) -> dict[str, str]:
    """The outputs of a deployed stack, by name.

    Raises:
        InvalidRequest: there is no such stack, or it is not Heatdrop's.
        CloudUnreachable: AWS cannot be asked.
    """
    found = find_stack(stack)
    if found is None:
        raise InvalidRequest(f"there is no stack {stack} in this account and region; name it with --stack")
    if "ImagesTable" not in found.outputs:
        raise InvalidRequest(f"the stack {stack} is not one of Heatdrop's")
    return found.outputs
