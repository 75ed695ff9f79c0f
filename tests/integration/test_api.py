"""The API handler, called with the events of API Gateway: pages, links, uploads, explanations on request, problems."""

import base64
import io
import json
import subprocess
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import boto3
import cv2
import numpy as np
import pytest
from tests.integration.cloud import Cloud, Context, sample_event, throttled
from tests.integration.test_job_events import failed_job, settle

from heatdrop.api.describe import DOCUMENTS, text_of
from heatdrop.ids import image_id
from heatdrop.local.http_api import HttpApi, event_of
from heatdrop.loopback import open_port, served
from heatdrop.model.bundle import open_bundle, with_certificates
from heatdrop.model.certificate import Certificate, Check, MapKind
from heatdrop.project import TEMPLATE
from heatdrop.vocabulary import Drop, ExplanationSettings

ROOT = TEMPLATE.parent
Answer = tuple[int, dict[str, Any]]


def ask(cloud: Cloud, method: str, path: str, body: Any = None, **query: Any) -> Answer:
    """Send a request as API Gateway would, and check what every answer has to be."""
    given = {name: value for name, value in query.items() if value is not None}
    target = path + (f"?{urlencode(given)}" if given else "")
    data = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
    event = event_of(method, target, {"Content-Type": "application/json"} if data else {}, data)
    answer = cloud.handlers["api"](event, Context())
    (media_type,) = (v for n, v in _headers(answer).items() if n.lower() == "content-type")
    status, content = answer["statusCode"], json.loads(answer["body"])
    assert media_type == ("application/json" if status < 400 else "application/problem+json")
    if status >= 400:
        assert content["status"] == status
        assert content["type"].startswith("urn:heatdrop:problem:")
        assert len(content["detail"].split()) >= 4
    return status, content


def _headers(answer: dict[str, Any]) -> dict[str, str]:
    many = {name: values[0] for name, values in answer.get("multiValueHeaders", {}).items()}
    return {**many, **answer.get("headers", {})}


def listed(cloud: Cloud, **query: Any) -> list[dict[str, Any]]:
    status, page = ask(cloud, "GET", "/images", **query)
    assert status == 200, page
    return page["images"]


@pytest.fixture(scope="module")
def explained(cloud: Cloud, chest: bytes) -> Drop:
    """An image that went the whole way."""
    drop = cloud.put(chest, "wards/a b/chest+1.jpg")
    cloud.infer(drop)
    cloud.heatmap_job().run(cloud.manifest(drop)[0])
    return drop


def fetch(cloud: Cloud, link: dict[str, Any]) -> bytes:
    """What lies behind a link of the local cloud; the deployed bucket would answer the same to a GET."""
    bucket = cloud.deployment.outputs["ResultsBucket"]
    key = link["url"].partition("?")[0].partition(f"{bucket}")[2]
    key = key.partition("/")[2]
    assert "X-Amz-Expires=300" in link["url"]
    assert "X-Amz-Algorithm=AWS4-HMAC-SHA256" in link["url"]
    return boto3.client("s3").get_object(Bucket=bucket, Key=key)["Body"].read()


def test_sample_event_is_answered_with_explained_images(cloud: Cloud, explained: Drop) -> None:
    answer = cloud.handlers["api"](sample_event("api"), Context())
    assert answer["statusCode"] == 200
    assert {image["state"] for image in json.loads(answer["body"])["images"]} == {"EXPLAINED"}


def test_image_is_told_with_all_that_is_known(cloud: Cloud, explained: Drop) -> None:
    status, image = ask(cloud, "GET", f"/images/{image_id(explained)}")
    record = cloud.record(explained)
    assert status == 200
    assert (image["state"], image["key"]) == ("EXPLAINED", "wards/a b/chest+1.jpg")
    assert image["predictions"] == [p.model_dump() for p in record.predictions]
    assert image["heatmaps"] == [h.model_dump() for h in record.heatmaps]
    assert image["model"] == record.model.model_dump()
    assert image["timings_ms"] == record.timings_ms
    assert image["explanations"] == {}
    assert "not a medical device" in image["note"]


def test_list_finds_the_image_by_each_filter(cloud: Cloud, explained: Drop) -> None:
    record = cloud.record(explained)
    best = record.predictions[0]
    filters = {
        "state": "EXPLAINED",
        "label": best.label,
        "min_score": best.score - 1e-6,
        "model": record.model.version,
        "prefix": "wards/a b/chest+",
        "since": record.created_at.isoformat(),
    }
    for query in [{name: value} for name, value in filters.items()] + [filters]:
        (found,) = (i for i in listed(cloud, **query, limit=100) if i["image_id"] == image_id(explained))
        assert (found["label"], found["score"]) == (best.label, best.score)
    others = {"state": "REJECTED", "label": "NOBODY", "min_score": best.score + 1e-6, "prefix": "wards/b"}
    for name, value in others.items():
        assert image_id(explained) not in {i["image_id"] for i in listed(cloud, limit=100, **{name: value})}, name


