"""The outputs of a deployed stack. Nothing else calls CloudFormation."""

import boto3
from botocore.exceptions import BotoCoreError, ClientError

from heatdrop.aws.table_schema import DEFAULT_SHARDS
from heatdrop.errors import CloudUnreachable, InvalidRequest


def outputs_of(stack: str) -> dict[str, str]:
    """The outputs of a deployed stack, by name, and its parameter ``Shards`` among them.

    Raises:
        InvalidRequest: there is no such stack, or it is not Heatdrop's.
        CloudUnreachable: AWS cannot be asked.
    """
    try:
        described = boto3.client("cloudformation").describe_stacks(StackName=stack)["Stacks"][0]
    except ClientError as error:
        if error.response["Error"]["Code"] == "ValidationError":
            raise InvalidRequest(
                f"there is no stack {stack} in this account and region; name it with --stack"
            ) from error
        raise CloudUnreachable(f"AWS refuses: {error.response['Error'].get('Message', error)}") from error
    except BotoCoreError as error:
        raise CloudUnreachable(f"AWS cannot be asked: {error}") from error
    outputs = {output["OutputKey"]: output["OutputValue"] for output in described.get("Outputs", [])}
    if "ImagesTable" not in outputs:
        raise InvalidRequest(f"the stack {stack} is not one of Heatdrop's")
    parameters = {one["ParameterKey"]: one.get("ParameterValue", "") for one in described.get("Parameters", [])}
    return outputs | {"Shards": parameters.get("Shards", str(DEFAULT_SHARDS))}
