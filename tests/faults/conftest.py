"""The template deployed into moto with two tiny models, and what undisturbed runs make of each image."""

import io
import json
import logging
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from unittest import mock

import boto3
import numpy as np
import pytest
from moto.batch.models import Job
from PIL import Image
from tests.faults.world import World, folder
from tests.iam.recording import recorded

from heatdrop.local.deployment import deploy
from heatdrop.local.moto_cloud import MotoCloud
from heatdrop.model.bundle import Bundle, open_bundle
from heatdrop.project import TEMPLATE
from heatdrop.vocabulary import State

Digests = dict[str, str]
Expected = dict[tuple[int, str], tuple[State, Digests, Digests]]
"""What becomes of an image, by its content and the model's version: its state and the digests of its artefacts, and of
those of the explanation that is asked for."""


@pytest.fixture(scope="session")
def bundles(tiny_bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> list[Bundle]:
    """The tiny bundle, and one whose name says that it is newer."""
    newer = shutil.copytree(tiny_bundle.folder, tmp_path_factory.mktemp("bundles") / "newer")
    description = json.loads((newer / "bundle.json").read_text())
    description["model"]["version"] = "0123456789ab"
    (newer / "bundle.json").write_text(json.dumps(description))
    return [tiny_bundle, open_bundle(newer)]


@pytest.fixture(scope="session")
def contents() -> list[bytes]:
    """Two images that can be explained, and two that cannot."""
    pixels = np.random.default_rng(3).integers(0, 255, (60, 50, 3), np.uint8)
    jpeg, png = io.BytesIO(), io.BytesIO()
    Image.fromarray(pixels).save(jpeg, "JPEG")
    Image.fromarray(pixels[::-1]).save(png, "PNG")
    return [jpeg.getvalue(), png.getvalue(), b"not an image", jpeg.getvalue()[:700]]


@pytest.fixture(scope="package")
def world(bundles: list[Bundle]) -> Iterator[World]:
    """The cloud that every schedule runs in.

    moto has one state in a process, so this cloud ends before the tests of another folder begin theirs.
    """
    jobs: list[Job] = []
    with quiet_logs(), recorded(), MotoCloud(jobs.append):
        # A sweep asks every shard the same: two stand for eight, and make a third fewer calls.
        parameters = {"BundleUri": str(bundles[0].folder), "Samples": "1", "Top": "2", "UseGpu": "false", "Shards": "2"}
        deployment = deploy(TEMPLATE, parameters)
        assert boto3.client("batch").describe_job_queues()["jobQueues"]
        yield World(deployment, jobs, bundles)


@contextmanager
def quiet_logs() -> Iterator[None]:
    """Faults are what is tried here, thousands of them: nothing is logged of them."""
    logger = logging.getLogger("heatdrop")
    before = logger.level
    with mock.patch.dict(os.environ, {"POWERTOOLS_LOG_LEVEL": "CRITICAL"}):
        yield
    logger.setLevel(before)


@pytest.fixture(scope="package")
def expected(world: World, contents: list[bytes]) -> Expected:
    """The undisturbed run of every image by every model."""
    found: Expected = {}
    for model, bundle in enumerate(world.bundles):
        world.reset()
        world.model = model
        with world.running():
            for number, data in enumerate(contents):
                world.drop(data, number)
            world.calm_down()
            for number in range(len(contents)):
                world.ask(number, ())
            world.calm_down()
        for image, content in world.images().items():
            record = world.records.get(image)
            assert record.state is not State.FAILED, record.reason
            first: Digests = {}
            requested: Digests = {}
            if record.state is State.EXPLAINED:
                ((name, explanation),) = record.explanations.items()
                assert explanation.state is State.EXPLAINED
                first, requested = world.artefacts(folder(record)), world.artefacts(folder(record, name))
            found[content, bundle.model.version] = record.state, first, requested
    assert [state for state, _, _ in found.values()] == [
        *(State.EXPLAINED, State.EXPLAINED, State.REJECTED, State.REJECTED)
    ] * 2
    for state, first, requested in found.values():
        assert (len(first), len(requested)) == ((7, 7) if state is State.EXPLAINED else (0, 0))
        assert not first or first != requested
    return found
