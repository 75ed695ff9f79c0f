"""The viewer's server answers to its own page alone, passes on what the API says, and gives no credentials away."""

import json
import threading
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import boto3
import pytest
from werkzeug import Request, Response
from werkzeug.serving import make_server
from werkzeug.test import Client, TestResponse

from heatdrop.aws.signing import AwsSigner
from heatdrop.errors import InvalidRequest, NotSignedIn
from heatdrop.loopback import open_port, served
from heatdrop.viewer import colortables, server
from heatdrop.viewer.server import COOKIE, GUARD, Viewer

IMAGE = "0" * 32
HERE = {"Host": "127.0.0.1:8765"}
WRITING = HERE | {GUARD: "1", "Origin": "http://127.0.0.1:8765", "Sec-Fetch-Site": "same-origin"}


@dataclass
class Upstream:
    """An API and a store that remember what they were asked."""

    url: str = ""
    answer: Response | None = None
    stored: Response = field(default_factory=lambda: Response(b"content"))
    asked: list[Request] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)

    def __call__(self, environ: Any, start_response: Any) -> Any:
        request = Request(environ)
        self.asked.append(request)
        self.bodies.append(request.get_data())
        return self._answer(request)(environ, start_response)

    def _answer(self, request: Request) -> Response:
        if request.path.startswith("/store"):
            return self.stored
        if self.answer:
            return self.answer
        if request.path == "/uploads":
            place = {"url": f"{self.url}/store", "fields": {"key": "uploads/a.dcm", "policy": "p"}}
            return reply(place | {"key": "uploads/a.dcm", "expires_at": "soon"}, 201)
        if request.path.startswith("/images/"):
            return reply({"url": f"{self.url}/store/file?X-Amz-Signature=s", "expires_at": "soon"})
        return reply({"images": [], "next_page": None})


def reply(document: Any, status: int = 200, media_type: str = "application/json") -> Response:
    return Response(json.dumps(document), status, content_type=media_type)


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    app = Upstream()
    listening = make_server("127.0.0.1", 0, app, threaded=True)
    app.url = f"http://127.0.0.1:{listening.server_port}"
    threading.Thread(target=listening.serve_forever, daemon=True).start()
    yield app
    listening.shutdown()
    listening.server_close()


@pytest.fixture
def viewer(upstream: Upstream) -> Client:
    return Client(Viewer(upstream.url))


def problem(answer: TestResponse) -> dict[str, Any]:
    assert answer.content_type == "application/problem+json"
    document = json.loads(answer.data)
    assert document["status"] == answer.status_code
    assert document["detail"].endswith((".", "?"))
    return document


def policy(answer: TestResponse) -> dict[str, list[str]]:
    directives = [part.split() for part in answer.headers["Content-Security-Policy"].split(";")]
    return {name: sources for name, *sources in directives}


@pytest.mark.parametrize("path", ["/", "/static/main.js", "/api/images", f"/files/{IMAGE}/picture", "/nowhere"])
def test_every_answer_carries_a_policy_that_lets_only_the_page_itself_in(viewer: Client, path: str) -> None:
    answer = viewer.get(path, headers=HERE)
    found = policy(answer)
    assert found.pop("require-trusted-types-for") == ["'script'"]
    assert found["default-src"] == ["'none'"]
    assert {source for sources in found.values() for source in sources} == {"'none'", "'self'"}
    assert {"base-uri", "form-action", "frame-ancestors"} <= found.keys()
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Referrer-Policy"] == "no-referrer"
    assert answer.headers["Cross-Origin-Resource-Policy"] == "same-origin"


def test_data_are_never_kept_and_the_page_is_asked_for_anew(viewer: Client) -> None:
    for path in ("/api/images", f"/files/{IMAGE}/picture", f"/files/{IMAGE}/maps?label=a", "/api/nowhere!"):
        assert viewer.get(path, headers=HERE).headers["Cache-Control"] == "no-store"
    page = viewer.get("/static/style.css", headers=HERE)
    assert page.headers["Cache-Control"] == "no-cache"
    again = viewer.get("/static/style.css", headers=HERE | {"If-None-Match": page.headers["ETag"]})
    assert (again.status_code, again.data) == (304, b"")


