"""What each part may load: prediction without TensorFlow, the core without AWS, the settling without images."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from heatdrop.model.bundle import Bundle

ROOT = Path(__file__).parents[2]
HEAVY = {"tensorflow", "keras", "matplotlib", "sklearn"}
AWS = {"boto3", "botocore", "aws_lambda_powertools", "moto"}


def loaded_by(statement: str, **environment: str) -> set[str]:
    """The top-level modules of a fresh process after ``statement``."""
    script = f"{statement}\nimport json, sys\nprint(json.dumps(sorted({{m.split('.')[0] for m in sys.modules}})))"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, env=os.environ | environment, check=False
    )
    assert done.returncode == 0, done.stderr
    return set(json.loads(done.stdout.splitlines()[-1]))


def function(name: str, file: str) -> str:
    return f"import sys; sys.path.insert(0, {str(ROOT / 'functions' / name)!r}); import {file}"


ENVIRONMENT = {
    "AWS_DEFAULT_REGION": "eu-central-1",
    "AWS_ACCESS_KEY_ID": "none",
    "AWS_SECRET_ACCESS_KEY": "none",
    "POWERTOOLS_METRICS_NAMESPACE": "Heatdrop",
    "POWERTOOLS_SERVICE_NAME": "test",
    "IMAGES_TABLE": "t",
    "RESULTS_BUCKET": "r",
    "NOTIFICATIONS_TOPIC": "n",
    "INPUT_BUCKET": "i",
    "INGEST_QUEUE": "https://sqs.eu-central-1.amazonaws.com/1/q",
    "JOB_QUEUE": "q",
    "REQUEST_JOB_QUEUE": "q",
    "JOB_DEFINITION": "d",
    "PAGE_TOKEN_SECRET": "s",
    "LINK_SECONDS": "300",
    "TOP": "3",
    "SAMPLES": "20",
    "NOISE_LEVEL": "0.2",
    "ESTIMATOR": "mean_abs",
    "DICOM": "false",
    "METHOD": "smoothgrad",
    "MAX_BYTES": "1000",
    "MAX_PIXELS": "1000",
    "STUCK_AFTER_MINUTES": "60",
}


def test_the_inference_function_loads_no_tensorflow(small_bundle: Bundle) -> None:
    modules = loaded_by(function("inference", "app"), BUNDLE_URI=str(small_bundle.folder), **ENVIRONMENT)
    assert "ai_edge_litert" in modules
    assert not modules & HEAVY


@pytest.mark.parametrize("method", ["smoothgrad", "gradcam"])
def test_heatmaps_are_made_without_tensorflow(small_bundle: Bundle, chest_jpeg: Path, method: str) -> None:
    modules = loaded_by(
        "from pathlib import Path; from heatdrop.explaining import explainer, files, output_folder\n"
        "from heatdrop.images import Limits; from heatdrop.model.bundle import open_bundle\n"
        "from heatdrop.saliency.parallelism import run_batches_in_parallel; run_batches_in_parallel()\n"
        "from heatdrop.vocabulary import ExplanationSettings\n"
        f"settings = ExplanationSettings(method={method!r}, samples=2)\n"
        f"made = explainer.Explainer(open_bundle(Path({str(small_bundle.folder)!r})), settings, Limits())\n"
        f"data = Path({str(chest_jpeg)!r}).read_bytes()\n"
        "assert made.explain(data, files.Classifier(made.bundle).classify(files.images.decode(data))).heatmaps"
    )
    assert "matplotlib" in modules
    assert not modules & {"tensorflow", "keras", "tf_keras_vis"}


def test_the_heatmap_job_loads_no_tensorflow_before_it_needs_it() -> None:
    assert not loaded_by("import heatdrop.pipeline.heatmaps") & {"tensorflow", "keras", "tf_keras_vis"}


def test_the_job_events_function_loads_nothing_of_images_or_models() -> None:
    modules = loaded_by(function("job_events", "app"), **ENVIRONMENT)
    assert "boto3" in modules
    assert not modules & (HEAVY | {"cv2", "numpy", "ai_edge_litert", "pydicom"})


def test_the_api_function_loads_nothing_of_images_or_models() -> None:
    modules = loaded_by(function("api", "app"), **ENVIRONMENT)
    assert "boto3" in modules
    assert not modules & (HEAVY | {"cv2", "numpy", "ai_edge_litert", "pydicom"})


@pytest.mark.parametrize("module", ["heatdrop.cli.app", "heatdrop.explaining.files", "heatdrop.model.default"])
def test_classifying_on_the_command_line_loads_neither_tensorflow_nor_aws(module: str) -> None:
    assert not loaded_by(f"import {module}") & (HEAVY | AWS)


def test_asking_the_command_line_for_help_loads_what_it_prints_with_and_no_more() -> None:
    modules = loaded_by("import heatdrop.cli.app")
    assert "typer" in modules
    assert not modules & (HEAVY | AWS | {"cv2", "pydicom", "werkzeug"})


def test_the_core_loads_nothing_of_aws() -> None:
    rooms = ("explaining", "images", "model", "saliency", "trust")
    files = [path for room in rooms for path in (ROOT / "shared/heatdrop" / room).glob("*.py")]
    core = [f"heatdrop.{path.parent.name}.{path.stem}" for path in files if path.stem != "decoding_process"]
    modules = loaded_by(f"import {', '.join(core)}")
    assert "tensorflow" in modules  # the process did load them
    assert not modules & AWS


def test_importing_the_package_loads_nothing_else() -> None:
    modules = loaded_by("import heatdrop, heatdrop.errors")
    assert not modules & (HEAVY | AWS | {"cv2", "numpy", "pydantic", "rich", "typer"})
