"""Builds and deploys the stack, and keeps every parameter that nobody asked to change."""

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from heatdrop.aws.registry import ImageRepository
from heatdrop.aws.stack import find_stack
from heatdrop.deploying.heatmap_image import HeatmapImage
from heatdrop.deploying.programs import run_program
from heatdrop.errors import InvalidRequest
from heatdrop.local.transform import read_template

PARAMETERS_FILE = Path("build/deploy/parameters.yaml")
_TAG = "HeatmapsTag"


@dataclass(frozen=True)
class Stack:
    """The parameters that a stack was deployed with, and its outputs; both by name."""

    parameters: dict[str, str]
    outputs: dict[str, str]

    @classmethod
    def find(cls, name: str) -> Self | None:
        """The stack as it is now, or None where there is none.

        Raises:
            CloudUnreachable: AWS cannot be asked.
        """
        described = find_stack(name)
        if described is None:
            return None
        return cls(
            parameters={p["ParameterKey"]: p.get("ParameterValue", "") for p in described.get("Parameters", [])},
            outputs={output["OutputKey"]: output["OutputValue"] for output in described.get("Outputs", [])},
        )


@dataclass(frozen=True)
class Deployed:
    """What a deployment did: the stack as it is now, and whether a heatmap image was pushed for it."""

    outputs: dict[str, str]
    heatmaps_tag: str
    pushed: bool


def deploy_stack(
    root: Path, name: str, region: str | None, given: Mapping[str, str], say: Callable[[str], None]
) -> Deployed:
    """Bring a stack to the state of the project's files in ``root``; running it again changes nothing.

    Parameters that are not ``given`` keep the values that the stack has.

    Raises:
        InvalidRequest: a given parameter is none of the template's, or would lose something.
        DeploymentFailed: a step failed. What was done before it stays, and running it again goes on from there.
        CloudUnreachable: AWS cannot be asked.
    """
    defaults = {
        parameter: str(described["Default"])
        for parameter, described in read_template(root / "template.yaml")["Parameters"].items()
    }
    stack = Stack.find(name)
    values = _wanted(defaults, stack, given)
    image = HeatmapImage(root, gpu=(defaults | values)["UseGpu"] == "true")
    values[_TAG] = image.tag

    say("building the functions")
    run_program(["sam", "build"], root)
    # The image goes first, so that no job is told to use one that is not there. The first time there is no repository
    # before the stack, and no job either.
    pushed = _push(image, stack, say) if stack else False
    say(f"deploying the stack {name}")
    _sam_deploy(root, name, region, values)
    if stack is None:
        stack = Stack.find(name)
        pushed = _push(image, stack, say) if stack else False
    return Deployed(stack.outputs if stack else {}, image.tag, pushed)


def read_parameters(texts: Iterable[str]) -> dict[str, str]:
    """Parameters from texts like ``Name=value``.

    Raises:
        InvalidRequest: a text is not like that.
    """
    given = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not (name and equals):
            raise InvalidRequest(f"{text!r} is no parameter; write it like MaxVcpus=32")
        given[name] = value
    return given


def _wanted(defaults: Mapping[str, str], stack: Stack | None, given: Mapping[str, str]) -> dict[str, str]:
    """The values to deploy with: those of the stack, and over them those that were given."""
    unknown = sorted(given.keys() - defaults.keys())
    if unknown:
        raise InvalidRequest(f"the template has no parameter {unknown[0]}; it has {', '.join(sorted(defaults))}")
    if _TAG in given:
        raise InvalidRequest(f"{_TAG} follows from the content of the heatmap image; leave it out")
    kept = stack.parameters if stack else {}
    values = {name: value for name, value in kept.items() if name in defaults} | dict(given)
    _refuse_losses(kept, {**defaults, **values}, given)
    return values


def _refuse_losses(before: Mapping[str, str], after: Mapping[str, str], given: Mapping[str, str]) -> None:
    """Refuse what would make images of before unreadable without anybody noticing."""
    if int(after["Shards"]) < int(before.get("Shards", 0)):
        raise InvalidRequest(
            f"Shards is {before['Shards']} and may only grow: with {after['Shards']}, the images of all other shards "
            "would be in no list any more"
        )
    earlier = before.get("BundleUri", "")
    moved = earlier.startswith("s3://") and earlier != after["BundleUri"]
    if moved and "BundlesUnder" not in given and not _lies_under(earlier, after["BundlesUnder"]):
        raise InvalidRequest(
            f"images that were classified by {earlier} can be explained only while jobs may read it: give "
            f"BundlesUnder={earlier.rpartition('/')[0]} too, or BundlesUnder= to do without"
        )


def _lies_under(uri: str, place: str) -> bool:
    return bool(place) and f"{uri}/".startswith(f"{place}/")


def _push(image: HeatmapImage, stack: Stack, say: Callable[[str], None]) -> bool:
    pushed = image.push_unless_there(ImageRepository(stack.outputs["HeatmapsRepository"]))
    say(f"the heatmap image {image.tag} " + ("was pushed" if pushed else "is there already"))
    return pushed


def _sam_deploy(root: Path, name: str, region: str | None, values: Mapping[str, str]) -> None:
    # In a file, since the SAM CLI reads its command line word by word. It takes YAML, and JSON is YAML too.
    file = root / PARAMETERS_FILE
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(dict(sorted(values.items())), indent=1))
    command = ["sam", "deploy", f"--stack-name={name}", f"--parameter-overrides=file://{file}"]
    command += [f"--region={region}"] if region else []
    command += ["--capabilities=CAPABILITY_IAM", "--resolve-s3", "--resolve-image-repos"]
    run_program([*command, "--no-confirm-changeset", "--no-fail-on-empty-changeset"], root)
