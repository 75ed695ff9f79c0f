"""A client of the API: signs requests to a deployed one, and raises its problem documents as errors."""

import json
from collections.abc import Iterable, Iterator
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
        given = query_string((name, value) for name, value in query.items() if value is not None)
        return self._ask("GET", self._address(path) + (f"?{given}" if given else ""))

    def post(self, *path: str, body: object) -> dict[str, Any]:
        """The answer to a POST of ``body`` as JSON.

        Raises:
            ApiProblem: the API refuses it.
            CloudUnreachable: nobody answers, or there are no credentials to sign with.
        """
        return self._ask("POST", self._address(path), json.dumps(body).encode())

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

    def _address(self, path: Iterable[str]) -> str:
        return f"{self._url}/" + "/".join(map(segment, path))

    def _ask(self, method: str, url: str, body: bytes = b"") -> dict[str, Any]:
        headers = {"Content-Type": "application/json"} if body else {}
        if self._signer:
            headers = self._signer.sign(method, url, headers, body)
        try:
            answer = self._http.send(AWSRequest(method, url, headers=headers, data=body).prepare())
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
