"""Requests signed with a person's own AWS credentials."""

import re
from collections.abc import Mapping

import boto3
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.exceptions import BotoCoreError

from heatdrop.errors import NotSignedIn

_API_HOST = re.compile(r"https://[a-z0-9-]+\.execute-api\.([a-z0-9-]+)\.amazonaws\.com")


class AwsSigner:
    """Signature version 4 for API Gateway, with the credentials that the AWS CLI would use, refreshed as it would."""

    def __init__(self, api_url: str, session: boto3.Session | None = None) -> None:
        """Sign for ``api_url``, in the region that its host names, else in that of the session.

        Raises:
            NotSignedIn: no region is known.
        """
        found = _API_HOST.match(api_url)
        session = session or boto3.Session()
        region = found[1] if found else session.region_name
        if not region:
            raise NotSignedIn(f"{api_url} names no AWS region; set AWS_REGION")
        self._session, self._region = session, region

    def sign(self, method: str, url: str, headers: Mapping[str, str], body: bytes) -> dict[str, str]:
        """The headers of a request with its signature. Credentials are asked for each time, because they expire.

        Raises:
            NotSignedIn: there are no credentials, or they cannot be used.
        """
        try:
            credentials = self._session.get_credentials()
            frozen = credentials.get_frozen_credentials() if credentials else None
        except BotoCoreError as error:
            raise NotSignedIn(f"the AWS credentials cannot be used ({error}); sign in again") from error
        if frozen is None:
            raise NotSignedIn("there are no AWS credentials; run `aws configure` or `aws sso login`, then try again")
        request = AWSRequest(method, url, headers=dict(headers), data=body)
        SigV4Auth(frozen, "execute-api", self._region).add_auth(request)
        return dict(request.headers.items())
