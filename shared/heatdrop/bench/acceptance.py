"""The whole of a deployed stack, tried by a program: every way that an image can take, and how long each took.

The same script runs against an AWS account and against the cloud of this machine. What it drops lies under a prefix of
its own and is erased at the end.
"""

import json
import time
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3
from botocore.exceptions import BotoCoreError, ClientError

from heatdrop.api.client import ApiClient
from heatdrop.aws.doctor import DeployedStack, Verdict, examine
from heatdrop.aws.image_table import ImageTable
from heatdrop.aws.item_table import ItemTable
from heatdrop.aws.queues import DropQueue
from heatdrop.aws.storage import put_drop
from heatdrop.errors import HeatdropError, NotAccepted
from heatdrop.ids import image_id
from heatdrop.pipeline.erasing import Eraser
from heatdrop.pipeline.redrive import failed_images, redrive
from heatdrop.text import counted
from heatdrop.vocabulary import Drop, FrozenModel, State

if TYPE_CHECKING:
    from mypy_boto3_cloudformation.client import CloudFormationClient
    from mypy_boto3_cloudformation.type_defs import ParameterTypeDef
    from mypy_boto3_s3.client import S3Client

_PNG = b"\x89PNG"
_POLL_SECONDS = 1.0


class Step(FrozenModel):
    """How one step went."""

    name: str
    passed: bool | None
    """None where it was skipped."""
    seconds: float
    sentence: str


class _Skipped(Exception):
    """A step that cannot be tried here, and why."""


