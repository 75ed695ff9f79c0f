"""The parameters and outputs of a deployed stack, as CloudFormation describes it."""

from typing import TYPE_CHECKING

import boto3
from botocore.exceptions import BotoCoreError, ClientError

from heatdrop.errors import CloudUnreachable, InvalidRequest

if TYPE_CHECKING:
    from mypy_boto3_cloudformation.client import CloudFormationClient
    from mypy_boto3_cloudformation.type_defs import StackTypeDef


def outputs_of(stack: str) -> dict[str, str]:
    """The outputs of a deployed stack, by name. Raises what ``description_of`` raises."""
    return {output["OutputKey"]: output["OutputValue"] for output in description_of(stack)["Outputs"]}


def description_of(stack: str) -> "StackTypeDef":
    """A deployed stack as CloudFormation describes it: id, parameters, outputs.

    Raises:
        InvalidRequest: there is no such stack, or it is not Heatdrop's.
        CloudUnreachable: AWS cannot be asked.
    """
    described = find_stack(stack)
    if described is None:
        raise InvalidRequest(f"there is no stack {stack} in this account and region; name it with --stack")
    if "ImagesTable" not in {output["OutputKey"] for output in described.get("Outputs", [])}:
        raise InvalidRequest(f"the stack {stack} is not one of Heatdrop's")
    return described


def find_stack(stack: str) -> "StackTypeDef | None":
    """A stack as CloudFormation describes it; None where there is none, or none that was ever created.

    Raises:
        CloudUnreachable: AWS cannot be asked.
    """
    try:
        cloudformation: CloudFormationClient = boto3.client("cloudformation")
        described = cloudformation.describe_stacks(StackName=stack)["Stacks"][0]
    except ClientError as error:
        if error.response["Error"]["Code"] == "ValidationError":
            return None
        raise CloudUnreachable(f"AWS refuses: {error.response['Error'].get('Message', error)}") from error
    except BotoCoreError as error:
        raise CloudUnreachable(f"AWS cannot be asked: {error}") from error
    # A change set that was never executed leaves a stack in this state, and nothing in it.
    return None if described["StackStatus"] == "REVIEW_IN_PROGRESS" else described
