"""The viewer's requests to the API and to S3."""

import json
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl

import urllib3
from urllib3.exceptions import HTTPError
from urllib3.response import BaseHTTPResponse

from heatdrop.api.addresses import query as query_string
from heatdrop.aws.signing import AwsSigner
from heatdrop.errors import NotSignedIn

_TIMEOUT = urllib3.Timeout(connect=5, read=60)


class Refused(Exception):
    """A request cannot be answered; has the parts of a problem document (RFC 9457)."""

    def __init__(self, status: int, title: str, detail: str) -> None:
        super().__init__(detail)
        self.status, self.title, self.detail = status, title, detail


@dataclass(frozen=True)
class Answer:
    """An answer of the API."""

    status: int
    media_type: str
    body: bytes


class Upstream:
    """Sends requests to the API, signed if there is a signer, and follows the short-lived links that it returns."""

    def __init__(self, api_url: str, signer: AwsSigner | None) -> None:
        self._url, self._signer = api_url.rstrip("/"), signer
        self._pool = urllib3.PoolManager(maxsize=16, timeout=_TIMEOUT, retries=False)

    def call(self, method: str, path: str, query: str = "", body: bytes = b"") -> Answer:
        """Send a request and return the answer, whatever its status; ``path`` is already percent-encoded.

        Raises:
            Refused: the API does not answer, or not in JSON.
        """
        url = f"{self._url}{path}"
        if query:
            # Encoded anew, since browsers encode differently from what is signed.
            url += "?" + query_string(parse_qsl(query, keep_blank_values=True))
        headers = {"Accept": "application/json"} | ({"Content-Type": "application/json"} if body else {})
        try:
            if self._signer:
                headers = self._signer.sign(method, url, headers, body)
            # No redirects: the signature must not reach another host.
            answer = self._pool.request(method, url, headers=headers, body=body or None, redirect=False)
        except NotSignedIn as error:
            raise Refused(401, "Not signed in", f"{_sentence(str(error))}.") from error
        except HTTPError as error:
            detail = f"{self._url} does not answer ({type(error).__name__}). Is it running, and is this machine online?"
            raise Refused(502, "API unreachable", detail) from error
        media_type = answer.headers.get("Content-Type", "")
        if "json" not in media_type:
            detail = f"{self._url} answered with status {answer.status} and no JSON. Is this the address of the API?"
            raise Refused(502, "Not the API", detail)
        return Answer(answer.status, media_type, answer.data)

    def fetch(self, path: str, query: str = "") -> BaseHTTPResponse:
        """Ask the API for the link at ``path`` and open it; the caller must release the connection.

        Raises:
            Refused: the API gives no link, or the link cannot be opened.
        """
        link = self._document(self.call("GET", path, query))
        try:
            answer = self._pool.request("GET", link["url"], preload_content=False, redirect=True)
        except HTTPError as error:
            raise Refused(502, "Store unreachable", "The file's link does not answer. Try again.") from error
        if answer.status != 200:
            answer.drain_conn()
            detail = f"The store answered with status {answer.status}. The file may have been deleted."
            raise Refused(404 if answer.status == 404 else 502, "File not available", detail)
        return answer

    def upload(self, name: str, media_type: str, content: bytes) -> Answer:
        """Ask the API for an upload link and upload a file; returns the API's answer.

        Raises:
            Refused: S3 does not accept the file.
        """
        wanted = {"name": name, "size": len(content), "media_type": media_type}
        answer = self.call("POST", "/uploads", body=json.dumps(wanted).encode())
        place = self._document(answer)
        fields = [*place["fields"].items(), ("file", (name, content, media_type))]
        try:
            stored = self._pool.request_encode_body("POST", place["url"], fields=fields)
        except HTTPError as error:
            raise Refused(502, "Store unreachable", "The file could not be sent. Try again.") from error
        if stored.status >= 300:
            detail = f"The store did not take the file (status {stored.status}). Drop it again."
            raise Refused(502, "Upload refused", detail)
        return answer

    def _document(self, answer: Answer) -> dict[str, Any]:
        """The JSON object of a successful answer.

        Raises:
            Refused: the answer is an error; with its title and detail.
        """
        try:
            document = json.loads(answer.body)
            if answer.status < 300:
                return dict(document)
            title, detail = document.get("title", "Refused"), document.get("detail", "The API gives no reason.")
        except (ValueError, TypeError, AttributeError) as error:
            raise Refused(502, "Not the API", f"{self._url} did not answer with a JSON object.") from error
        raise Refused(answer.status, str(title), str(detail))


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:].rstrip(".")
