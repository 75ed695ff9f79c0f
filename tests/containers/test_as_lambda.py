"""Each function in the surroundings that AWS gives it, from its start to the answer to a real event."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.containers.engine import LAMBDA_BASE, Invocation, invoke_as_lambda
from tests.integration.cloud import Cloud, Event, sample_event

from heatdrop.local.roles import environment_of
from heatdrop.local.transform import read_template
from heatdrop.vocabulary import State

pytestmark = pytest.mark.containers

NAMES = ("inference", "job_events", "api")
LONGEST_INITIALISATION = 10
"""Seconds after which Lambda gives a function up that still initialises; here of processor time, since this machine may
have other work to do."""

Invoke = Callable[[str, Event], Invocation]


@pytest.fixture(scope="module")
def invoke(cloud: Cloud, built: Path, in_cloud: dict[str, str]) -> Invoke:
    logical = {physical: name for name, physical in cloud.deployment.physical_ids.items()}
    resources: dict[str, Any] = read_template(built / "template.yaml")["Resources"]
    functions = {function.code.name: function for function in cloud.deployment.functions}
    assert set(functions) == set(NAMES)

    def invoke_(name: str, event: Event) -> Invocation:
        function = functions[name]
        wanted = resources[logical[function.name]]["Properties"]
        environment = function.environment | in_cloud | environment_of(function.role)
        image, mounts = LAMBDA_BASE, []
        if wanted.get("PackageType") == "Image":
            image = wanted["ImageUri"]
        else:
            layers = [built / layer["Ref"] for layer in wanted["Layers"]]
            mounts = [f"{built / logical[function.name]}:/var/task:ro", *(f"{layer}:/opt:ro" for layer in layers)]
        return invoke_as_lambda(image, function.handler, event, function.memory_mb, environment, mounts)

    return invoke_


def in_its_surroundings(invocation: Invocation) -> bool:
    """Whether the function ran where nothing is written but ``/tmp``, as nobody, and was ready in time."""
    assert invocation.found == {"uid": 993, "known": False, "writable": ["/tmp"], "tmp_mb": 512}
    return invocation.cpu_seconds < LONGEST_INITIALISATION


@pytest.mark.usefixtures("classified")  # other tests count the jobs, and those of these drops come first
def test_inference_classifies_a_drop(invoke: Invoke, cloud: Cloud, radiograph: bytes) -> None:
    drop = cloud.put(radiograph)
    done = invoke("inference", cloud.drop_event(drop))
    assert in_its_surroundings(done), done.cpu_seconds
    assert done.answer == {"batchItemFailures": []}
    assert cloud.record(drop).state is State.CLASSIFIED
    assert [news.state for news in cloud.news(drop)] == [State.CLASSIFIED]


def test_job_events_sweeps(invoke: Invoke) -> None:
    done = invoke("job_events", sample_event("job-events-sweep"))
    assert in_its_surroundings(done), done.cpu_seconds
    assert done.answer == {"batchItemFailures": []}


def test_api_answers(invoke: Invoke) -> None:
    done = invoke("api", sample_event("api"))
    assert in_its_surroundings(done), done.cpu_seconds
    assert done.answer["statusCode"] == 200