def test_pages_follow_each_other_and_their_tokens_fit_no_other_question(cloud: Cloud, chest: bytes) -> None:
    drops = [cloud.put(chest, f"paged/{number}.jpg") for number in range(5)]
    cloud.infer(*drops)
    found, token = [], None
    while True:
        _, page = ask(cloud, "GET", "/images", prefix="paged/", limit=2, page_token=token)
        found += [image["key"] for image in page["images"]]
        if page["next_page"] is None:
            break
        token = page["next_page"]
    assert sorted(found) == [drop.key for drop in drops]
    assert token is not None
    for query in ({"prefix": "wards/"}, {"prefix": "paged/", "state": "FAILED"}, {}):
        assert ask(cloud, "GET", "/images", page_token=token, **query)[0] == 400
    changed = ("A" if token[30] != "A" else "B").join((token[:30], token[31:]))
    for forged in (changed, token[:-4], "x", "", "é", "=" * 9):
        status, problem = ask(cloud, "GET", "/images", page_token=forged, prefix="paged/")
        assert status == 400, forged
        assert "first page" in problem["detail"]


@pytest.mark.parametrize(
    ("artefact", "begins"), [(None, b"\x89PNG"), ("overlay", b"\x89PNG"), ("figure", b"\x89PNG"), ("maps", b"PK")]
)
def test_link_leads_to_the_artefact(cloud: Cloud, explained: Drop, artefact: str | None, begins: bytes) -> None:
    label = cloud.record(explained).heatmaps[0].label
    for spelling in (quote(label, safe=""), quote(quote(label, safe=""), safe="")):
        status, link = ask(cloud, "GET", f"/images/{image_id(explained)}/heatmaps/{spelling}", artefact=artefact)
        assert status == 200
        assert fetch(cloud, link).startswith(begins)
        assert link["expires_at"].endswith("Z")


def test_picture_is_the_image_as_it_is_shown(cloud: Cloud, explained: Drop) -> None:
    status, link = ask(cloud, "GET", f"/images/{image_id(explained)}/picture")
    assert status == 200
    assert cv2.imdecode(np.frombuffer(fetch(cloud, link), np.uint8), cv2.IMREAD_COLOR).shape[2] == 3


def test_what_is_not_there_is_404_and_what_is_not_there_yet_is_409(cloud: Cloud, explained: Drop, chest: bytes) -> None:
    waiting, bad = cloud.put(chest), cloud.put(b"no image")
    cloud.infer(waiting, bad)
    label = cloud.record(waiting).predictions[0].label
    nobody = "0" * 32
    assert ask(cloud, "GET", f"/images/{nobody}")[0] == 404
    assert ask(cloud, "GET", f"/images/{nobody}/picture")[0] == 404
    assert ask(cloud, "GET", f"/images/{image_id(explained)}/heatmaps/NOBODY")[0] == 404
    assert ask(cloud, "GET", f"/images/{image_id(explained)}/heatmaps/{label}", explanation=nobody)[0] == 404
    assert ask(cloud, "GET", "/nothing")[0] == 404
    status, problem = ask(cloud, "GET", f"/images/{image_id(waiting)}/heatmaps/{label}")
    assert (status, problem["type"]) == (409, "urn:heatdrop:problem:not-now")
    assert "again later" in problem["detail"]
    status, problem = ask(cloud, "GET", f"/images/{image_id(bad)}/picture")
    assert status == 409
    assert cloud.record(bad).reason in problem["detail"]
    assert ask(cloud, "POST", f"/images/{image_id(bad)}/explanations", {})[0] == 409
    assert ask(cloud, "POST", "/images", {})[0] == 405


@pytest.mark.parametrize(
    ("query", "where"),
    [
        ({"limit": 0}, "query.limit"),
        ({"limit": 101}, "query.limit"),
        ({"state": "DONE"}, "query.state"),
        ({"min_score": 1.1}, "query.min_score"),
        ({"min_score": "nan"}, "query.min_score"),
        ({"since": "yesterday"}, "query.since"),
        ({"until": "0.5"}, "query.until"),
        ({"until": "-5"}, "query.until"),
        ({"since": "2026-11-24T00:00:00"}, "query.since"),
    ],
)
def test_value_out_of_its_range_is_422_and_says_where(cloud: Cloud, query: dict[str, Any], where: str) -> None:
    status, problem = ask(cloud, "GET", "/images", **query)
    assert status == 422
    assert problem["errors"][0]["where"].startswith(where)


