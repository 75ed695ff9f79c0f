"""Both containers, the layer and the zip function, built; and the template deployed where they can reach it."""

import json
import os
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import boto3
import pytest
from moto.batch.models import Job
from tests.containers.engine import BUILD, HEATMAPS, LAMBDA_BASE, REGION, ROOT, api_of, docker, invoke, run_in, sam
from tests.iam.recording import recorded
from tests.integration.cloud import Cloud, Event

from heatdrop.aws.image_table import ImageTable
from heatdrop.aws.item_table import ItemTable
from heatdrop.aws.storage import Storage
from heatdrop.aws.subscription import Subscription
from heatdrop.local.deployment import deploy
from heatdrop.local.moto_cloud import MotoCloud
from heatdrop.local.roles import environment_of
from heatdrop.local.transform import read_template
from heatdrop.project import BUILT_BUNDLE, TEMPLATE
from heatdrop.vocabulary import Drop

Call = Callable[[str, Event], Any]
RunJob = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="session", autouse=True)
def engine() -> None:
    """What cannot be tested is not passed over in silence."""
    assert docker("version", check=False).returncode == 0, "these tests need a Docker engine"
    assert (BUILT_BUNDLE / "bundle.json").exists(), "these tests need the bundle: make setup"


def build_heatmaps() -> None:
    arguments = ["--build-arg", "TENSORFLOW="]
    if base := os.environ.get("HEATMAPS_BASE_IMAGE"):
        arguments += ["--build-arg", f"BASE_IMAGE={base}"]
    docker("build", "--file", "functions/heatmaps/Dockerfile", "--tag", HEATMAPS, *arguments, ".", cwd=ROOT)


@pytest.fixture(scope="session")
def heatmaps_build(request: pytest.FixtureRequest) -> Iterator[Future[None] | None]:
    """The build of the heatmap container, if a test wants it; it goes on beside `sam build`, which mostly waits."""
    wanted = any("heatmaps_image" in getattr(item, "fixturenames", ()) for item in request.session.items)
    with ThreadPoolExecutor(max_workers=1) as pool:
        yield pool.submit(build_heatmaps) if wanted else None


@pytest.fixture(scope="session")
def built(heatmaps_build: Future[None] | None) -> Path:
    """The output of `sam build`."""
    sam("build", "--build-dir", str(BUILD))
    return BUILD


@pytest.fixture(scope="session")
def heatmaps_image(heatmaps_build: Future[None]) -> str:
    """The heatmap container for CPUs."""
    heatmaps_build.result()
    return HEATMAPS


@pytest.fixture(scope="session")
def jobs() -> list[Job]:
    """The jobs that were submitted so far."""
    return []


@pytest.fixture(scope="session")
def local_aws(built: Path, jobs: list[Job]) -> Iterator[MotoCloud]:
    """The cloud, on the bridge that containers and this machine share, and nowhere else.

    The bridge is there as long as a container is; its address is that container's gateway.
    """
    held = docker("run", "--rm", "--detach", "--entrypoint", "sleep", LAMBDA_BASE, "3600").stdout.strip()
    try:
        networks = json.loads(docker("inspect", "--format", "{{json .NetworkSettings.Networks}}", held).stdout)
        (network,) = networks.values()
        with recorded(), MotoCloud(jobs.append, network["Gateway"]) as aws:
            yield aws
    finally:
        docker("rm", "--force", held)


@pytest.fixture(scope="session")
def cloud(local_aws: MotoCloud, jobs: list[Job]) -> Cloud:
    """The template, deployed with the bundle that lies in the containers."""
    # With a bus, so that every client is made that a function ever makes.
    deployment = deploy(TEMPLATE, {"UseGpu": "false", "Samples": "2", "NotificationsBus": "default"})
    (definition,) = boto3.client("batch").describe_job_definitions()["jobDefinitions"]
    return Cloud(
        deployment,
        jobs,
        Subscription(deployment.outputs["NotificationsTopic"]),
        {},
        {variable["name"]: variable["value"] for variable in definition["containerProperties"]["environment"]},
        ImageTable(ItemTable(deployment.outputs["ImagesTable"])),
        Storage(deployment.outputs["ResultsBucket"]),
    )


@pytest.fixture(scope="session")
def in_cloud(local_aws: MotoCloud) -> dict[str, str]:
    """The environment that points a container at the cloud; under which role it acts is to be added."""
    here = {"AWS_ENDPOINT_URL": local_aws.endpoint, "AWS_EC2_METADATA_DISABLED": "true"}
    return here | {"AWS_DEFAULT_REGION": REGION, "AWS_REGION": REGION}


@pytest.fixture(scope="session")
def template(built: Path, cloud: Cloud, in_cloud: dict[str, str]) -> Path:
    """The built template with every function's deployed environment, and where its cloud is."""
    source = read_template(built / "template.yaml")
    names = {physical: logical for logical, physical in cloud.deployment.physical_ids.items()}
    for function in cloud.deployment.functions:
        variables = function.environment | in_cloud | environment_of(function.role)
        properties = source["Resources"][names[function.name]]["Properties"]
        properties["Environment"] = {"Variables": variables}
    path = built / "template-in-cloud.json"
    path.write_text(json.dumps(source))
    return path


@pytest.fixture(scope="session")
def call(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Call:
    """Invoke a built function with an event."""
    file = tmp_path_factory.mktemp("events") / "event.json"

    def call_(function: str, event: Event) -> Any:
        file.write_text(json.dumps(event))
        return invoke(function, template, file)

    return call_


@pytest.fixture(scope="session")
def run_job(heatmaps_image: str, cloud: Cloud, in_cloud: dict[str, str]) -> RunJob:
    """Do what Batch does: the deployed command with a job's parameters and environment, and changes to that."""

    def run_job_(job: Job, **changes: str) -> subprocess.CompletedProcess[str]:
        command = job.describe()["container"]["command"]
        command = [job.parameters["manifest"] if word == "Ref::manifest" else word for word in command]
        role = environment_of(cloud.job_role_arn)
        return run_in(heatmaps_image, *command, env=cloud.job_environment | in_cloud | role | changes)

    return run_job_


@pytest.fixture(scope="session")
def radiograph(chest_dicom: Path) -> bytes:
    """A real chest radiograph, JPEG 2000 in DICOM."""
    return chest_dicom.read_bytes()


@pytest.fixture(scope="session")
def answers() -> list[Any]:
    """What the inference function answered to each batch."""
    return []


@pytest.fixture(scope="session")
def classified(cloud: Cloud, call: Call, radiograph: bytes, answers: list[Any]) -> list[list[Drop]]:
    """Three batches that the built function has classified, and so three jobs: of two drops, of one, and of one."""
    batches = [
        [cloud.put(radiograph, "ward 3/chest+x-ray.dcm"), cloud.put(radiograph)],
        [cloud.put(radiograph)],
        [cloud.put(radiograph)],
    ]
    answers += [call("InferenceFunction", cloud.drop_event(*drops)) for drops in batches]
    return batches


@pytest.fixture(scope="session")
def job_of_two(cloud: Cloud, run_job: RunJob, classified: list[list[Drop]]) -> subprocess.CompletedProcess[str]:
    """The first batch's job has run in the built container."""
    return run_job(cloud.jobs[0])


@pytest.fixture(scope="session")
def api(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of the API: its built function behind `sam local start-api`."""
    with api_of(template, tmp_path_factory.mktemp("api") / "log") as address:
        yield address
