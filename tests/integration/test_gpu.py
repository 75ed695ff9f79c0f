"""A job that was promised a GPU does not go on without one."""

import os
import subprocess
import sys
from unittest import mock

import pytest
import tensorflow as tf
from tests.integration.cloud import Cloud

from heatdrop.errors import GpuMissing
from heatdrop.local.moto_cloud import MotoCloud
from heatdrop.model import gpu
from heatdrop.project import TEMPLATE
from heatdrop.vocabulary import State


@pytest.fixture(autouse=True)
def no_gpus() -> object:
    """The tests run on any machine."""
    with mock.patch.object(tf.config, "list_physical_devices", return_value=[]) as devices:
        yield devices


def test_job_without_its_gpu_fails_its_images_and_says_what_to_do(cloud: Cloud, chest: bytes) -> None:
    drop = cloud.put(chest)
    cloud.infer(drop)
    with (
        mock.patch.dict(cloud.job_environment, {"REQUIRE_GPU": "true"}),
        pytest.raises(GpuMissing, match="UseGpu=false"),
    ):
        cloud.heatmap_job().run(cloud.manifest(drop)[0])
    record = cloud.record(drop)
    assert record.state is State.FAILED
    assert "UseGpu=false" in record.reason


def test_job_that_was_promised_none_runs_on_the_cpu() -> None:
    assert gpu.find_gpus(required=False) == ()


def test_gpus_are_named() -> None:
    tf.config.list_physical_devices.return_value = ["the first"]
    with mock.patch.object(tf.config.experimental, "get_device_details", return_value={"device_name": "NVIDIA T4"}):
        assert gpu.find_gpus(required=True) == ("NVIDIA T4",)


def test_entry_point_says_it_in_a_sentence(cloud: Cloud, chest: bytes, local_aws: MotoCloud) -> None:
    drop = cloud.put(chest)
    cloud.infer(drop)
    done = subprocess.run(
        [sys.executable, "job.py", "--manifest", cloud.manifest(drop)[0]],
        cwd=TEMPLATE.parent / "functions/heatmaps",
        env=local_aws.child_environment(cloud.job_role_arn)
        | cloud.job_environment
        | {"REQUIRE_GPU": "true", "CUDA_VISIBLE_DEVICES": "", "TF_CPP_MIN_LOG_LEVEL": "3", "PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "promised a GPU" in done.stdout
    assert "Traceback" not in done.stdout + done.stderr
