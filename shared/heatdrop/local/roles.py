"""Acting under a role of the local cloud: temporary credentials, as AWS hands them to functions, jobs and pollers."""

import boto3


def environment_of(role: str) -> dict[str, str]:
    """Credentials of a role (an ARN), as the variables that AWS's SDKs read."""
    key, secret, token = _credentials_of(role)
    return {"AWS_ACCESS_KEY_ID": key, "AWS_SECRET_ACCESS_KEY": secret, "AWS_SESSION_TOKEN": token}


def session_of(role: str) -> boto3.Session:
    """A session whose clients act under a role (an ARN)."""
    return boto3.Session(*_credentials_of(role))


def _credentials_of(role: str) -> tuple[str, str, str]:
    made = boto3.client("sts").assume_role(RoleArn=role, RoleSessionName="heatdrop")["Credentials"]
    return made["AccessKeyId"], made["SecretAccessKey"], made["SessionToken"]
