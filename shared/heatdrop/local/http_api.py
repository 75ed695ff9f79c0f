"""API Gateway on one machine: a loopback HTTP server whose requests become events of the deployed function.

Routes are those of the deployed API. Two things differ from AWS: nobody has to sign, and nothing is throttled; both
can be had by this machine's own user alone. What a page of another origin asks is refused, as without CORS.
"""

import base64
import json
import logging
import threading
import time
import uuid
from datetime import UTC, datetime
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

import boto3

from heatdrop.local.deployment import Deployment
from heatdrop.local.lambda_runtime import FunctionFailed, LambdaWorker

logger = logging.getLogger(__name__)

LARGEST_BODY = 10_000_000
"""Bytes that API Gateway takes."""


class HttpApi:
    """Serves the API of a deployment for as long as the ``with`` block lasts."""

    def __init__(self, deployment: Deployment, workers: dict[str, LambdaWorker], port: int = 0) -> None:
        api_id = deployment.physical_ids["Api"]
        gateway = boto3.client("apigatewayv2")
        self._methods = {route["RouteKey"].split()[0] for route in gateway.get_routes(ApiId=api_id)["Items"]}
        self._worker = workers[deployment.physical_ids["ApiFunction"]]
        self._api_id = api_id
        self._server = ThreadingHTTPServer(("127.0.0.1", port), _handler_class(self))
        self._server.daemon_threads = True

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self._server.server_port}"

    def start(self) -> None:
        """Serve in a thread."""
        threading.Thread(target=self._server.serve_forever, name="http-api", daemon=True).start()

    def stop(self) -> None:
        """Take no more requests."""
        self._server.shutdown()
        self._server.server_close()

    def answer(
        self, method: str, target: str, headers: dict[str, str], body: bytes
    ) -> tuple[int, dict[str, str], bytes]:
        """Status, headers and body of the answer to a request."""
        if method not in self._methods:
            return _said(HTTPStatus.NOT_FOUND, "Not Found")
        if len(body) > LARGEST_BODY:
            return _said(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "Request Too Long")
        try:
            answer = self._worker.invoke(event_of(method, target, headers, body, self._api_id))
        except FunctionFailed as error:
            logger.warning("%s", error)
            return _said(HTTPStatus.INTERNAL_SERVER_ERROR, "Internal Server Error")
        content = answer.get("body") or ""
        data = base64.b64decode(content) if answer.get("isBase64Encoded") else content.encode()
        return int(answer["statusCode"]), dict(answer.get("headers") or {}), data


def event_of(method: str, target: str, headers: dict[str, str], body: bytes, api_id: str = "local") -> dict[str, Any]:
    """The event (payload format 2.0) that API Gateway makes of a request: the path decoded once, the query not."""
    split = urlsplit(target)
    path = unquote(split.path)
    query: dict[str, str] = {}
    for name, value in parse_qsl(split.query, keep_blank_values=True):
        query[name] = f"{query[name]},{value}" if name in query else value
    try:
        text, encoded = body.decode(), False
    except UnicodeDecodeError:
        text, encoded = base64.b64encode(body).decode(), True
    now = time.time()
    event: dict[str, Any] = {
        "version": "2.0",
        "routeKey": f"{method} /{{proxy+}}",
        "rawPath": path,
        "rawQueryString": split.query,
        "headers": {name.lower(): value for name, value in headers.items()},
        "requestContext": {
            "accountId": "123456789012",
            "apiId": api_id,
            "domainName": headers.get("Host", "localhost"),
            "http": {
                "method": method,
                "path": path,
                "protocol": "HTTP/1.1",
                "sourceIp": "127.0.0.1",
                "userAgent": headers.get("User-Agent", ""),
            },
            "requestId": uuid.uuid4().hex[:15],
            "routeKey": f"{method} /{{proxy+}}",
            "stage": "$default",
            "time": datetime.fromtimestamp(now, UTC).strftime("%d/%b/%Y:%H:%M:%S +0000"),
            "timeEpoch": int(now * 1000),
        },
        "pathParameters": {"proxy": path.lstrip("/")},
        "isBase64Encoded": encoded,
    }
    if query:
        event["queryStringParameters"] = query
    if body:
        event["body"] = text
    return event


def _said(status: HTTPStatus, message: str) -> tuple[int, dict[str, str], bytes]:
    """What API Gateway itself answers."""
    return status.value, {"Content-Type": "application/json"}, json.dumps({"message": message}).encode()


def _handler_class(api: HttpApi) -> type[BaseHTTPRequestHandler]:
    class Front(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def __getattr__(self, name: str) -> Any:
            if name.startswith("do_"):  # whatever the method is, the answer is API Gateway's
                return self._answer
            raise AttributeError(name)

        def _answer(self) -> None:
            host = self.headers.get("Host", "").rpartition(":")[0]
            if host not in {"127.0.0.1", "localhost"}:
                # A page of a name that was made to point here would else be let in (DNS rebinding).
                status, headers, data = _said(HTTPStatus.FORBIDDEN, "Forbidden")
                self.close_connection = True
            else:
                length = self.headers.get("Content-Length", "0")
                body = self.rfile.read(int(length)) if length.isdecimal() else b""
                status, headers, data = api.answer(self.command, self.path, dict(self.headers.items()), body)
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(data)

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing: the function has its own log."""

    return Front
