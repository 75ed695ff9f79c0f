"""Lists of records: newest first, every image once, and no page costs more because the table holds more."""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from unittest import mock

import boto3
import pytest
from botocore.client import BaseClient
from tests.template.cloud_template import resources

from heatdrop.aws import listing
from heatdrop.aws.image_table import ImageTable
from heatdrop.aws.item_table import ItemTable
from heatdrop.aws.listing import Filter, ListedImage, Listing
from heatdrop.aws.model_table import ModelTable
from heatdrop.aws.table_schema import DEFAULT_SHARDS as SHARDS
from heatdrop.ids import image_id
from heatdrop.local.moto_cloud import MotoCloud
from heatdrop.model.certificate import Certificate, Check, MapKind
from heatdrop.vocabulary import Drop, ExplanationSettings, ModelName, Prediction, State

OLD, NEW = ModelName(name="chest", version="1" * 12), ModelName(name="chest", version="2" * 12)
BEGIN = datetime(2026, 11, 1, tzinfo=UTC)


@dataclass
class Table:
    """A table as the template describes it, holding images one minute apart, and the calls that were made to it."""

    name: str
    records: ImageTable
    models: ModelTable
    listing: Listing
    ids: list[str] = field(default_factory=list)

    def add(self, key: str, label: str = "", score: float = 0.9, model: ModelName = NEW, failed: bool = False) -> str:
        now = BEGIN + timedelta(minutes=len(self.ids))
        drop = Drop(bucket="in", key=key, version_id=str(len(self.ids)))
        name = image_id(drop)
        with mock.patch("heatdrop.aws.item_table.datetime") as clock:
            clock.now.return_value = now
            self.records.find_or_add(name, drop)
            if label:
                self.records.mark_classified(
                    name, (Prediction(label=label, score=score),), model, {}, bundle_uri="/opt", job_definition=""
                )
            if failed:
                self.records.mark_failed(name, "no GPU")
        self.ids.append(name)
        return name

    def all(self, wanted: Filter, limit: int = 7) -> list[ListedImage]:
        """Every page, put together."""
        images: list[ListedImage] = []
        position = None
        while True:
            page = self.listing.page(wanted, limit, position)
            assert len(page.images) <= limit
            images += page.images
            position = page.next_position
            if position is None:
                return images

    def ids_of(self, **wanted: Any) -> list[str]:
        return [image.image_id for image in self.all(Filter(**wanted))]


@pytest.fixture(scope="module")
def table(local_aws: MotoCloud) -> Table:
    properties = copy.deepcopy(resources("AWS::DynamoDB::Table")["ImagesTable"]["Properties"])
    wanted = {name: properties[name] for name in ("AttributeDefinitions", "KeySchema", "GlobalSecondaryIndexes")}
    boto3.client("dynamodb").create_table(TableName="listed", BillingMode="PAY_PER_REQUEST", **wanted)
    items = ItemTable("listed")
    made = Table("listed", ImageTable(items), ModelTable(items), Listing("listed"))
    for number in range(40):
        made.add(f"a/{number}.jpg", "NORMAL" if number % 2 else "VIRAL", number / 40, OLD if number < 10 else NEW)
    for number in range(5):
        made.add(f"b/{number}.jpg", "VIRAL", failed=True)
    made.add("b/waits.jpg")
    return made


@contextmanager
def counted() -> Iterator[list[dict[str, Any]]]:
    """The answers of every call to DynamoDB, with the operation's name."""
    answers: list[dict[str, Any]] = []
    call = BaseClient._make_api_call

    def count(self: BaseClient, operation_name: str, parameters: dict[str, Any]) -> Any:
        answer = call(self, operation_name, parameters)
        answers.append({"operation": operation_name, "looked_at": answer.get("ScannedCount", 0)})
        return answer

    with mock.patch.object(BaseClient, "_make_api_call", count):
        yield answers


def test_list_holds_every_image_once_and_newest_first(table: Table) -> None:
    for limit in (1, 7, 45, 46, 47, 100):
        assert [image.image_id for image in table.all(Filter(), limit)] == table.ids[::-1], limit


def test_entry_says_what_a_notification_says(table: Table) -> None:
    newest, failed, *_ = table.all(Filter())
    assert newest.model_dump(exclude={"image_id"}) == {
        "state": State.RECEIVED,
        "key": "b/waits.jpg",
        "created_at": BEGIN + timedelta(minutes=45),
        "label": None,
        "score": None,
        "model": None,
        "reason": None,
    }
    assert (failed.state, failed.reason, failed.label, failed.score) == (State.FAILED, "no GPU", "VIRAL", 0.9)
    assert failed.model == NEW


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ({"state": "FAILED"}, range(40, 45)),
        ({"state": "RECEIVED"}, [45]),
        ({"state": "EXPLAINED"}, []),
        ({"label": "VIRAL"}, [*range(0, 40, 2), *range(40, 45)]),
        ({"label": "NORMAL"}, range(1, 40, 2)),
        ({"label": "norma"}, []),
        ({"label": "VIRAL", "state": "FAILED"}, range(40, 45)),
        ({"label": "NORMAL", "state": "FAILED"}, []),
        ({"label": "VIRAL", "state": "CLASSIFIED"}, range(0, 40, 2)),
        ({"label": "NORMAL", "min_score": 0.75}, range(31, 40, 2)),
        ({"min_score": 0.9}, range(36, 45)),
        ({"min_score": 5e-324}, range(45)),
        ({"model": OLD.version}, range(10)),
        ({"model": "chest"}, range(45)),
        ({"prefix": "b/"}, range(40, 46)),
        ({"prefix": "a/1"}, [1, *range(10, 20)]),
        ({"since": BEGIN + timedelta(minutes=3), "until": BEGIN + timedelta(minutes=6)}, [3, 4, 5]),
        ({"since": BEGIN + timedelta(minutes=44)}, [44, 45]),
        ({"until": BEGIN + timedelta(minutes=2), "label": "VIRAL"}, [0]),
        ({"since": BEGIN + timedelta(days=1)}, []),
        ({"until": BEGIN}, []),
        ({"since": BEGIN + timedelta(minutes=9), "until": BEGIN + timedelta(minutes=6)}, []),
    ],
    ids=str,
)
def test_filter_leaves_what_was_asked_for(table: Table, wanted: dict[str, Any], expected: Any) -> None:
    assert table.ids_of(**wanted) == [table.ids[number] for number in expected][::-1]


