"""Requests signed with a person's own AWS credentials."""

import re
from collections.abc import Mapping
from typing import Protocol

import boto3
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.exceptions import BotoCoreError

from heatdrop.errors import NotSignedIn

_API_HOST = re.compile(r"https://[a-z0-9-]+\.execute-api\.([a-z0-9-]+)\.amazonaws\.com")


class Signer(Protocol):
    """Whatever adds to a request what its API wants to see."""

    def sign(self, method: str, url: str, headers: Mapping[str, str], body: bytes) -> dict[str, str]:
        """The headers of the signed request.

        Raises:
            NotSignedIn: nothing to sign with.
        """
        ...


class AwsSigner:
    """Signature version 4 for API Gateway, with the credentials that the AWS CLI would use, renewed as it would."""

    def __init__(self, session: boto3.Session, api_url: str) -> None:
        """Sign for ``api_url``, in the region that it names, else that of the session.

        Raises:
            NotSignedIn: no region is known.
        """
        found = _API_HOST.match(api_url)
        region = found[1] if found else session.region_name
        if not region:
            raise NotSignedIn(f"{api_url} names no AWS region; set AWS_REGION")
        self._session, self._region = session, region

    def sign(self, method: str, url: str, headers: Mapping[str, str], body: bytes) -> dict[str, str]:
        """The headers with the signature; asked for at every request, since credentials run out."""
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


def signer_for(api_url: str) -> Signer:
    """What signs requests to ``api_url`` with the person's own AWS credentials.

    Raises:
        NotSignedIn: no region is known.
    """
    return AwsSigner(boto3.Session(), api_url)
