"""What goes over the wire is what was signed: the signature is computed again from the bytes that a server received."""

import hashlib
import hmac
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qsl, quote, unquote, urljoin

import boto3
import pytest
from werkzeug.test import Client

from heatdrop.api import addresses
from heatdrop.api.client import ApiClient
from heatdrop.aws.signing import AwsSigner
from heatdrop.viewer.server import GUARD, Viewer

KEY_ID, SECRET = "AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
HARD = ["a b", "a/b", "a+b", "a=b&c", "50%", "x?y#z", "肺炎", "..", "~-_.!*'()", "é é", "a%20b", '"<>\\^`{|}']


@dataclass(frozen=True)
class Received:
    """A request as it came over the wire."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes = b""


def authorization(request: Received, region: str, service: str) -> str:
    """The header that the request must bear, by the text of AWS's documentation and nothing of botocore's."""
    path, _, query = request.target.partition("?")
    # Every service but S3 has the path encoded once more; the query is taken apart and encoded again.
    pairs = sorted((quote(n, safe="-_.~"), quote(v, safe="-_.~")) for n, v in _decoded(query))
    given = request.headers.get("authorization", "")
    names = given.partition("SignedHeaders=")[2].partition(",")[0] or "host;x-amz-date"
    canonical = "\n".join(
        (
            request.method,
            quote(path, safe="/-_.~"),
            "&".join(f"{name}={value}" for name, value in pairs),
            *(f"{name}:{' '.join(request.headers[name].split())}" for name in names.split(";")),
            "",
            names,
            hashlib.sha256(request.body).hexdigest(),
        )
    )
    moment = request.headers["x-amz-date"]
    scope = f"{moment[:8]}/{region}/{service}/aws4_request"
    text = "\n".join(("AWS4-HMAC-SHA256", moment, scope, hashlib.sha256(canonical.encode()).hexdigest()))
    key = f"AWS4{SECRET}".encode()
    for part in (*scope.split("/"), text):
        key = hmac.digest(key, part.encode(), "sha256")
    return f"AWS4-HMAC-SHA256 Credential={KEY_ID}/{scope}, SignedHeaders={names}, Signature={key.hex()}"


def _decoded(query: str) -> list[tuple[str, str]]:
    """As AWS reads a query: a plus is a plus."""
    pairs = (pair.partition("=") for pair in query.split("&") if pair)
    return [(unquote(name), unquote(value)) for name, _, value in pairs]


@pytest.mark.parametrize(
    ("method", "target", "signature"),
    [
        ("GET", "/", "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"),
        ("POST", "/", "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b"),
        ("GET", "/ሴ", "8318018e0b0f223aa2bbf98705b62bb787dc9c0e678f255a891fd03141be5d85"),
        ("GET", "/?Param2=value2&Param1=value1", "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500"),
    ],
)
def test_our_reading_of_the_algorithm_gives_the_signatures_that_aws_has_published(
    method: str, target: str, signature: str
) -> None:
    """Cases get-vanilla, post-vanilla, get-utf8 and get-vanilla-query-order-key-case of AWS's test suite."""
    request = Received(method, target, {"host": "example.amazonaws.com", "x-amz-date": "20150830T123600Z"})
    assert authorization(request, "us-east-1", "service").endswith(f"Signature={signature}")


@dataclass
class Wire:
    """A server that keeps what it received, byte by byte, and answers every question alike."""

    url: str = ""
    received: list[Received] = field(default_factory=list)


@pytest.fixture
def wire() -> Iterator[Wire]:
    kept = Wire()

    class Keep(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
            headers = {name.lower(): value for name, value in self.headers.items()}
            kept.received.append(Received(self.command, self.path, headers, body))
            answer = json.dumps({"images": [], "next_page": None, "url": f"{kept.url}/store"}).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        do_POST = do_GET  # noqa: N815

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Keep)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    kept.url = f"http://127.0.0.1:{server.server_port}"
    yield kept
    server.shutdown()
    server.server_close()


def signer(wire: Wire, **more: str) -> AwsSigner:
    session = boto3.Session(aws_access_key_id=KEY_ID, aws_secret_access_key=SECRET, region_name="eu-west-1", **more)
    return AwsSigner(wire.url, session)


def check_signed(request: Received) -> None:
    assert request.headers["authorization"] == authorization(request, "eu-west-1", "execute-api")
    for name in ("host", "x-amz-date"):
        assert name in request.headers["authorization"].partition("SignedHeaders=")[2]


@pytest.mark.parametrize("text", HARD)
def test_commands_sign_what_they_send(wire: Wire, text: str) -> None:
    client = ApiClient(wire.url, signer(wire))
    client.get("images", "1", "heatmaps", text, artefact="maps", explanation=None)
    assert list(client.images(5, label=text, prefix=text, min_score=0.5)) == []
    labelled, listed = wire.received
    assert labelled.target == f"/images/1/heatmaps/{addresses.segment(text)}?artefact=maps"
    assert _decoded(listed.target.partition("?")[2]) == [
        ("limit", "5"),
        ("label", text),
        ("prefix", text),
        ("min_score", "0.5"),
    ]
    # A form would say the same: what reads a plus as a space finds none.
    assert dict(parse_qsl(listed.target.partition("?")[2]))["label"] == text
    for request in wire.received:
        check_signed(request)


@pytest.mark.parametrize("text", HARD)
def test_the_viewer_signs_what_it_sends_however_the_browser_wrote_it(wire: Wire, text: str) -> None:
    client = Client(Viewer(wire.url, signer(wire, aws_session_token="FwoG+/=")))  # noqa: S106
    host = {"Host": "127.0.0.1"}
    for written in (quote(text, safe=""), quote(text, safe="!*'()/?~").replace("%20", "+")):
        assert client.get(f"/api/images?label={written}&limit=5", headers=host).status_code == 200
    image = "0" * 32
    client.get(f"/files/{image}/maps", query_string={"label": text}, headers=host)
    body = b'{"classes": ["\xe8\x82\xba"]}'
    client.post(f"/api/images/{image}/explanations", data=body, headers=host | {GUARD: "1"})
    asked = [request for request in wire.received if request.target != "/store"]
    assert [_decoded(request.target.partition("?")[2]) for request in asked] == [
        [("label", text), ("limit", "5")],
        [("label", text), ("limit", "5")],
        [("artefact", "maps")],
        [],
    ]
    assert asked[2].target.startswith(f"/images/{image}/heatmaps/{addresses.segment(text)}?")
    assert asked[-1].body == body
    for request in asked:
        check_signed(request)
        assert request.headers["x-amz-security-token"] == "FwoG+/="


def test_a_local_api_is_sent_no_signature(wire: Wire) -> None:
    ApiClient(wire.url, None).get("images", limit=1)
    assert not [name for name in wire.received[0].headers if name == "authorization" or name.startswith("x-amz")]


@pytest.mark.parametrize("label", [*HARD, "NORMAL", ".", "<b>", "v1.2"])
def test_every_label_survives_the_two_decodings_on_its_way(label: str) -> None:
    sent = addresses.segment(label)
    assert label in (unquote(sent), unquote(unquote(sent)))
    # What API Gateway has decoded once is still one segment.
    assert not set(unquote(sent)) & set("/?#")
    assert urljoin("http://api/images/1/heatmaps/x", quote(unquote(sent))).count("/") == 6