def test_every_file_of_the_page_is_served_with_its_type_and_nothing_beside_it(viewer: Client) -> None:
    types = {".html": "text/html", ".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}
    for file in server.STATIC.iterdir():
        answer = viewer.get(f"/static/{file.name}", headers=HERE)
        assert (answer.status_code, answer.mimetype) == (200, types[file.suffix]), file
        assert answer.data == file.read_bytes()
    for path in ("/static/../server.py", "/static/%2e%2e%2fserver.py", "/static/..%5cserver.py", "/server.py"):
        assert viewer.get(path, headers=HERE).status_code == 404


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8765", "127.0.0.1.evil.example", "localhost.evil", ""])
@pytest.mark.parametrize("path", ["/", "/api/images"])
def test_a_name_that_was_bent_to_this_machine_is_refused(
    viewer: Client, upstream: Upstream, host: str, path: str
) -> None:
    problem(viewer.get(path, headers={"Host": host}))
    assert viewer.get(path, headers={"Host": host}).status_code == 400
    assert upstream.asked == []


@pytest.mark.parametrize("host", ["127.0.0.1:8765", "localhost:1", "localhost"])
def test_names_of_this_machine_are_answered(viewer: Client, host: str) -> None:
    assert viewer.get("/api/images", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize(
    "foreign",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "http://127.0.0.1:9999"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
)
def test_another_sites_page_can_neither_read_nor_write(
    viewer: Client, upstream: Upstream, foreign: dict[str, str]
) -> None:
    for path in ("/api/images", f"/files/{IMAGE}/picture"):
        assert problem(viewer.get(path, headers=HERE | foreign))["status"] == 403
    for path in ("/uploads?name=a.dcm", f"/api/images/{IMAGE}/explanations"):
        assert viewer.post(path, data=b"{}", headers=WRITING | foreign).status_code == 403
    assert upstream.asked == []


@pytest.mark.parametrize("path", ["/uploads?name=a.dcm", f"/api/images/{IMAGE}/explanations"])
def test_writing_needs_the_header_that_no_form_can_send(viewer: Client, upstream: Upstream, path: str) -> None:
    assert viewer.post(path, data=b"{}", headers=HERE).status_code == 403
    assert upstream.asked == []
    assert viewer.post(path, data=b"{}", headers=WRITING).status_code < 300


def test_with_a_token_only_those_who_opened_the_link_are_answered(upstream: Upstream) -> None:
    client = Client(Viewer(upstream.url, token="right"))  # noqa: S106
    assert "heatdrop view" in problem(client.get("/api/images", headers=HERE))["detail"]
    assert "Set-Cookie" not in client.get("/?token=wrong", headers=HERE).headers
    assert client.get("/api/images", headers=HERE).status_code == 403
    assert client.post("/uploads?name=a", data=b"x", headers=WRITING).status_code == 403
    assert upstream.asked == []
    cookie = client.get("/?token=right", headers=HERE).headers["Set-Cookie"]
    assert cookie.startswith(f"{COOKIE}=right;")
    assert {"HttpOnly", "SameSite=Strict"} <= set(cookie.split("; "))
    assert client.get("/api/images", headers=HERE | {"Cookie": f"{COOKIE}=right"}).status_code == 200


def test_a_question_reaches_the_api_as_it_was_asked(viewer: Client, upstream: Upstream) -> None:
    upstream.answer = reply({"images": [1], "next_page": "p"})
    query = "label=A+b%2Fc%26&min_score=0.5&prefix="
    answer = viewer.get(f"/api/images?{query}", headers=HERE | {"Cookie": "private=1", "Authorization": "mine"})
    assert (answer.status_code, answer.get_json()) == (200, {"images": [1], "next_page": "p"})
    (asked,) = upstream.asked
    assert (asked.method, asked.path) == ("GET", "/images")
    assert asked.args.to_dict() == {"label": "A b/c&", "min_score": "0.5", "prefix": ""}
    assert b"A%20b%2Fc%26" in asked.query_string
    assert not {"Cookie", "Authorization", "Origin"} & set(asked.headers.keys())


def test_a_wish_reaches_the_api_with_its_body(viewer: Client, upstream: Upstream) -> None:
    upstream.answer = reply({"explanation_id": "1"}, 202)
    answer = viewer.post(f"/api/images/{IMAGE}/explanations", json={"samples": 50}, headers=WRITING)
    assert answer.status_code == 202
    assert json.loads(upstream.bodies[0]) == {"samples": 50}
    assert upstream.asked[0].mimetype == "application/json"


@pytest.mark.parametrize("path", ["images/../admin", "images/%2e%2e/x", "images//x", "a:b@c", "é"])
def test_no_path_leads_out_of_the_api(viewer: Client, upstream: Upstream, path: str) -> None:
    assert viewer.get(f"/api/{path}", headers=HERE).status_code in (308, 404)
    assert upstream.asked == []


def test_what_the_api_objects_to_is_passed_on(viewer: Client, upstream: Upstream) -> None:
    said = {"type": "about:blank", "title": "Unknown image", "status": 404, "detail": "There is no such image."}
    upstream.answer = reply(said, 404, "application/problem+json")
    for path in (f"/api/images/{IMAGE}", f"/files/{IMAGE}/overlay?label=a"):
        found = problem(viewer.get(path, headers=HERE))
        assert (found["title"], found["detail"]) == (said["title"], said["detail"])
    refused = viewer.post("/uploads?name=a.dcm", data=b"x", headers=WRITING)
    assert problem(refused)["detail"] == said["detail"]


def test_what_is_no_api_is_said_to_be_none(viewer: Client, upstream: Upstream) -> None:
    upstream.answer = Response("<script>alert(1)</script>", content_type="text/html")
    found = viewer.get("/api/images", headers=HERE)
    assert problem(found)["status"] == 502
    assert b"script" not in found.data
    upstream.answer = reply(["no", "link"])
    assert problem(viewer.get(f"/files/{IMAGE}/picture", headers=HERE))["status"] == 502


def test_a_redirect_of_the_api_is_not_followed(viewer: Client, upstream: Upstream) -> None:
    upstream.answer = Response(status=307, headers={"Location": f"{upstream.url}/store/elsewhere"})
    assert viewer.get("/api/images", headers=HERE).status_code == 502
    assert len(upstream.asked) == 1


def test_an_api_that_is_not_there_is_said_in_a_sentence() -> None:
    found = problem(Client(Viewer("http://127.0.0.1:9")).get("/api/images", headers=HERE))
    assert found["status"] == 502
    assert "Is it running" in found["detail"]


@pytest.mark.parametrize(
    ("artefact", "media_type"),
    [("picture", "image/png"), ("overlay", "image/png"), ("figure", "image/png"), ("maps", "application/octet-stream")],
)
def test_a_file_is_fetched_for_the_page_which_never_sees_its_link(
    viewer: Client, upstream: Upstream, artefact: str, media_type: str
) -> None:
    upstream.stored = Response(b"bytes" * 100_000, content_type="text/html")
    answer = viewer.get(f"/files/{IMAGE}/{artefact}?label=A%2Fb&explanation={'1' * 32}", headers=HERE)
    assert (answer.status_code, answer.mimetype) == (200, media_type)
    assert answer.data == b"bytes" * 100_000
    assert not any("Signature" in value for value in answer.headers.values())
    link, stored = upstream.asked
    assert stored.args["X-Amz-Signature"] == "s"
    if artefact == "picture":
        assert link.path == f"/images/{IMAGE}/picture"
    else:
        # API Gateway decodes once more than this server does.
        assert link.path == f"/images/{IMAGE}/heatmaps/A%2Fb"
        assert link.args.to_dict() == {"artefact": artefact, "explanation": "1" * 32}


def test_a_download_has_a_name_of_ours(viewer: Client) -> None:
    answer = viewer.get(f"/files/{IMAGE}/overlay?label=%22%0A../x&download=1", headers=HERE)
    assert answer.headers["Content-Disposition"] == "attachment; filename=000000000000-overlay.png"


@pytest.mark.parametrize("path", [f"/files/{IMAGE}/secrets", "/files/..%2f..%2fadmin/picture", "/files/a.b/picture"])
def test_only_artefacts_of_images_are_files(viewer: Client, upstream: Upstream, path: str) -> None:
    assert viewer.get(path, headers=HERE).status_code == 404
    assert upstream.asked == []


def test_a_file_that_was_deleted_is_said_to_be(viewer: Client, upstream: Upstream) -> None:
    upstream.stored = Response("<Error><Code>NoSuchKey</Code></Error>", 404)
    found = viewer.get(f"/files/{IMAGE}/picture", headers=HERE)
    assert "deleted" in problem(found)["detail"]
    assert found.status_code == 404


def test_an_upload_goes_to_the_place_that_the_api_gives(viewer: Client, upstream: Upstream) -> None:
    headers = WRITING | {"Content-Type": "application/dicom"}
    answer = viewer.post("/uploads?name=%C3%A9%20%22.dcm", data=b"\x00pixels\xff", headers=headers)
    assert (answer.status_code, answer.get_json()["key"]) == (201, "uploads/a.dcm")
    wanted, stored = upstream.asked
    assert json.loads(upstream.bodies[0]) == {"name": 'é ".dcm', "size": 8, "media_type": "application/dicom"}
    form = upstream.bodies[1]
    assert stored.mimetype == "multipart/form-data"
    # S3 ignores every field behind the file.
    assert form.index(b'name="policy"') < form.index(b'name="file"')
    assert b"\x00pixels\xff" in form
    assert wanted.mimetype == "application/json"


def test_an_upload_that_the_store_refuses_says_so(viewer: Client, upstream: Upstream) -> None:
    upstream.stored = Response("<Error><Code>EntityTooLarge</Code></Error>", 400)
    assert "400" in problem(viewer.post("/uploads?name=a.dcm", data=b"x", headers=WRITING))["detail"]


def test_an_upload_without_name_content_or_measure_is_refused(
    viewer: Client, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert viewer.post("/uploads", data=b"x", headers=WRITING).status_code == 400
    assert viewer.post("/uploads?name=a", data=b"", headers=WRITING).status_code == 400
    monkeypatch.setattr(server, "MAX_UPLOAD", 10)
    assert problem(viewer.post("/uploads?name=a", data=b"x" * 11, headers=WRITING))["status"] == 413
    assert upstream.asked == []


def test_methods_and_places_that_are_not_there_are_refused(viewer: Client) -> None:
    assert problem(viewer.delete("/api/images", headers=WRITING))["status"] == 405
    assert problem(viewer.get("/nowhere", headers=HERE))["status"] == 404


def session(**options: str) -> boto3.Session:
    return boto3.Session(aws_access_key_id="AKIDEXAMPLE", aws_secret_access_key="secret", **options)  # noqa: S106


def test_requests_are_signed_for_the_api_and_nobody_else(upstream: Upstream) -> None:
    signer = AwsSigner(upstream.url, session(region_name="eu-west-1"))
    client = Client(Viewer(upstream.url, signer))
    assert client.get("/api/images?label=a%20b", headers=HERE).status_code == 200
    assert client.get(f"/files/{IMAGE}/picture", headers=HERE).status_code == 200
    assert client.post("/uploads?name=a.dcm", data=b"x", headers=WRITING).status_code == 201
    for request in upstream.asked:
        signature = request.headers.get("Authorization", "")
        if request.path.startswith("/store"):
            assert signature == ""  # such a link is its own signature
        else:
            assert signature.startswith("AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/")
            assert "/eu-west-1/execute-api/aws4_request" in signature


def test_without_credentials_or_region_the_next_step_is_said(
    upstream: Upstream, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE", "AWS_DEFAULT_REGION", "AWS_REGION"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "none"))
    with pytest.raises(NotSignedIn, match="AWS_REGION"):
        AwsSigner("https://api.example")
    signer = AwsSigner("https://x1.execute-api.us-west-2.amazonaws.com")
    found = problem(Client(Viewer(upstream.url, signer)).get("/api/images", headers=HERE))
    assert found["status"] == 401
    assert "aws configure" in found["detail"]
    assert upstream.asked == []


def test_a_server_listens_on_this_machine_alone_and_says_when_its_port_is_taken(
    upstream: Upstream, capfd: pytest.CaptureFixture[str]
) -> None:
    with open_port(0) as listener, served(Viewer(upstream.url), listener) as address:
        host, port = listener.getsockname()
        assert (host, address) == ("127.0.0.1", f"http://127.0.0.1:{port}")
        with urllib.request.urlopen(address, timeout=30) as answer:
            assert b"not a medical device" in answer.read()
        with pytest.raises(InvalidRequest, match="--view-port"):
            open_port(port, "--view-port")
    assert capfd.readouterr().err == ""


def test_the_colour_tables_are_matplotlibs() -> None:
    assert colortables.MODULE.read_text(encoding="utf-8") == colortables.module()