@pytest.mark.parametrize("body", [b"{", b"[" * 100_000, b"\xff\xfe", b"nonsense"])
def test_body_that_is_no_json_is_400(cloud: Cloud, body: bytes) -> None:
    assert ask(cloud, "POST", "/uploads", body)[0] == 400


def test_upload_link_takes_that_image_and_no_other(cloud: Cloud, chest: bytes) -> None:
    wanted = {"name": "größe 1.jpg", "size": len(chest), "media_type": "image/jpeg"}
    status, link = ask(cloud, "POST", "/uploads", wanted)
    assert status == 201
    assert link["key"].startswith("uploads/")
    assert link["key"].endswith("/größe 1.jpg")
    assert link["fields"]["key"] == link["key"]
    policy = json.loads(base64.b64decode(link["fields"]["policy"]))
    assert ["content-length-range", len(chest), len(chest)] in policy["conditions"]
    assert {"Content-Type": "image/jpeg"} in policy["conditions"]
    assert {"key": link["key"]} in policy["conditions"]
    assert ask(cloud, "POST", "/uploads", wanted)[1]["key"] != link["key"]


@pytest.mark.parametrize(
    ("changed", "status"),
    [
        ({"size": 20_000_001}, 413),
        ({"size": 0}, 422),
        ({"media_type": "text/html"}, 422),
        ({"name": "../x.jpg"}, 422),
        ({"name": ".."}, 422),
        ({"name": "a\nb.jpg"}, 422),
        ({"name": ""}, 422),
        ({"key": "mine"}, 422),
    ],
)
def test_upload_that_would_be_refused_gets_no_link(cloud: Cloud, changed: dict[str, Any], status: int) -> None:
    wanted = {"name": "a.jpg", "size": 10, "media_type": "image/jpeg"} | changed
    assert ask(cloud, "POST", "/uploads", wanted)[0] == status


def test_explanation_on_request_lies_beside_the_first_and_never_over_it(cloud: Cloud, explained: Drop) -> None:
    path = f"/images/{image_id(explained)}/explanations"
    before = cloud.record(explained)
    first = {h.maps: cloud.storage.get_artefact(h.maps) for h in before.heatmaps}
    label = before.predictions[1].label
    wanted = {"classes": [label], "estimator": "squared", "seed": 7}
    jobs = len(cloud.jobs)
    status, asked = ask(cloud, "POST", path, wanted)
    assert (status, asked["state"], asked["labels"]) == (202, "RECEIVED", [label])
    again = ask(cloud, "POST", path, wanted)[1]
    assert again == asked
    assert len(cloud.jobs) == jobs + 1
    name = asked["explanation_id"]
    assert ask(cloud, "POST", path, wanted | {"seed": 8})[1]["explanation_id"] != name

    cloud.news(explained)
    report = cloud.heatmap_job().run(f"manifests/{name}.json")
    assert (report.explained, report.failed) == (1, 0)
    done = ask(cloud, "GET", f"/images/{image_id(explained)}")[1]
    assert done["explanations"][name]["state"] == "EXPLAINED"
    assert done["heatmaps"] == [h.model_dump() for h in before.heatmaps]
    assert (done["state"], done["timings_ms"]) == ("EXPLAINED", before.timings_ms)
    assert cloud.news(explained) == []
    assert {key: cloud.storage.get_artefact(key) for key in first} == first
    link = ask(cloud, "GET", f"/images/{image_id(explained)}/heatmaps/{label}", artefact="maps", explanation=name)[1]
    with np.load(io.BytesIO(fetch(cloud, link))) as arrays:
        provenance = json.loads(str(arrays["provenance"]))
    assert (provenance["estimator"], provenance["seed"], provenance["label"]) == ("squared", 7, label)
    assert cloud.heatmap_job().run(f"manifests/{name}.json").skipped == 1


def test_explanation_whose_job_fails_says_so_and_can_be_asked_for_again(cloud: Cloud, explained: Drop) -> None:
    path, wanted = f"/images/{image_id(explained)}/explanations", {"samples": 3}
    asked = ask(cloud, "POST", path, wanted)[1]
    name = asked["explanation_id"]
    settle(cloud, failed_job(cloud, f"manifests/{name}.json", asked["job_id"]))
    image = ask(cloud, "GET", f"/images/{image_id(explained)}")[1]
    assert (image["state"], image["explanations"][name]["state"]) == ("EXPLAINED", "FAILED")
    assert "exit code 137" in image["explanations"][name]["reason"]
    again = ask(cloud, "POST", path, wanted)[1]
    assert (again["explanation_id"], again["state"]) == (name, "RECEIVED")
    assert again["job_id"] != asked["job_id"]


