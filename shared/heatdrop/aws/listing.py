"""Lists of records, newest first: each page is a bounded number of queries on an index, whatever the table holds.

An index spreads its images over ``SHARDS`` partitions, each sorted by ``listed_at`` (time and id, so unique). A page
merges them. What a filter leaves out is looked at all the same, so once a shard has looked at its share of
``MOST_LOOKED_AT`` records a page ends there, short or even empty, and says where the next one goes on.
"""

import heapq
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from functools import reduce
from typing import TYPE_CHECKING, Any

import boto3
from boto3.dynamodb.conditions import Attr, ConditionBase, Key
from pydantic import AwareDatetime

from heatdrop.aws.record import KnownModel
from heatdrop.aws.table_schema import BY_LABEL, BY_STATE, BY_TIME, LONGEST_KEY, MODELS, SHARDS, iso, partition
from heatdrop.vocabulary import FrozenModel, ModelName, State

if TYPE_CHECKING:
    from mypy_boto3_dynamodb.service_resource import Table

MOST_LOOKED_AT = 1000
"""Records that one page looks at: with filters by one query a shard, without any by a few small ones."""

_PARTITIONS = {BY_TIME: "shard", BY_STATE: "state_shard", BY_LABEL: "label_shard"}
"""Index to its partition key."""

_Entry = tuple[str, dict[str, Any] | None]

_OLDEST, _NEWEST = "0", "9"
"""Before and after every ``listed_at``."""


class Filter(FrozenModel):
    """Which images a list holds; what is None does not matter."""

    state: State | None = None
    label: str | None = None
    min_score: float | None = None
    model: str | None = None
    prefix: str | None = None
    since: AwareDatetime | None = None
    until: AwareDatetime | None = None


class ListedImage(FrozenModel):
    """What a list says of an image; ``label`` and ``score`` are those of its best class."""

    image_id: str
    state: State
    key: str
    created_at: datetime
    label: str | None = None
    score: float | None = None
    model: ModelName | None = None
    reason: str | None = None


@dataclass(frozen=True)
class Page:
    """Some images, and the position behind which the next page begins; None where there is no more."""

    images: tuple[ListedImage, ...]
    next_position: str | None


class Listing:
    """The indexes of the table of images."""

    def __init__(self, table_name: str) -> None:
        self._table: Table = boto3.resource("dynamodb").Table(table_name)

    def page(self, wanted: Filter, limit: int, position: str | None = None) -> Page:
        """Up to ``limit`` images behind ``position``, newest first; fewer where filters leave out many."""
        oldest = iso(wanted.since) if wanted.since else _OLDEST
        newest = min(iso(wanted.until) if wanted.until else _NEWEST, position or _NEWEST)
        if oldest > newest:
            return Page((), None)
        index, value, conditions = _plan(wanted)
        request: dict[str, Any] = {
            "IndexName": index,
            "ScanIndexForward": False,
            "Limit": MOST_LOOKED_AT // SHARDS if conditions else 2 * (limit // SHARDS + 1),
        }
        if conditions:
            request["FilterExpression"] = reduce(lambda one, other: one & other, conditions)
        shards = []
        for number in map(str, range(SHARDS)):
            shard = Key(_PARTITIONS[index]).eq(number if value is None else partition(number, value))
            keys = shard & Key("listed_at").between(oldest, newest)
            shards.append(self._shard(request | {"KeyConditionExpression": keys}))
        return _merged(shards, limit, position)

    def models(self) -> tuple[KnownModel, ...]:
        """The models that have classified images here, the newest hundred, newest first; one query."""
        answer = self._table.query(
            IndexName=BY_TIME,
            KeyConditionExpression=Key(_PARTITIONS[BY_TIME]).eq(MODELS),
            ScanIndexForward=False,
            Limit=100,
        )
        return tuple(KnownModel.model_validate(item["known_model"]) for item in answer["Items"])

    def _shard(self, request: dict[str, Any]) -> Iterator[_Entry]:
        """The items of one shard, newest first; where it has looked at its share, the place, without an item."""
        looked_at = 0
        while True:
            answer = self._table.query(**request)
            looked_at += answer["ScannedCount"]
            for item in answer["Items"]:
                yield str(item["listed_at"]), item
            last = answer.get("LastEvaluatedKey")
            if last is None:
                return
            if looked_at >= MOST_LOOKED_AT // SHARDS:
                yield str(last["listed_at"]), None
                return
            request = request | {"ExclusiveStartKey": last}


def _merged(shards: list[Iterator[_Entry]], limit: int, position: str | None) -> Page:
    images: list[ListedImage] = []
    place = position
    for listed_at, item in heapq.merge(*shards, key=lambda entry: entry[0], reverse=True):
        if item is None:
            return Page(tuple(images), listed_at)
        if listed_at == position:
            continue  # the range that was asked for includes the position itself
        if len(images) == limit:
            return Page(tuple(images), place)
        images.append(_listed(item))
        place = listed_at
    return Page(tuple(images), None)


def _plan(wanted: Filter) -> tuple[str, str | None, list[ConditionBase]]:
    """The index that leaves the least to look at, what is looked up in it, and the conditions on the rest."""
    conditions: list[ConditionBase] = []
    state, label = wanted.state, wanted.label
    # Most images with a label are EXPLAINED; those in any other state are fewer.
    if state is not None and (label is None or state is not State.EXPLAINED):
        index, value = BY_STATE, state.value
    elif label is not None:
        index, value = BY_LABEL, label
    else:
        index, value = BY_TIME, None
    if state is not None and index != BY_STATE:
        conditions.append(Attr("state").eq(state.value))
    if label is not None and (index != BY_LABEL or len(label) > LONGEST_KEY):
        conditions.append(Attr("label").eq(label))
    if wanted.min_score is not None:
        # DynamoDB knows no number as small as a float can be.
        conditions.append(Attr("score").gte(Decimal(repr(wanted.min_score)) if wanted.min_score > 1e-100 else 0))
    if wanted.model is not None:
        conditions.append(Attr("model.version").eq(wanted.model) | Attr("model.name").eq(wanted.model))
    if wanted.prefix:
        conditions.append(Attr("drop.key").begins_with(wanted.prefix))
    return index, value, conditions


def _listed(item: dict[str, Any]) -> ListedImage:
    names = ListedImage.model_fields.keys() - {"key"}
    return ListedImage.model_validate(
        {name: item[name] for name in names if name in item} | {"key": item["drop"]["key"]}
    )
