"""Page tokens: where a list continues, signed together with its filters, so that it fits no other list."""

import base64
import binascii
import hashlib
import hmac
from collections.abc import Callable
from functools import cached_property
from typing import TYPE_CHECKING

import boto3

from heatdrop.errors import InvalidRequest

if TYPE_CHECKING:
    from mypy_boto3_secretsmanager.client import SecretsManagerClient

SIGNATURE_BYTES = 16


class PageTokens:
    """Signs and reads page tokens. ``find_key`` is called once, with the first token."""

    def __init__(self, find_key: Callable[[], bytes]) -> None:
        self._find_key = find_key

    @cached_property
    def _key(self) -> bytes:
        return self._find_key()

    def sign(self, position: str, query: str) -> str:
        """The token of the page that begins after ``position`` in the answer to ``query``."""
        signed = self._signature(position.encode(), query) + position.encode()
        return base64.urlsafe_b64encode(signed).decode().rstrip("=")

    def read(self, token: str, query: str) -> str:
        """The position that a token holds.

        Raises:
            InvalidRequest: we did not sign it, or for another query.
        """
        try:
            signed = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
            signature, position = signed[:SIGNATURE_BYTES], signed[SIGNATURE_BYTES:]
            if hmac.compare_digest(signature, self._signature(position, query)):
                return position.decode()
        except (binascii.Error, ValueError):
            pass
        raise InvalidRequest(
            "page_token is not one that was given for these filters; ask for the first page again, without it"
        )

    def _signature(self, position: bytes, query: str) -> bytes:
        message = hashlib.sha256(query.encode()).digest() + position
        return hmac.digest(self._key, message, "sha256")[:SIGNATURE_BYTES]


def key_in(secret_arn: str) -> Callable[[], bytes]:
    """A function that fetches the key from Secrets Manager, where CloudFormation made it."""

    def find() -> bytes:
        secrets: SecretsManagerClient = boto3.client("secretsmanager")
        return secrets.get_secret_value(SecretId=secret_arn)["SecretString"].encode()

    return find
