"""Presigned links name a host that serves the bucket at once: a redirect breaks the signature, and CORS with it."""

from urllib.parse import parse_qs, urlsplit

import pytest

from heatdrop.aws.links import Links

REGIONS = ("us-east-1", "eu-west-1", "af-south-1")
"""The one whose host has no region by default, an ordinary one, and one that an account must opt in to."""


@pytest.fixture(autouse=True)
def credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_PROFILE", "AWS_REGION", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")


def urls(monkeypatch: pytest.MonkeyPatch, region: str) -> list[str]:
    """A link to a result, and the address of an upload form."""
    monkeypatch.setenv("AWS_DEFAULT_REGION", region)
    links = Links("my-input", "my-results", 60)
    return [links.to_result("images/1/a.png").url, links.for_upload("a.dcm", 5, "application/dicom").url]


@pytest.mark.parametrize("region", REGIONS)
def test_link_names_the_bucket_in_its_own_region(monkeypatch: pytest.MonkeyPatch, region: str) -> None:
    read, upload = urls(monkeypatch, region)
    assert urlsplit(read).netloc == f"my-results.s3.{region}.amazonaws.com"
    assert urlsplit(upload).netloc == f"my-input.s3.{region}.amazonaws.com"
    assert {urlsplit(url).scheme for url in (read, upload)} == {"https"}


@pytest.mark.parametrize("region", REGIONS)
def test_link_can_read_and_write_what_kms_encrypts(monkeypatch: pytest.MonkeyPatch, region: str) -> None:
    """S3 refuses older signatures than version 4 for such objects."""
    read, _ = urls(monkeypatch, region)
    query = parse_qs(urlsplit(read).query)
    assert query["X-Amz-Algorithm"] == ["AWS4-HMAC-SHA256"]
    assert query["X-Amz-Credential"][0].endswith(f"/{region}/s3/aws4_request")
    fields = Links("my-input", "my-results", 60).for_upload("a.dcm", 5, "application/dicom").fields
    assert fields["x-amz-algorithm"] == "AWS4-HMAC-SHA256"


@pytest.mark.parametrize("variable", ["AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"])
@pytest.mark.parametrize("endpoint", ["http://127.0.0.1:5000", "http://localhost:5000", "http://moto:5000"])
def test_link_of_an_own_endpoint_names_no_other_host(
    monkeypatch: pytest.MonkeyPatch, variable: str, endpoint: str
) -> None:
    monkeypatch.setenv(variable, endpoint)
    read, upload = urls(monkeypatch, "eu-west-1")
    assert read.startswith(f"{endpoint}/my-results/images/1/a.png?")
    assert upload == f"{endpoint}/my-input"
