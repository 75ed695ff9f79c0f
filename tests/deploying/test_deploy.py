"""`heatdrop deploy` builds and pushes what is missing, keeps what nobody asked to change, and does nothing twice.

`sam` and `docker` are programs on the path that write down how they were called; AWS is moto.
"""

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import boto3
import pytest
import yaml
from moto import mock_aws

from heatdrop.deploying.heatmap_image import DOCKERFILE, HeatmapImage
from heatdrop.deploying.stack import Deployed, deploy_stack, read_parameters
from heatdrop.errors import DeploymentFailed, InvalidRequest
from heatdrop.local.transform import read_template
from heatdrop.project import ROOT, TEMPLATE

PROGRAM = """#!/bin/sh
{{ echo "$(basename "$0") $*"; case "$*" in *--password-stdin*) echo "typed $(cat)";; esac; }} >> "{log}"
exit $(cat "{folder}/$(basename "$0")-$1.exit" 2>/dev/null || echo 0)
"""
MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
PARAMETERS = read_template(TEMPLATE)["Parameters"]
# What a deployed stack needs to be asked about: its parameters, and a repository.
STACK = {
    "Parameters": {name: {"Type": "String", "Default": str(p["Default"])} for name, p in PARAMETERS.items()},
    "Resources": {"Repository": {"Type": "AWS::ECR::Repository", "Properties": {"RepositoryName": "heatmaps"}}},
    "Outputs": {"HeatmapsRepository": {"Value": {"Fn::GetAtt": ["Repository", "RepositoryUri"]}}},
}


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """The files that a deployment reads, with a bundle of a few bytes."""
    root = tmp_path / "project"
    shutil.copytree(ROOT / "functions/heatmaps", root / "functions/heatmaps")
    # The parameters of the real template are all that is read of it.
    (root / "template.yaml").write_text(json.dumps({"Parameters": PARAMETERS}))
    for path in ("shared/heatdrop/__init__.py", "shared/heatdrop/images/dicom.py"):
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text("CODE = 1\n")
    bundle = root / "build/bundles/chest-xray"
    bundle.mkdir(parents=True)
    (bundle / "model.keras").write_bytes(b"weights")
    return root


@dataclass
class Account:
    """An AWS account with or without the stack, and the programs that deploy into it."""

    project: Path
    log: Path
    folder: Path
    said: list[str] = field(default_factory=list)

    def deploy(self, *given: str, region: str | None = None) -> Deployed:
        self.log.write_text("")
        return deploy_stack(self.project, "heatdrop", region, read_parameters(given), self.said.append)

    @property
    def calls(self) -> list[str]:
        """The programs that ran, each with the word that says what it did."""
        return [" ".join(call.split()[:2]) for call in self.log.read_text().splitlines() if call[:6] != "typed "]

    @property
    def sent(self) -> dict[str, str]:
        """The parameters that the SAM CLI was told to deploy with."""
        (call,) = (call for call in self.log.read_text().splitlines() if call.startswith("sam deploy"))
        (file,) = (word.partition("file://")[2] for word in call.split() if word.startswith("--parameter-overrides="))
        return dict(yaml.safe_load(Path(file).read_text()))

    def create(self, **values: str) -> None:
        """The stack, as an earlier deployment left it."""
        parameters: Any = [{"ParameterKey": name, "ParameterValue": value} for name, value in values.items()]
        cloudformation = boto3.client("cloudformation")
        if cloudformation.list_stacks()["StackSummaries"]:
            cloudformation.update_stack(StackName="heatdrop", TemplateBody=json.dumps(STACK), Parameters=parameters)
        else:
            cloudformation.create_stack(StackName="heatdrop", TemplateBody=json.dumps(STACK), Parameters=parameters)

    def push(self, tag: str) -> None:
        """The heatmap image, as `docker push` leaves it."""
        manifest = {"schemaVersion": 2, "mediaType": MANIFEST, "config": {"digest": "sha256:" + "0" * 64}, "layers": []}
        boto3.client("ecr").put_image(repositoryName="heatmaps", imageManifest=json.dumps(manifest), imageTag=tag)

    def fail(self, program: str, word: str) -> None:
        (self.folder / f"{program}-{word}.exit").write_text("1")


