"""moto answers with its accelerations what it answers without them."""

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import boto3
import pytest
from moto import mock_aws

from heatdrop.local import moto_speed

ITEM: dict[str, Any] = {
    "id": {"S": "ü"},
    "empty": {"S": ""},
    "number": {"N": "-1.5"},
    "bytes": {"B": b"\0\xff"},
    "strings": {"SS": ["a", "b"]},
    "numbers": {"NS": ["1", "2"]},
    "blobs": {"BS": [b"1"]},
    "nothing": {"NULL": True},
    "no": {"BOOL": False},
    "list": {"L": [{"S": "a"}, {"L": []}, {"M": {}}, {"NULL": True}]},
    "map": {"M": {"S": {"N": "1"}, "M": {"M": {"S": {"S": "a map's key may be called as a type is"}}}}},
}
"""An item with a value of each type that DynamoDB knows."""


@pytest.fixture
def table(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-1")
    with mock_aws():
        dynamodb = boto3.client("dynamodb")
        dynamodb.create_table(
            TableName="t",
            KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
            AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
            BillingMode="PAY_PER_REQUEST",
        )
        yield dynamodb


def answers(dynamodb: Any) -> list[Any]:
    """What is said when an item is put over another one, read, looked for, changed, and changed in vain."""
    key = {"id": ITEM["id"]}
    change = {
        "TableName": "t",
        "Key": key,
        "UpdateExpression": "SET x = :x",
        "ExpressionAttributeValues": {":x": ITEM["map"]},
    }
    with pytest.raises(dynamodb.exceptions.ConditionalCheckFailedException) as refused:
        dynamodb.update_item(**change, ConditionExpression="attribute_not_exists(id)")
    found = [
        dynamodb.put_item(TableName="t", Item=ITEM, ReturnValues="ALL_OLD"),
        dynamodb.get_item(TableName="t", Key=key),
        dynamodb.scan(TableName="t"),
        dynamodb.update_item(**change, ReturnValues="ALL_NEW"),
        dynamodb.describe_table(TableName="t"),
        refused.value.response,
    ]
    return [{name: value for name, value in answer.items() if name != "ResponseMetadata"} for answer in found]


def test_answers_are_the_same(table: Any) -> None:
    table.put_item(TableName="t", Item=ITEM)
    before = answers(table)
    table.put_item(TableName="t", Item=ITEM)
    with ExitStack() as stack:
        for patch in moto_speed.patches():
            stack.enter_context(patch)
        assert answers(boto3.client("dynamodb")) == before
    assert before[1]["Item"] == ITEM