def test_images_of_the_same_moment_are_each_listed_once(table: Table) -> None:
    with mock.patch("heatdrop.aws.item_table.datetime") as clock:
        clock.now.return_value = BEGIN - timedelta(days=1)
        drops = [Drop(bucket="in", key="same", version_id=f"s{number}") for number in range(20)]
        for drop in drops:
            table.records.find_or_add(image_id(drop), drop)
    found = [image.image_id for image in table.all(Filter(until=BEGIN), limit=3)]
    assert sorted(found) == sorted(image_id(drop) for drop in drops)
    assert len(found) == len(set(found))


def test_page_costs_the_same_however_many_images_there_are(table: Table, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing matches, so a page could read on and on; it ends instead, and the next one goes on behind it."""
    monkeypatch.setattr(listing, "MOST_READ", 2 * SHARDS)
    positions = [None]
    while True:
        with counted() as answers:
            page = table.listing.page(Filter(prefix="nothing begins like this"), 10, positions[-1])
        assert sum(answer["looked_at"] for answer in answers) <= 2 * SHARDS
        assert len(answers) <= 2 * SHARDS
        assert page.images == ()
        if page.next_position is None:
            break
        positions.append(page.next_position)
    assert len(positions) > 3
    assert positions[1:] == sorted(positions[1:], reverse=True)


def test_no_list_reads_the_table_itself(table: Table) -> None:
    with counted() as answers:
        table.all(Filter())
        table.listing.models()
    assert {answer["operation"] for answer in answers} == {"Query"}


def certificate(day: str, images: int = 100) -> Certificate:
    figures = {"auc": 0.92, "correlation": (-1e-17, -0.5, 0.5)}
    check = Check(name="skill", grade="passed", statement="It tells the classes apart.", figures=figures)
    return Certificate.of(MapKind.of(ExplanationSettings()), [check], measured_on=day, images=images)


def test_model_has_the_latest_of_its_certificates(table: Table) -> None:
    """A bundle is certified after it was packed, and containers that hold an older one may still start."""
    model, labels = ModelName(name="certified", version="3" * 12), ("NORMAL", "VIRAL")
    old, new = certificate("2026-11-02"), certificate("2026-11-23")
    other = old.model_copy(update={"kind": MapKind(method="gradcam")})
    steps: list[tuple[tuple[Certificate, ...], tuple[Certificate, ...]]] = [
        ((), ()),
        ((old,), (old,)),
        ((new, other), (new, other)),
        ((old,), (new, other)),
        ((), (new, other)),
    ]
    for given, kept in steps:
        table.models.add(model, labels, given)
        (known,) = (known for known in table.listing.models() if known.version == model.version)
        assert known.certificates == kept
        assert known.labels == labels


@pytest.mark.parametrize(("day", "is_newer"), [("2026-11-20", False), ("2026-11-27", True)])
def test_certificate_that_an_earlier_version_stored_gives_way_to_newer_ones(
    table: Table, day: str, is_newer: bool
) -> None:
    model = ModelName(name="earlier", version=day)
    table.models.add(model, ("NORMAL",))
    earlier = {"measured_on": "2026-11-23", "images": 100, "settings": {}, "checks": [], "alarms": ["Look there."]}
    boto3.resource("dynamodb").Table(table.name).update_item(
        Key={"image_id": f"model#{model.version}"},
        UpdateExpression="SET known_model.certificate = :one REMOVE known_model.certificates",
        ExpressionAttributeValues={":one": earlier},
    )
    given = certificate(day)
    for _ in range(2):
        table.models.add(model, ("NORMAL",), (given,))
        (known,) = (known for known in table.listing.models() if known.version == model.version)
        (kept,) = known.certificates
        assert (kept == given) == is_newer
        assert kept.kind == given.kind


def test_models_are_known_once_newest_first(table: Table) -> None:
    for day, model in enumerate((OLD, NEW, OLD)):
        with mock.patch("heatdrop.aws.item_table.datetime") as clock:
            clock.now.return_value = BEGIN + timedelta(days=day)
            table.models.add(model, ("NORMAL", "VIRAL"))
    models = [model for model in table.listing.models() if model.name == "chest"]
    assert [model.version for model in models] == [NEW.version, OLD.version]
    assert models[1].first_used_at == BEGIN
    assert models[1].labels == ("NORMAL", "VIRAL")
    assert len(table.ids_of()) >= len(table.ids)  # models are no images
    assert all(len(name) == 32 for name in table.ids_of())
