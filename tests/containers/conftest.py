"""Both containers, the layer and the zip function, built; and the template deployed where they can reach it."""

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from moto.batch.models import Job
from tests.containers.engine import BUILD, HEATMAPS, LAMBDA_BASE, ROOT, docker, invoke, sam
from tests.integration.cloud import Cloud, Event

from heatdrop.local.aws import LocalAws
from heatdrop.local.cloud import TEMPLATE
from heatdrop.local.deployment import deploy
from heatdrop.local.transform import read_template
from heatdrop.model.default import BUILT
from heatdrop.records import Records
from heatdrop.storage import Storage
from heatdrop.subscription import Subscription


@pytest.fixture(scope="session", autouse=True)
def engine() -> None:
    """What cannot be tested is not passed over in silence."""
    assert docker("version", check=False).returncode == 0, "these tests need a Docker engine"
    assert (BUILT / "bundle.json").exists(), "these tests need the bundle: make setup"


@pytest.fixture(scope="session")
def built() -> Path:
    """The output of `sam build`."""
    sam("build", "--build-dir", str(BUILD))
    return BUILD


@pytest.fixture(scope="session")
def heatmaps_image() -> str:
    """The heatmap container for CPUs."""
    arguments = ["--build-arg", "TENSORFLOW=tensorflow-cpu"]
    if base := os.environ.get("HEATMAPS_BASE_IMAGE"):
        arguments += ["--build-arg", f"BASE_IMAGE={base}"]
    docker("build", "--file", "functions/heatmaps/Dockerfile", "--tag", HEATMAPS, *arguments, ".", cwd=ROOT)
    return HEATMAPS


@pytest.fixture(scope="session")
def jobs() -> list[Job]:
    """The jobs that were submitted so far."""
    return []


@pytest.fixture(scope="session")
def local_aws(built: Path, jobs: list[Job]) -> Iterator[LocalAws]:
    """The cloud, on the bridge that containers and this machine share, and nowhere else.

    The bridge is there as long as a container is; its address is that container's gateway.
    """
    held = docker("run", "--rm", "--detach", "--entrypoint", "sleep", LAMBDA_BASE, "3600").stdout.strip()
    try:
        networks = json.loads(docker("inspect", "--format", "{{json .NetworkSettings.Networks}}", held).stdout)
        (network,) = networks.values()
        with LocalAws(jobs.append, network["Gateway"]) as aws:
            yield aws
    finally:
        docker("rm", "--force", held)


@pytest.fixture(scope="session")
def cloud(local_aws: LocalAws, jobs: list[Job]) -> Cloud:
    """The template, deployed with the bundle that lies in the containers."""
    deployment = deploy(TEMPLATE, {"UseGpu": "false", "Samples": "2"})
    (definition,) = boto3.client("batch").describe_job_definitions()["jobDefinitions"]
    return Cloud(
        deployment,
        jobs,
        Subscription(deployment.outputs["NotificationsTopic"]),
        {},
        {variable["name"]: variable["value"] for variable in definition["containerProperties"]["environment"]},
        Records(deployment.outputs["ImagesTable"]),
        Storage(deployment.outputs["ResultsBucket"]),
    )


@pytest.fixture(scope="session")
def in_cloud(local_aws: LocalAws) -> dict[str, str]:
    """The environment that points a container at the cloud."""
    credentials = {"AWS_ACCESS_KEY_ID": "local", "AWS_SECRET_ACCESS_KEY": "local", "AWS_DEFAULT_REGION": "eu-west-1"}
    return credentials | {"AWS_ENDPOINT_URL": local_aws.endpoint, "AWS_EC2_METADATA_DISABLED": "true"}


@pytest.fixture(scope="session")
def template(built: Path, cloud: Cloud, in_cloud: dict[str, str]) -> Path:
    """The built template with every function's deployed environment, and where its cloud is."""
    source = read_template(built / "template.yaml")
    names = {physical: logical for logical, physical in cloud.deployment.physical_ids.items()}
    for function in cloud.deployment.functions:
        variables = function.environment | {"AWS_ENDPOINT_URL": in_cloud["AWS_ENDPOINT_URL"]}
        properties = source["Resources"][names[function.name]]["Properties"]
        properties["Environment"] = {"Variables": variables}
    path = built / "template-in-cloud.json"
    path.write_text(json.dumps(source))
    return path


@pytest.fixture
def call(template: Path, tmp_path: Path) -> Callable[[str, Event], Any]:
    """Invoke a built function with an event."""

    def call_(function: str, event: Event) -> Any:
        file = tmp_path / "event.json"
        file.write_text(json.dumps(event))
        return invoke(function, template, file)

    return call_
