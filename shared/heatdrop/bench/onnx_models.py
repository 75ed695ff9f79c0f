"""Models of PyTorch's libraries, exported to ONNX, beside what PyTorch, ONNX Runtime and Captum make of them."""

import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from heatdrop.bench.environments import Environment, python_of
from heatdrop.bench.measurements import cosine, relative_l2
from heatdrop.bench.torch_reference import SAMPLES, reference_noise
from heatdrop.errors import ContenderFailed
from heatdrop.model.onnx_reading import read_onnx
from heatdrop.saliency import smoothgrad
from heatdrop.saliency.tensorflow_engine import engine_of

_ONNX = ("onnx==1.23.2", "onnxscript==0.7.2", "onnxruntime==1.32.0", "captum==0.9.0")
_LIBRARIES = ("torchvision==0.29.1", "timm==1.0.31", "monai==1.6.1", "torchxrayvision==1.5.7")
ENVIRONMENT = Environment("torch-models", ("torch==2.14.1", *_LIBRARIES, *_ONNX), False)


def write_models(folder: Path, names: list[str], say: Callable[[str], None]) -> None:
    """Export the models that are named, or all, and write what PyTorch and Captum make of them to ``folder``.

    Raises:
        PeerUnavailable: the libraries cannot be installed.
        ContenderFailed: an export failed.
    """
    python = python_of(ENVIRONMENT, say)
    package = Path(__file__).parents[2]
    command = [str(python), "-m", "heatdrop.bench.peers.torch_models", str(folder), *names]
    done = subprocess.run(  # noqa: S603
        command, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(package)}
    )
    if done.returncode:
        raise ContenderFailed(f"the export ended: {(done.stderr.strip().splitlines() or ['no message'])[-1]}")


def compare(model: Path) -> dict[str, Any]:
    """Read an exported model, and compare it with the ``.npz`` that was written beside it.

    Returns:
        The greatest difference of an output (``outputs``), and ``cosine`` and ``relative_l2`` of the worst map.
    """
    with np.load(model.parent / f"{model.name.partition('.')[0]}.npz") as saved:
        reference = dict(saved)
    image = reference["image"].transpose(1, 2, 0)
    noise = reference_noise(reference["image"].shape).transpose(0, 2, 3, 1)
    read = read_onnx(model)
    outputs = read(image[None], training=False).numpy()[0]
    found = smoothgrad(engine_of(read), image[None], [reference["classes"]], samples=SAMPLES, noise=noise[:, None])
    maps = found.maps["mean_abs"][0]
    return {
        "outputs": float(np.abs(outputs - reference["outputs"]).max()),
        "cosine": cosine(maps, reference["maps"]),
        "relative_l2": relative_l2(maps, reference["maps"]),
    }
