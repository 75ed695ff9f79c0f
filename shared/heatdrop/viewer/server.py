"""The viewer's server: shows the page and passes its requests to the API, with the user's own credentials.

It is made for one user on one machine, and answers only requests of its own page to this machine.
"""

import hmac
import json
import mimetypes
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from werkzeug import Request, Response
from werkzeug.exceptions import HTTPException, RequestEntityTooLarge
from werkzeug.http import http_date
from werkzeug.routing import Map, Rule

from heatdrop.api import addresses
from heatdrop.aws.signing import AwsSigner
from heatdrop.loopback import ACCEPTED_HOSTS
from heatdrop.viewer.upstream import Answer, Refused, Upstream

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

STATIC = Path(__file__).parent / "static"
GUARD = "X-Heatdrop"
"""A header required for requests that change something. Browsers do not let other sites send it without CORS."""
COOKIE = "heatdrop"
MAX_UPLOAD = 200_000_000
"""Bytes of a request at most. What the pipeline accepts is decided by the API."""

CONTENT_SECURITY_POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self'",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
        # No text can become markup, even by mistake.
        "require-trusted-types-for 'script'",
        "trusted-types 'none'",
    )
)
_HEADERS = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
}
_PLAIN = re.compile(r"[A-Za-z0-9_-]+")
_FILES = {"picture": "png", "overlay": "png", "figure": "png", "maps": "npz", "dicom": "dcm"}
_MEDIA_TYPES = {"png": "image/png", "npz": "application/octet-stream", "dcm": "application/dicom"}

_ROUTES = Map(
    [
        Rule("/", endpoint="page", methods=["GET"]),
        Rule("/static/<name>", endpoint="static", methods=["GET"]),
        Rule("/api/<path:path>", endpoint="api", methods=["GET", "POST"]),
        Rule("/files/<image_id>/<artefact>", endpoint="file", methods=["GET"]),
        Rule("/uploads", endpoint="upload", methods=["POST"]),
    ]
)


class Viewer:
    """A WSGI application. With a ``token`` it answers only browsers that have opened the link containing it."""

    def __init__(self, api_url: str, signer: AwsSigner | None = None, token: str | None = None) -> None:
        self._upstream, self._token = Upstream(api_url, signer), token
        self._static = {path.name: path for path in STATIC.iterdir() if path.is_file()}

    def __call__(self, environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        """Answer one request; errors become problem documents (RFC 9457)."""
        request = Request(environ)
        request.trusted_hosts, request.max_content_length = list(ACCEPTED_HOSTS), MAX_UPLOAD
        try:
            response = self._answer(request)
        except Refused as refused:
            response = _problem(refused.status, refused.title, refused.detail)
        except RequestEntityTooLarge:
            response = _problem(413, "Too large", f"At most {MAX_UPLOAD / 1e6:.0f} MB are passed on.")
        except HTTPException as error:
            response = _problem(error.code or 500, error.name, error.description or error.name)
        for name, value in _HEADERS.items():
            response.headers[name] = value
        response.headers.setdefault("Cache-Control", "no-store")
        return response(environ, start_response)

    def _answer(self, request: Request) -> Response:
        host = request.host  # raises where the name is none of ACCEPTED_HOSTS
        endpoint, values = _ROUTES.bind(host).match(request.path, request.method)
        if endpoint in ("page", "static"):
            return self._page(request) if endpoint == "page" else self._file_of_page(request, **values)
        _check_origin(request)
        if not self._knows(request.cookies.get(COOKIE, "")):
            raise Refused(403, "Link needed", "Open the link that `heatdrop view` printed; it holds a key.")
        answers: dict[str, Callable[..., Response]] = {"api": self._api, "file": self._file, "upload": self._upload}
        return answers[endpoint](request, **values)

    def _knows(self, token: str) -> bool:
        return self._token is None or hmac.compare_digest(token.encode(), self._token.encode())

    def _page(self, request: Request) -> Response:
        response = self._file_of_page(request, "index.html")
        token = request.args.get("token", "")
        if self._token and self._knows(token):
            response.set_cookie(COOKIE, token, httponly=True, samesite="Strict")
        return response

    def _file_of_page(self, request: Request, name: str) -> Response:
        if name not in self._static:
            raise Refused(404, "Not found", f"The viewer has no {name}.")
        path = self._static[name]
        response = Response(path.read_bytes(), content_type=_page_type(name))
        response.headers["Cache-Control"] = "no-cache"
        response.headers["Last-Modified"] = http_date(path.stat().st_mtime)
        response.add_etag()
        return response.make_conditional(request)

    def _api(self, request: Request, path: str) -> Response:
        if not all(_PLAIN.fullmatch(part) for part in path.split("/")):
            raise Refused(404, "Not found", "The API has no such path.")
        query = request.query_string.decode("ascii", "replace")
        return _passed_on(self._upstream.call(request.method, f"/{path}", query, request.get_data()))

    def _file(self, request: Request, image_id: str, artefact: str) -> Response:
        if not _PLAIN.fullmatch(image_id):
            raise Refused(404, "Not found", "There is no such image.")
        if artefact not in _FILES:
            raise Refused(404, "Not found", f"There is no {artefact}; choose one of {', '.join(_FILES)}.")
        if artefact == "picture":
            found = self._upstream.fetch(f"/images/{image_id}/picture")
        else:
            chosen = {name: value for name, value in request.args.items() if name == "explanation"}
            query = addresses.query(({"artefact": artefact} | chosen).items())
            label = addresses.segment(request.args.get("label", ""))
            found = self._upstream.fetch(f"/images/{image_id}/heatmaps/{label}", query)
        kind = _FILES[artefact]
        response = Response(found.stream(1 << 16), content_type=_MEDIA_TYPES[kind], direct_passthrough=True)
        response.call_on_close(found.release_conn)
        if "Content-Length" in found.headers:
            response.headers["Content-Length"] = found.headers["Content-Length"]
        if "download" in request.args or kind != "png":
            name = f"{image_id[:12]}-{artefact}.{kind}"
            response.headers.set("Content-Disposition", "attachment", filename=name)
        return response

    def _upload(self, request: Request) -> Response:
        name, content = request.args.get("name", ""), request.get_data()
        if not name or not content:
            raise Refused(400, "Nothing to upload", "The file has no name or no content; choose another.")
        media_type = request.mimetype or "application/octet-stream"
        return _passed_on(self._upstream.upload(name, media_type, content))


def _check_origin(request: Request) -> None:
    """Check that a request comes from our own page.

    Raises:
        Refused: it comes from another site, or changes something without the header that only our page sends.
    """
    site, origin = request.headers.get("Sec-Fetch-Site"), request.headers.get("Origin")
    foreign = site not in (None, "same-origin", "none") or origin not in (None, f"{request.scheme}://{request.host}")
    if foreign or (request.method not in ("GET", "HEAD") and request.headers.get(GUARD) != "1"):
        raise Refused(403, "Not from this page", "The viewer answers to its own page alone. Open it and try there.")


def _passed_on(answer: Answer) -> Response:
    return Response(answer.body, status=answer.status, content_type=answer.media_type)


def _problem(status: int, title: str, detail: str) -> Response:
    document = {"type": "about:blank", "title": title, "status": status, "detail": detail}
    return Response(json.dumps(document), status=status, content_type="application/problem+json")


def _page_type(name: str) -> str:
    # Not by mimetypes, whose answer for .js depends on the machine.
    kind = "text/javascript" if name.endswith(".js") else mimetypes.guess_type(name)[0] or "application/octet-stream"
    return f"{kind}; charset=utf-8"
