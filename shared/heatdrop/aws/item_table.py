"""The DynamoDB table as items under their keys: read, added, and changed on a condition. It knows nothing of images."""

import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import boto3
from boto3.dynamodb.conditions import ConditionBase

from heatdrop.aws.table_schema import DEFAULT_LAYOUT, Layout

if TYPE_CHECKING:
    from mypy_boto3_dynamodb.service_resource import Table

Item = dict[str, Any]
"""An item as boto3 gives it: numbers are ``Decimal``, sets are ``set``."""

KEY = "image_id"
"""The key of every item; the items of models have it too."""


class ItemTable:
    """One DynamoDB table whose items are found by ``image_id``, laid out as ``layout`` says."""

    def __init__(self, name: str, layout: Layout = DEFAULT_LAYOUT) -> None:
        self.layout = layout
        self._table: Table = boto3.resource("dynamodb").Table(name)

    def get(self, key: str) -> Item | None:
        """The item as it is now (a strongly consistent read), or None."""
        return self._table.get_item(Key={KEY: key}, ConsistentRead=True).get("Item")

    def add(self, item: Mapping[str, Any]) -> bool:
        """Put a new item; returns False, and changes nothing, where one with its key is there already."""
        try:
            self._table.put_item(Item=dict(item), ConditionExpression=f"attribute_not_exists({KEY})")
        except self._table.meta.client.exceptions.ConditionalCheckFailedException:
            return False
        return True

    def delete(self, key: str) -> None:
        """Delete an item, if it is there."""
        self._table.delete_item(Key={KEY: key})

    def update_if(
        self,
        key: str,
        condition: ConditionBase,
        *,
        put: Mapping[str, Any] | None = None,
        remove: Sequence[str] = (),
        add: Mapping[str, set[str]] | None = None,
    ) -> Item | None:
        """Change an item in one call, if a condition holds for it.

        Args:
            key: of the item.
            condition: what must hold of the item as it is now.
            put: attributes and their new values, which may be models; a dot leads into a map.
            remove: attributes that go.
            add: sets, and what they gain.

        Returns:
            The whole item after the change; None where the condition does not hold.
        """
        names: dict[str, str] = {}
        values: dict[str, Any] = {}

        def path(attribute: str) -> str:
            return ".".join(names.setdefault(part, f"#name{len(names)}") for part in attribute.split("."))

        def value(given: Any) -> str:
            placeholder = f":value{len(values)}"
            values[placeholder] = given
            return placeholder

        clauses = {
            "SET": [f"{path(name)} = {value(plain(given))}" for name, given in (put or {}).items()],
            "ADD": [f"{path(name)} {value(gained)}" for name, gained in (add or {}).items()],
            "REMOVE": [path(name) for name in remove],
        }
        request: dict[str, Any] = {
            "UpdateExpression": " ".join(f"{verb} {', '.join(parts)}" for verb, parts in clauses.items() if parts),
            "ConditionExpression": condition,
            "ExpressionAttributeNames": {placeholder: name for name, placeholder in names.items()},
        }
        if values:
            request["ExpressionAttributeValues"] = values
        try:
            return self._table.update_item(Key={KEY: key}, ReturnValues="ALL_NEW", **request)["Attributes"]
        except self._table.meta.client.exceptions.ConditionalCheckFailedException:
            return None

    def query(self, index: str, condition: ConditionBase, **more: Any) -> Iterator[Item]:
        """What an index holds of all items that a query finds, page by page; ``more`` as ``Table.query`` takes it."""
        request: dict[str, Any] = {"IndexName": index, "KeyConditionExpression": condition, **more}
        while True:
            page = self._table.query(**request)
            yield from page["Items"]
            if "LastEvaluatedKey" not in page:
                break
            request["ExclusiveStartKey"] = page["LastEvaluatedKey"]


def now() -> datetime:
    """This moment, in UTC: the one clock of all that is written into the table."""
    return datetime.now(UTC)


def plain(value: Any) -> Any:
    """What boto3 can store: models as dictionaries, floats as decimals."""
    return json.loads(json.dumps(value, default=lambda model: model.model_dump(mode="json")), parse_float=Decimal)
