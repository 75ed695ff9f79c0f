"""How much an image asks of each service: what costs are computed from is counted, not guessed."""

from collections import Counter
from unittest import mock

from botocore.client import BaseClient
from tests.integration.cloud import Cloud

from heatdrop.cost.costs import Setup, calls_per_image


def test_image_makes_the_calls_that_its_costs_are_computed_from(cloud: Cloud, chest: bytes) -> None:
    cloud.infer(cloud.put(chest))  # the first image also makes its model known, once a container
    counts: Counter[str] = Counter()
    call = BaseClient._make_api_call

    def counted(self: BaseClient, operation_name: str, parameters: dict[str, object]) -> object:
        counts[operation_name] += 1
        return call(self, operation_name, parameters)

    with mock.patch.object(BaseClient, "_make_api_call", counted):
        drops = [cloud.put(chest), cloud.put(chest)]
        cloud.infer(*drops)
        key, _ = cloud.manifest(drops[0])
        counts["GetObject"] -= cloud.manifest_keys().index(key) + 1  # the test's own look at the manifests
        cloud.heatmap_job().run(key)
    expected = calls_per_image(Setup(images_per_job=len(drops), top=3))
    assert {name: counts[name] / len(drops) for name in expected} == expected
