"""The table over time: records go with their artefacts, and no image is lost when the number of shards grows."""

import copy
import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any
from unittest import mock

import boto3
import pytest
from tests.template.cloud_template import resources

from heatdrop.aws.explanation_table import ExplanationTable
from heatdrop.aws.image_table import ImageTable, OpenImages
from heatdrop.aws.item_table import ItemTable
from heatdrop.aws.listing import Filter, Listing
from heatdrop.aws.record import Record, RequestedExplanation
from heatdrop.aws.table_schema import Layout
from heatdrop.ids import image_id
from heatdrop.local.moto_cloud import MotoCloud
from heatdrop.vocabulary import Drop, ExplanationSettings, ModelName, Prediction, State

KEEP = 30
NAME = "over-time"
NOW = datetime(2026, 11, 1, tzinfo=UTC)
_numbers = itertools.count()


@pytest.fixture(scope="module", autouse=True)
def table(local_aws: MotoCloud) -> None:
    properties = copy.deepcopy(resources("AWS::DynamoDB::Table")["ImagesTable"]["Properties"])
    wanted = {name: properties[name] for name in ("AttributeDefinitions", "KeySchema", "GlobalSecondaryIndexes")}
    boto3.client("dynamodb").create_table(TableName=NAME, BillingMode="PAY_PER_REQUEST", **wanted)


def items(shards: int = 8, keep_days: int = KEEP) -> ItemTable:
    return ItemTable(NAME, Layout(shards, keep_days))


@contextmanager
def at(moment: datetime) -> Iterator[None]:
    with mock.patch("heatdrop.aws.item_table.datetime") as clock:
        clock.now.return_value = moment
        yield


def received(images: ImageTable) -> Record:
    drop = Drop(bucket="in", key=f"a/{next(_numbers)}")
    return images.find_or_add(image_id(drop), drop)


def classified(images: ImageTable, record: Record) -> Record:
    model = ModelName(name="chest", version="1" * 12)
    found = (Prediction(label="NORMAL", score=1),)
    return images.mark_classified(record.image_id, found, model, {}, bundle_uri="/opt/bundle", job_definition="")


def reach(images: ImageTable, state: State) -> Record:
    """An image that is in a final state, and told of."""
    record = received(images)
    match state:
        case State.EXPLAINED:
            record = images.mark_explained(classified(images, record), "picture", (), {})
        case State.REJECTED:
            record = images.mark_rejected(record.image_id, "no image")
        case State.FAILED:
            record = images.mark_failed(record.image_id, "broken")
    images.mark_announced(record)
    return images.get(record.image_id)


def expiry_of(record: Record) -> datetime | None:
    item: dict[str, Any] = boto3.resource("dynamodb").Table(NAME).get_item(Key={"image_id": record.image_id})["Item"]
    return datetime.fromtimestamp(int(item["expires_at"]), UTC) if "expires_at" in item else None


FINAL = [state for state in State if state.final]


@pytest.mark.parametrize("state", FINAL)
def test_final_image_expires_when_its_artefacts_do(state: State) -> None:
    with at(NOW):
        record = reach(ImageTable(items()), state)
    assert expiry_of(record) == NOW + timedelta(days=KEEP)


@pytest.mark.parametrize("state", FINAL)
def test_without_a_number_of_days_records_stay(state: State) -> None:
    assert expiry_of(reach(ImageTable(items(keep_days=0)), state)) is None


def test_open_image_never_expires_however_long_it_waits() -> None:
    images = ImageTable(items())
    record = received(images)
    assert expiry_of(record) is None
    assert expiry_of(classified(images, record)) is None
    record = images.mark_explained(images.get(record.image_id), "picture", (), {})
    assert expiry_of(record) is None  # nobody was told of it yet


def test_image_that_is_explained_again_expires_with_its_latest_explanation() -> None:
    images, explanations = ImageTable(items()), ExplanationTable(items())
    with at(NOW):
        record = reach(images, State.EXPLAINED)
    wanted = RequestedExplanation(
        explanation_id="0" * 32,
        state=State.RECEIVED,
        settings=ExplanationSettings(),
        labels=("NORMAL",),
        requested_at=NOW,
    )
    record = explanations.find_or_add(record.image_id, wanted)
    assert expiry_of(record) is None
    later = NOW + timedelta(days=20)
    record = explanations.mark_explained(record.image_id, "0" * 32, "picture", (), {})
    with at(later):
        OpenImages(items()).close(record)
    assert expiry_of(record) == later + timedelta(days=KEEP)


def test_image_that_is_redriven_does_not_expire_on_its_way() -> None:
    images = ImageTable(items())
    record = reach(images, State.FAILED)
    assert images.reopen(record)
    assert expiry_of(record) is None


def test_no_image_is_lost_when_the_number_of_shards_grows() -> None:
    """Written with eight, moved and read with sixteen; and with both for as long as an update runs."""
    before, after = ImageTable(items(8)), ImageTable(items(16))
    with at(NOW):
        old_open = [received(before) for _ in range(20)]
        old_failed = [reach(before, State.FAILED) for _ in range(20)]
        new_open = [received(after) for _ in range(20)]
    everyone = {record.image_id for record in old_open + old_failed + new_open}
    assert everyone <= {image.image_id for image in pages(Listing(NAME, Layout(16)))}
    assert {r.image_id for r in old_failed} <= {record.image_id for record in after.failed()}
    waiting = {image.image_id for image in OpenImages(items(16)).unchanged_since(NOW + timedelta(days=1))}
    assert {record.image_id for record in old_open + new_open} <= waiting

    for record in old_open:
        classified(after, record)
    for record in old_failed:
        assert after.reopen(record)
    found = [image for image in pages(Listing(NAME, Layout(16))) if image.image_id in everyone]
    assert len(found) == len(everyone)  # each once
    labelled = {i.image_id for i in pages(Listing(NAME, Layout(16)), label="NORMAL", state=State.CLASSIFIED)}
    assert {record.image_id for record in old_open} <= labelled
    waiting = {image.image_id for image in OpenImages(items(16)).unchanged_since(datetime.now(UTC) + timedelta(days=1))}
    assert everyone <= waiting


def pages(listing: Listing, **wanted: Any) -> Iterator[Any]:
    position = None
    while True:
        page = listing.page(Filter(**wanted), 7, position)
        yield from page.images
        position = page.next_position
        if position is None:
            return
