"""The real template deployed into moto, and the real handlers loaded in this process.

Nothing moves by itself here: a test drops, makes the event from the samples in ``events/``, and calls the handler.
"""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from moto.batch.models import Job
from tests.iam.recording import recorded
from tests.integration.cloud import Cloud, cloud_of

from heatdrop.local.deployment import deploy
from heatdrop.local.moto_cloud import MotoCloud
from heatdrop.model.bundle import Bundle
from heatdrop.project import TEMPLATE


@pytest.fixture(scope="package")
def jobs() -> list[Job]:
    """The jobs that were submitted so far."""
    return []


@pytest.fixture(scope="package")
def local_aws(jobs: list[Job]) -> Iterator[MotoCloud]:
    """The cloud that everything is deployed into.

    moto has one state in a process, so this cloud ends before the tests of another folder begin theirs.
    """
    with recorded(), MotoCloud(jobs.append) as aws:
        yield aws


@pytest.fixture(scope="package")
def cloud(small_bundle: Bundle, local_aws: MotoCloud, jobs: list[Job]) -> Cloud:
    """The deployed template with the small model; two noisy samples are enough here."""
    parameters = {
        "BundleUri": str(small_bundle.folder),
        "BundlesUnder": "s3://earlier-models",
        "Samples": "2",
        "MaxBytes": "20000000",
        "UseGpu": "false",
    }
    return cloud_of(deploy(TEMPLATE, parameters), jobs)


@pytest.fixture(scope="session")
def chest(chest_jpeg: Path) -> bytes:
    """A real chest radiograph as a JPEG."""
    return chest_jpeg.read_bytes()


@pytest.fixture
def newer_bundle(bundle_copy: Path) -> Path:
    """The small bundle as it would be after another training, as far as its name goes."""
    description = json.loads((bundle_copy / "bundle.json").read_text())
    description["model"]["version"] = "0123456789ab"
    (bundle_copy / "bundle.json").write_text(json.dumps(description))
    return bundle_copy
