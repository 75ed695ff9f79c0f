"""Lists of records, newest first, in pages. A page costs a bounded number of queries, however large the table is.

An index spreads its images over several partitions (shards), each sorted by ``listed_at``, which is time and id and
therefore unique; a page merges them. DynamoDB also reads what a filter leaves out. So a page ends where a shard has
read its share of ``MOST_READ`` records, even if it is short or empty by then, and says where the next page begins.
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
from heatdrop.aws.table_schema import (
    BY_LABEL,
    BY_STATE,
    BY_TIME,
    DEFAULT_LAYOUT,
    LONGEST_KEY,
    MODELS,
    Layout,
    iso,
    partition,
)
from heatdrop.vocabulary import FrozenModel, ModelName, State

if TYPE_CHECKING:
    from mypy_boto3_dynamodb.service_resource import Table

MOST_READ = 1000
"""At most about this many records are read for one page: one query a shard with filters, a few small ones without."""

_PARTITIONS = {BY_TIME: "shard", BY_STATE: "state_shard", BY_LABEL: "label_shard"}
"""The partition key of each index."""

_Entry = tuple[str, dict[str, Any] | None]

_OLDEST, _NEWEST = "0", "9"
"""Texts that sort before and after every ``listed_at``."""


class Filter(FrozenModel):
    """Which images a list holds; a field that is None does not filter."""

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
    """Some images, and the position after which the next page begins; None after the last image."""

    images: tuple[ListedImage, ...]
    next_position: str | None


class Listing:
    """Reads lists from the indexes of the table of images."""

    def __init__(self, table_name: str, layout: Layout = DEFAULT_LAYOUT) -> None:
        self._shards = layout.all_shards
        self._table: Table = boto3.resource("dynamodb").Table(table_name)

    def page(self, wanted: Filter, limit: int, position: str | None = None) -> Page:
        """Up to ``limit`` images after ``position``, newest first; fewer where filters leave out many."""
        oldest = iso(wanted.since) if wanted.since else _OLDEST
        newest = min(iso(wanted.until) if wanted.until else _NEWEST, position or _NEWEST)
        if oldest > newest:
            return Page((), None)
        index, value, conditions = _plan(wanted)
        request: dict[str, Any] = {
            "IndexName": index,
            "ScanIndexForward": False,
            "Limit": self._share if conditions else 2 * (limit // len(self._shards) + 1),
        }
        if conditions:
            request["FilterExpression"] = reduce(lambda one, other: one & other, conditions)
        shards = []
        for number in self._shards:
            shard = Key(_PARTITIONS[index]).eq(number if value is None else partition(number, value))
            keys = shard & Key("listed_at").between(oldest, newest)
            shards.append(self._shard(request | {"KeyConditionExpression": keys}))
        return _merged(shards, limit, position)

    @property
    def _share(self) -> int:
        """Records that a page reads of each shard, at most."""
        return max(1, MOST_READ // len(self._shards))

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
        """The items of one shard, newest first; once it has read its share, the place that it reached, and None."""
        read_count = 0
        while True:
            answer = self._table.query(**request)
            read_count += answer["ScannedCount"]
            for item in answer["Items"]:
                yield str(item["listed_at"]), item
            last = answer.get("LastEvaluatedKey")
            if last is None:
                return
            if read_count >= self._share:
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
            continue  # the query includes the position itself, which was on the page before
        if len(images) == limit:
            return Page(tuple(images), place)
        images.append(_listed(item))
        place = listed_at
    return Page(tuple(images), None)


def _plan(wanted: Filter) -> tuple[str, str | None, list[ConditionBase]]:
    """The index that leaves the fewest records to filter, the value to look up in it, and the other conditions."""
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
        # DynamoDB has no numbers as small as the smallest floats.
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