@pytest.fixture
def account(project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Account]:
    programs, log = tmp_path / "bin", tmp_path / "calls"
    programs.mkdir()
    for name in ("sam", "docker"):
        (programs / name).write_text(PROGRAM.format(log=log, folder=programs))
        (programs / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-1")
    with mock_aws():
        yield Account(project, log, programs)


PUSHED = ["docker build", "docker login", "docker push"]


def test_first_deployment_makes_the_repository_before_it_pushes_into_it(account: Account) -> None:
    calls: list[str] = []

    def deployed() -> None:
        calls.extend(account.calls)
        account.create(**account.sent)

    account.deploy("MaxVcpus=32")
    assert account.calls == ["sam build", "sam deploy"]
    assert account.sent == {"MaxVcpus": "32", "HeatmapsTag": HeatmapImage(account.project, gpu=True).tag}
    deployed()
    assert account.deploy().pushed
    assert account.calls == ["sam build", *PUSHED, "sam deploy"]


def test_update_pushes_the_image_first_and_keeps_every_value_that_was_not_given(account: Account) -> None:
    account.create(MaxVcpus="32", NotifyLabel="Pneumonia, viral", CorsOrigins="", HeatmapsTag="old")
    answer = account.deploy("Samples=50")
    assert answer.pushed
    assert account.calls == ["sam build", *PUSHED, "sam deploy"]
    kept = {name: str(p["Default"]) for name, p in PARAMETERS.items()}
    changed = {"MaxVcpus": "32", "NotifyLabel": "Pneumonia, viral", "Samples": "50", "HeatmapsTag": answer.heatmaps_tag}
    assert account.sent == kept | changed


def test_running_it_again_builds_no_image_and_changes_no_parameter(account: Account) -> None:
    account.create(MaxVcpus="32")
    tag = account.deploy("Samples=50").heatmaps_tag
    first = account.sent
    account.create(**first)
    account.push(tag)
    answer = account.deploy()
    assert not answer.pushed
    assert account.calls == ["sam build", "sam deploy"]
    assert account.sent == first
    assert "--no-fail-on-empty-changeset" in account.log.read_text()


def test_deployment_that_stopped_before_the_push_goes_on_with_it(account: Account) -> None:
    account.create()
    account.fail("docker", "push")
    with pytest.raises(DeploymentFailed, match="docker push"):
        account.deploy()
    assert "sam deploy" not in account.calls, "jobs would be told to use an image that is not there"
    (account.folder / "docker-push.exit").unlink()
    assert account.deploy().pushed
    assert account.calls[-1] == "sam deploy"


@pytest.mark.parametrize(("use_gpu", "without_tensorflow"), [("true", False), ("false", True)])
def test_image_is_built_for_the_machines_that_it_runs_on(
    account: Account, use_gpu: str, without_tensorflow: bool
) -> None:
    account.create(UseGpu=use_gpu)
    account.deploy()
    (build,) = (call for call in account.log.read_text().splitlines() if call.startswith("docker build"))
    assert "--platform=linux/amd64" in build
    assert ("--build-arg=TENSORFLOW= " in build) is without_tensorflow
    tags = {HeatmapImage(account.project, gpu).tag for gpu in (True, False)}
    assert len(tags) == 2, "one tag would name the image for GPUs and that for CPUs"


def test_password_of_the_registry_is_typed_and_in_no_list_of_processes(account: Account) -> None:
    account.create()
    account.deploy()
    lines = account.log.read_text().splitlines()
    (login,) = (number for number, line in enumerate(lines) if line.startswith("docker login"))
    typed = lines[login + 1].removeprefix("typed ")
    assert typed
    assert typed not in lines[login]


def test_region_reaches_the_sam_cli(account: Account) -> None:
    account.create()
    account.deploy(region="eu-west-1")
    assert "--region=eu-west-1" in account.log.read_text()


@pytest.mark.parametrize(
    ("before", "given", "sentence"),
    [
        ({}, ["Sample=50"], "no parameter Sample"),
        ({}, ["Samples"], "write it like"),
        ({}, ["HeatmapsTag=2"], "leave it out"),
        ({"Shards": "16"}, ["Shards=8"], "may only grow"),
        ({"BundleUri": "s3://m/skin/1"}, ["BundleUri=s3://m/skin/2"], "BundlesUnder=s3://m/skin"),
        ({"BundleUri": "s3://m/skin/1", "BundlesUnder": "s3://m/ski"}, ["BundleUri=/opt/bundle"], "BundlesUnder="),
    ],
)
def test_what_would_lose_something_is_refused_before_anything_is_built(
    account: Account, before: dict[str, str], given: list[str], sentence: str
) -> None:
    account.create(**before)
    with pytest.raises(InvalidRequest, match=sentence):
        account.deploy(*given)
    assert account.calls == []


@pytest.mark.parametrize("places", [["BundlesUnder=s3://m/skin"], ["BundlesUnder="]])
def test_model_is_upgraded_once_it_is_said_what_becomes_of_the_earlier_one(account: Account, places: list[str]) -> None:
    account.create(BundleUri="s3://m/skin/1")
    account.deploy("BundleUri=s3://m/skin/2", *places)
    assert account.sent["BundleUri"] == "s3://m/skin/2"
    account.create(**account.sent)
    if places == ["BundlesUnder=s3://m/skin"]:
        account.deploy("BundleUri=s3://m/skin/3")


@pytest.mark.parametrize("missing", ["sam", "docker"])
def test_program_that_is_missing_is_named(account: Account, missing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    account.create()
    (account.folder / missing).unlink()
    monkeypatch.setenv("PATH", f"{account.folder}:/bin")
    with pytest.raises(DeploymentFailed, match=f"{missing} is not on the path"):
        account.deploy()


def changed(file: str) -> Callable[[Path], object]:
    return lambda root: (root / file).write_text((root / file).read_text() + "# changed\n")


@pytest.mark.parametrize(
    "file",
    [
        str(DOCKERFILE),
        "functions/heatmaps/requirements.txt",
        "functions/heatmaps/job.py",
        "shared/heatdrop/images/dicom.py",
        "build/bundles/chest-xray/model.keras",
    ],
)
def test_tag_changes_with_everything_that_the_image_is_made_of(project: Path, file: str) -> None:
    before = HeatmapImage(project, gpu=True).tag
    changed(file)(project)
    assert HeatmapImage(project, gpu=True).tag != before


def test_tag_does_not_depend_on_place_time_or_what_python_leaves_behind(project: Path, tmp_path: Path) -> None:
    before = HeatmapImage(project, gpu=True).tag
    elsewhere = tmp_path / "elsewhere"
    shutil.copytree(project, elsewhere)
    (elsewhere / "shared/heatdrop/__pycache__").mkdir()
    (elsewhere / "shared/heatdrop/__pycache__/dicom.pyc").write_bytes(b"compiled")
    os.utime(elsewhere / "functions/heatmaps/job.py", (0, 0))
    assert HeatmapImage(elsewhere, gpu=True).tag == before
    assert len(before) == 32


def test_bundle_that_was_not_built_is_asked_for(project: Path) -> None:
    shutil.rmtree(project / "build")
    with pytest.raises(DeploymentFailed, match="make setup"):
        _ = HeatmapImage(project, gpu=True).tag


def test_make_deploy_hands_on_stack_region_and_parameters() -> None:
    command = ["make", "--dry-run", "deploy", "STACK=xrays", "REGION=eu-west-1", "PARAMETERS=Samples=50 UseGpu=false"]
    told = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert "heatdrop deploy --stack 'xrays' \\\n  --region 'eu-west-1' --parameter 'Samples=50'" in told
    assert "--parameter 'UseGpu=false'" in told
