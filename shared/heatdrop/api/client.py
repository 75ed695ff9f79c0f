"""A client of the API: signs requests to a deployed one, and raises its problem documents as errors."""

import json
from collections.abc import Iterator
from typing import Any

from botocore.awsrequest import AWSRequest
from botocore.exceptions import BotoCoreError
from botocore.httpsession import URLLib3Session

from heatdrop.api.addresses import query as query_string
from heatdrop.api.addresses import segment
from heatdrop.aws.signing import AwsSigner
from heatdrop.errors import CloudUnreachable, HeatdropError


class ApiProblem(HeatdropError):
    """The API answered with an error; the message is what it said."""


class ApiClient:
    """Sends requests to the API at ``url``, signed where a signer is given."""

    def __init__(self, url: str, signer: AwsSigner | None) -> None:
        self._url, self._signer = url.rstrip("/"), signer
        self._http = URLLib3Session(timeout=60)

    def get(self, *path: str, **query: object) -> dict[str, Any]:
        """The answer to a GET; parts of the path are quoted, and what is None in the query is left out.

        Raises:
            ApiProblem: the API answers with an error.
            CloudUnreachable: the API does not answer, or there are no credentials to sign with.
        """
        target = "/".join(map(segment, path))
        given = query_string((name, value) for name, value in query.items() if value is not None)
        return self._ask(f"{self._url}/{target}" + (f"?{given}" if given else ""))

    def images(self, most: int | None = None, **filters: object) -> Iterator[dict[str, Any]]:
        """The images of a list, page by page, ``most`` at most."""
        token, left = None, most
        while left is None or left > 0:
            page = self.get("images", limit=min(100, left or 100), page_token=token, **filters)
            yield from page["images"]
            token = page["next_page"]
            if token is None:
                return
            left = None if left is None else left - len(page["images"])

    def _ask(self, url: str) -> dict[str, Any]:
        headers = self._signer.sign("GET", url, {}, b"") if self._signer else {}
        try:
            answer = self._http.send(AWSRequest("GET", url, headers=headers).prepare())
        except BotoCoreError as error:
            raise CloudUnreachable(f"the API at {self._url} cannot be asked: {error}") from error
        try:
            content = json.loads(answer.content)
        except ValueError:
            content = {}
        if answer.status_code >= 400:
            said = content.get("detail") or content.get("message") or "no reason given"
            raise ApiProblem(f"the API answers {answer.status_code}: {said}")
        return dict(content)
