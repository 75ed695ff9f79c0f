"""How much an image asks of each service: what costs are computed from is counted, not guessed."""

from typing import Any
from unittest import mock

import boto3
from botocore.client import BaseClient
from tests.integration.cloud import Cloud, counted_calls
from tests.integration.write_units import written_units

from heatdrop.cost.costs import Setup, calls_per_image, write_units


def test_image_makes_the_calls_that_its_costs_are_computed_from(cloud: Cloud, chest: bytes) -> None:
    cloud.infer(cloud.put(chest))  # the first image also makes its model known, once a container
    with counted_calls() as counts:
        drops = [cloud.put(chest), cloud.put(chest)]
        cloud.infer(*drops)
        key, _ = cloud.manifest(drops[0])
        counts["GetObject"] -= 1  # the test's own look at the manifest
        cloud.heatmap_job().run(key)
    expected = calls_per_image(Setup(images_per_job=len(drops), top=3))
    assert {name: counts[name] / len(drops) for name in expected} == expected


def test_image_takes_the_write_units_that_its_costs_are_computed_from(cloud: Cloud, chest: bytes) -> None:
    cloud.infer(cloud.put(chest))
    client, name = boto3.client("dynamodb"), cloud.deployment.outputs["ImagesTable"]
    table = client.describe_table(TableName=name)["Table"]
    units: list[int] = []
    call = BaseClient._make_api_call

    def billed(self: BaseClient, operation_name: str, parameters: dict[str, Any]) -> object:
        if operation_name not in {"PutItem", "UpdateItem"}:
            return call(self, operation_name, parameters)
        image_id = (parameters["Item"] if operation_name == "PutItem" else parameters["Key"])["image_id"]
        before = client.get_item(TableName=name, Key={"image_id": {"S": image_id}}).get("Item", {})
        answer = call(self, operation_name, parameters)
        after = client.get_item(TableName=name, Key={"image_id": {"S": image_id}})["Item"]
        units.append(written_units(before, after, table))
        return answer

    with mock.patch.object(BaseClient, "_make_api_call", billed):
        drop = cloud.put(chest)
        cloud.infer(drop)
        cloud.heatmap_job().run(cloud.manifest(drop)[0])
    assert sum(units) == write_units(classes=3, top=3), units