def test_request_whose_job_could_not_be_submitted_is_submitted_by_asking_again(cloud: Cloud, explained: Drop) -> None:
    path, wanted = f"/images/{image_id(explained)}/explanations", {"samples": 4}
    with throttled("SubmitJob"):
        status, problem = ask(cloud, "POST", path, wanted)
    assert (status, problem["type"]) == (500, "urn:heatdrop:problem:our-fault")
    assert "slow down" not in problem["detail"]
    jobs = len(cloud.jobs)
    assert ask(cloud, "POST", path, wanted)[1]["job_id"]
    assert len(cloud.jobs) == jobs + 1


def test_class_that_the_model_does_not_know_is_named(cloud: Cloud, explained: Drop) -> None:
    status, problem = ask(cloud, "POST", f"/images/{image_id(explained)}/explanations", {"classes": ["CAT"]})
    assert status == 400
    assert "'CAT'" in problem["detail"]
    assert "NORMAL" in problem["detail"]


def test_image_keeps_no_more_explanations_than_its_record_holds(
    cloud: Cloud, explained: Drop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("heatdrop.aws.explanation_table.MAX_EXPLANATIONS", len(cloud.record(explained).explanations))
    status, problem = ask(cloud, "POST", f"/images/{image_id(explained)}/explanations", {"seed": 1234})
    assert (status, problem["type"]) == (409, "urn:heatdrop:problem:too-many-explanations")


def test_models_and_their_labels_are_known_from_the_first_image_on(cloud: Cloud, explained: Drop) -> None:
    model = cloud.record(explained).model
    (known,) = ask(cloud, "GET", "/models")[1]["models"]
    assert (known["name"], known["version"]) == (model.name, model.version)
    labels = ask(cloud, "GET", "/labels")[1]["labels"]
    assert [entry["label"] for entry in labels] == known["labels"]
    assert all(entry["models"] == [model.version] for entry in labels)


def test_models_come_with_the_certificate_of_the_bundle_that_classified(
    cloud: Cloud, explained: Drop, chest: bytes, bundle_copy: Path
) -> None:
    assert ask(cloud, "GET", "/models")[1]["models"][0]["certificates"] == []
    check = Check(name="skill", grade="failed", statement="It guesses.", figures={"auc": (0.5, 0.4, 0.6), "n": 7.0})
    kind = MapKind.of(ExplanationSettings())
    certificate = Certificate.of(kind, [check], measured_on="2026-11-24", images=20, alarms=("Look there.",))
    with_certificates(open_bundle(bundle_copy), [certificate])
    infer = cloud.handler("inference", BUNDLE_URI=str(bundle_copy))
    assert infer(cloud.drop_event(cloud.put(chest)), Context())["batchItemFailures"] == []
    (known,) = ask(cloud, "GET", "/models")[1]["models"]
    assert known["certificates"] == [certificate.model_dump(mode="json")]


def test_health_is_answered(cloud: Cloud) -> None:
    assert ask(cloud, "GET", "/health")[1]["status"] == "ok"


@pytest.mark.parametrize("name", sorted(DOCUMENTS))
def test_committed_document_is_what_the_code_says(name: str) -> None:
    kept = (ROOT / "docs" / name).read_text(encoding="utf-8")
    assert kept == text_of(DOCUMENTS[name]()), "run `make documents` and commit what it changes"


class InThisProcess:
    """A function that is called here, without a process of its own."""

    def __init__(self, cloud: Cloud, name: str) -> None:
        self.invoke = lambda event: cloud.handlers[name](event, Context())


def test_fuzzed_requests_are_answered_as_documented(cloud: Cloud, explained: Drop, tmp_path: Path) -> None:
    """No 5xx, and no status, media type or body that docs/openapi.json does not describe."""
    api = HttpApi(cloud.deployment, defaultdict(lambda: InThisProcess(cloud, "api")))
    known = tmp_path / "schemathesis.toml"
    known.write_text(
        (ROOT / "tests/data/schemathesis.toml").read_text() + f'[parameters]\nimage_id = "{image_id(explained)}"\n'
    )
    options = ("--max-examples", "5", "--seed", "20261124", "--no-color", "--generation-database", "none")
    checks = ("--checks", "all", "--exclude-checks", "unsupported_method,ignored_auth,missing_required_header")
    with open_port(0) as listener, served(api, listener) as url:
        done = subprocess.run(
            [
                *(sys.executable, "-m", "schemathesis.cli", "--config-file", str(known)),
                *("run", str(ROOT / "docs/openapi.json"), "--url", url, *options, *checks),
            ],
            capture_output=True,
            text=True,
            cwd=tmp_path,
        )
    print(done.stdout)
    assert done.returncode == 0, done.stdout[-6000:]
