"""API Gateway on one machine: a WSGI application that passes each request to the deployed function as an event.

Routes are those of the deployed API. Two things differ from AWS: requests need no signature, and none are throttled.
Only programs on this machine can reach it, and without CORS headers browsers keep its answers from other sites.
"""

import base64
import json
import logging
import time
import uuid
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from http import HTTPStatus
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, unquote, urlsplit

import boto3
from werkzeug import Request, Response
from werkzeug.exceptions import SecurityError

from heatdrop.errors import FunctionFailed
from heatdrop.local.deployment import Deployment
from heatdrop.local.lambda_runtime import FunctionProcess
from heatdrop.loopback import ACCEPTED_HOSTS

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

logger = logging.getLogger(__name__)

LARGEST_BODY = 10_000_000
"""Bytes of a request body that API Gateway accepts at most."""


class HttpApi:
    """Answers the requests to the API of a deployment."""

    def __init__(self, deployment: Deployment, functions: Mapping[str, FunctionProcess]) -> None:
        self._api_id = deployment.physical_ids["Api"]
        gateway = boto3.client("apigatewayv2")
        self._methods = {route["RouteKey"].split()[0] for route in gateway.get_routes(ApiId=self._api_id)["Items"]}
        self._function = functions[deployment.physical_ids["ApiFunction"]]

    def __call__(self, environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        """Answer one request."""
        request = Request(environ)
        request.trusted_hosts = list(ACCEPTED_HOSTS)
        try:
            _ = request.host  # reading it checks it against trusted_hosts
            response = self._answer(request)
        except SecurityError:
            response = _gateway_answer(HTTPStatus.FORBIDDEN, "Forbidden")
        return response(environ, start_response)

    def _answer(self, request: Request) -> Response:
        if request.method not in self._methods:
            return _gateway_answer(HTTPStatus.NOT_FOUND, "Not Found")
        if (request.content_length or 0) > LARGEST_BODY:
            return _gateway_answer(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "Request Too Long")
        target, headers = request.environ["RAW_URI"], dict(request.headers.items())
        try:
            answer = self._function.invoke(event_of(request.method, target, headers, request.get_data(), self._api_id))
        except FunctionFailed as error:
            logger.warning("%s", error)
            return _gateway_answer(HTTPStatus.INTERNAL_SERVER_ERROR, "Internal Server Error")
        content = answer.get("body") or ""
        data = base64.b64decode(content) if answer.get("isBase64Encoded") else content.encode()
        return Response(data, int(answer["statusCode"]), answer.get("headers"))


def event_of(
    method: str, target: str, headers: Mapping[str, str], body: bytes, api_id: str = "local"
) -> dict[str, Any]:
    """The event (payload format 2.0) that API Gateway makes of a request: it decodes the path, but not the query."""
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


def _gateway_answer(status: HTTPStatus, message: str) -> Response:
    """An answer of API Gateway itself, without the function."""
    return Response(json.dumps({"message": message}), status, content_type="application/json")
