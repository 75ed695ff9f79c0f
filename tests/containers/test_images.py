"""What the built images hold, and what they do not."""

import json
from pathlib import Path

import pytest
from tests.containers.engine import compressed_mb, run_in

pytestmark = pytest.mark.containers

INFERENCE = "inferencefunction:latest"
MOST_MB = 450


def test_inference_image_holds_no_tensorflow_and_every_codec(built: Path) -> None:
    script = """
import importlib.util, json
from pydicom.pixels import get_decoder
from pydicom.uid import JPEG2000Lossless, JPEGBaseline8Bit, JPEGLosslessSV1, RLELossless
names = ("tensorflow", "keras", "matplotlib", "ai_edge_litert", "cv2", "aws_lambda_powertools")
print(json.dumps({name: importlib.util.find_spec(name) is not None for name in names}))
print(all(get_decoder(uid).is_available for uid in (JPEG2000Lossless, JPEGBaseline8Bit, JPEGLosslessSV1, RLELossless)))
"""
    done = run_in(INFERENCE, "python", "-c", script)
    assert done.returncode == 0, done.stderr
    found, codecs = done.stdout.splitlines()
    absent = dict.fromkeys(("tensorflow", "keras", "matplotlib"), False)
    present = dict.fromkeys(("ai_edge_litert", "cv2", "aws_lambda_powertools"), True)
    assert json.loads(found) == absent | present
    assert codecs == "True"


def test_inference_image_is_small(built: Path) -> None:
    assert compressed_mb(INFERENCE) < MOST_MB


def test_inference_image_compiles_nothing_at_a_cold_start(built: Path) -> None:
    count = "find /var/task -name '*.py' | wc -l; find /var/task -name '*.pyc' | wc -l"
    sources, compiled = run_in(INFERENCE, "sh", "-c", count).stdout.split()
    assert int(sources) == int(compiled) > 0


def test_decoder_is_guarded_where_nothing_can_be_written_and_no_memory_is_shared(
    built: Path, chest_dicom: Path
) -> None:
    script = """
import os, signal
from pathlib import Path
import cv2, numpy as np
from heatdrop.errors import RejectedImage
from heatdrop.images.guarded import GuardedDecoder
print(Path("/dev/shm").exists(), os.access("/var/task", os.W_OK))
chest = Path("/mnt/chest.dcm").read_bytes()
with GuardedDecoder() as decoder:
    print(decoder.decode(chest).pixels.shape)
    os.kill(decoder.start(), signal.SIGKILL)
    print(decoder.decode(chest).pixels.shape)
large = cv2.imencode(".png", np.zeros((9000, 9000, 3), np.uint8))[1].tobytes()
with GuardedDecoder(memory_bytes=150 << 20) as decoder:
    try:
        print(decoder.decode(large))
    except RejectedImage:
        print("rejected")
    print(decoder.decode(chest, at_least=(160, 160)).width)
"""
    # As Lambda runs it: a user without rights, a file system that is read-only, no /dev/shm.
    options = ("--read-only", "--user", "993:990", "--ipc", "none", "--volume", f"{chest_dicom}:/mnt/chest.dcm:ro")
    done = run_in(INFERENCE, "python", "-c", script, options=options)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["False False", "(1955, 1841, 3)", "(1955, 1841, 3)", "rejected", "1841"]


def test_heatmap_image_runs_as_a_user_without_rights(heatmaps_image: str) -> None:
    assert run_in(heatmaps_image, "id", "-u").stdout.strip() not in {"", "0"}


def test_heatmap_image_for_cpus_explains_without_tensorflow(heatmaps_image: str) -> None:
    script = """
import importlib.util
from pathlib import Path
from heatdrop.explaining.explainer import Explainer
from heatdrop.model.bundle import open_bundle
from heatdrop.vocabulary import ExplanationSettings
Explainer(open_bundle(Path('/opt/bundle')), ExplanationSettings())
print(importlib.util.find_spec('tensorflow'))
"""
    done = run_in(heatmaps_image, "python", "-c", script)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["None"]


def test_layer_holds_the_package_without_what_only_images_need(built: Path) -> None:
    layer = built / "HeatdropLayer" / "python"
    assert (layer / "heatdrop" / "aws" / "record.py").exists()
    assert (layer / "aws_lambda_powertools").exists()
    for absent in ("cv2", "numpy", "tensorflow", "boto3"):
        assert not (layer / absent).exists()