@dataclass
class Trial:
    """One run over one stack, and what its steps have found so far.

    Attributes:
        image: a sound picture; two copies of it and a broken file are dropped.
        patience: seconds that an image may take to reach its final state.
        second_bundle: the ``s3://`` address of another model's bundle, to try an upgrade with.
    """

    stack: DeployedStack
    api: ApiClient
    image: Path
    patience: float
    second_bundle: str | None = None
    prefix: str = field(default_factory=lambda: f"acceptance/{uuid.uuid4().hex[:12]}/")
    explained: dict[str, Any] = field(default_factory=dict)

    def put(self, name: str, content: bytes) -> str:
        """Drop a file under the prefix of this run; returns the id of its image."""
        s3: S3Client = boto3.client("s3")
        return image_id(put_drop(s3, self.stack.outputs["InputBucket"], self.prefix + name, content))

    def until(self, image: str, done: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """Ask the API for an image until ``done``.

        Raises:
            NotAccepted: it was not within the patience.
        """
        deadline = time.monotonic() + self.patience
        answer: dict[str, Any] = {"state": "not known"}
        while time.monotonic() < deadline:
            # An image that was just dropped has no record yet.
            answer = next((i for i in self.api.images(prefix=self.prefix) if i["image_id"] == image), answer)
            if "key" in answer:
                answer = self.api.get("images", image)
                if done(answer):
                    return answer
            time.sleep(_POLL_SECONDS)
        raise NotAccepted(f"image {image} is {answer['state']} after {self.patience:.0f} s")

    def final(self, image: str, expected: State) -> dict[str, Any]:
        """Wait until an image is final.

        Raises:
            NotAccepted: it ended in another state than ``expected``, or not at all.
        """
        found = self.until(image, lambda answer: State(answer["state"]).final)
        if found["state"] != expected:
            raise NotAccepted(f"{found['key']} is {found['state']}: {found['reason']}")
        return found


def _doctor(trial: Trial) -> str:
    findings = list(examine(trial.stack))
    problems = [finding.sentence for finding in findings if finding.verdict is Verdict.PROBLEM]
    if problems:
        raise NotAccepted("; ".join(problems))
    unknown = sum(finding.verdict is Verdict.UNKNOWN for finding in findings)
    return f"{len(findings)} findings and no problem" + (f", {unknown} could not be looked at" if unknown else "")


def _drop(trial: Trial) -> str:
    content = trial.image.read_bytes()
    sound, broken = trial.put(f"sound-{trial.image.name}", content), trial.put("broken.png", content[:100])
    trial.explained = trial.final(sound, State.EXPLAINED)
    rejected = trial.final(broken, State.REJECTED)
    took = sum(trial.explained["timings_ms"].values()) / 1000
    best = trial.explained["predictions"][0]
    return f"{best['label']} {best['score']:.3f}, {took:.1f} s of work; a broken file is rejected: {rejected['reason']}"


def _link(trial: Trial) -> str:
    heatmaps = _of(trial)["heatmaps"]
    sizes = [_fetch(trial, "images", trial.explained["image_id"], "heatmaps", heatmap["label"]) for heatmap in heatmaps]
    return f"{counted(len(sizes), 'overlay')} fetched, {sum(sizes) / 1000:.0f} kB"


def _explanation(trial: Trial) -> str:
    return _explain_again(trial, seed=1)


def _upgrade(trial: Trial) -> str:
    if trial.second_bundle is None:
        raise _Skipped("name another model's bundle with --second-bundle to try it")
    if trial.stack.local:
        raise _Skipped("a local cloud has one bundle for as long as it runs")
    before = _of(trial)["model"]
    cloudformation: CloudFormationClient = boto3.client("cloudformation")
    parameters: list[ParameterTypeDef] = [{"ParameterKey": "BundleUri", "ParameterValue": trial.second_bundle}]
    for name in trial.stack.parameters.keys() - {"BundleUri"}:
        parameters.append({"ParameterKey": name, "UsePreviousValue": True})
    cloudformation.update_stack(
        StackName=trial.stack.name,
        UsePreviousTemplate=True,
        Parameters=parameters,
        Capabilities=["CAPABILITY_IAM", "CAPABILITY_AUTO_EXPAND"],
    )
    cloudformation.get_waiter("stack_update_complete").wait(StackName=trial.stack.name)
    again = trial.final(trial.put(f"upgraded-{trial.image.name}", trial.image.read_bytes()), State.EXPLAINED)
    if again["model"] == before:
        raise NotAccepted(f"the model is still {before['name']} {before['version']}")
    # What the old model predicted is explained with the old model.
    return f"now {again['model']['name']} {again['model']['version']}; the older image: {_explain_again(trial, seed=2)}"


def _redrive(trial: Trial) -> str:
    outputs = trial.stack.outputs
    table, drops = ImageTable(ItemTable(outputs["ImagesTable"])), DropQueue(outputs["IngestQueue"])
    # A drop is told of before its object is there: it fails. With the object there, its second attempt succeeds.
    early = Drop(bucket=outputs["InputBucket"], key=f"{trial.prefix}early-{trial.image.name}", etag="none-yet")
    drops.send(early)
    failed = trial.final(image_id(early), State.FAILED)
    trial.put(f"early-{trial.image.name}", trial.image.read_bytes())
    redrive(failed_images(table, [image_id(early)]), table, drops)
    trial.final(image_id(early), State.EXPLAINED)
    return f"FAILED ({failed['reason']}), then EXPLAINED"


def _erase(trial: Trial) -> str:
    eraser = Eraser.of_stack(trial.stack.outputs)
    found = eraser.of_prefix(trial.prefix)
    eraser.erase(found)
    left = {kind: count for kind, count in eraser.of_prefix(trial.prefix).counts.items() if count}
    if left:
        raise NotAccepted(f"of what was erased, {left} is left")
    return ", ".join(counted(count, kind.replace("_", " ").removesuffix("s")) for kind, count in found.counts.items())


STEPS: dict[str, Callable[[Trial], str]] = {
    "doctor": _doctor,
    "drop": _drop,
    "links": _link,
    "explanation on request": _explanation,
    "upgrade of the model": _upgrade,
    "redrive": _redrive,
    "erase": _erase,
}


def accept(trial: Trial) -> Iterator[Step]:
    """Go through every step, also behind one that failed: what was dropped is erased in any case."""
    for name, attempt in STEPS.items():
        started = time.perf_counter()
        passed: bool | None = True
        try:
            sentence = attempt(trial)
        except _Skipped as reason:
            passed, sentence = None, str(reason)
        except (HeatdropError, BotoCoreError, ClientError, OSError) as error:
            passed, sentence = False, str(error)
        seconds = round(time.perf_counter() - started, 1)
        yield Step(name=name, passed=passed, seconds=seconds, sentence=sentence)


def _of(trial: Trial) -> dict[str, Any]:
    if not trial.explained:
        raise _Skipped("no image was explained before")
    return trial.explained


def _explain_again(trial: Trial, seed: int) -> str:
    image = _of(trial)["image_id"]
    asked = trial.api.post("images", image, "explanations", body={"samples": 2, "seed": seed})
    name = asked["explanation_id"]
    answer = trial.until(image, lambda found: State(found["explanations"][name]["state"]).final)
    settled = answer["explanations"][name]
    if settled["state"] != State.EXPLAINED:
        raise NotAccepted(f"the explanation on request is {settled['state']}: {settled['reason']}")
    label = settled["heatmaps"][0]["label"]
    size = _fetch(trial, "images", image, "heatmaps", label, explanation=name)
    return f"{counted(len(settled['heatmaps']), 'heatmap')} with seed {seed}, the first has {size / 1000:.0f} kB"


def _fetch(trial: Trial, *path: str, **query: str) -> int:
    """Follow a link that the API gives, as a browser would, to a picture; returns its bytes."""
    url = trial.api.get(*path, **query)["url"]
    with urllib.request.urlopen(url, timeout=60) as answer:  # noqa: S310 (a link that the API signed)
        content: bytes = answer.read()
    if not content.startswith(_PNG):
        raise NotAccepted(f"{json.dumps(path)} is no PNG")
    return len(content)
