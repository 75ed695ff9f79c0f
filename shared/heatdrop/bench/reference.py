"""Writes maps computed by Captum into a small file, so that tests can compare with them without torch."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from heatdrop.bench.contenders import PEERS
from heatdrop.bench.process import Process
from heatdrop.bench.subjects import SMALL, prepare

SAMPLES, CLASSES = 8, 3


def reference_noise(shape: tuple[int, ...]) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    """The noise used for the reference: standard normals of (SAMPLES, *shape)."""
    return np.random.Generator(np.random.Philox(key=23)).standard_normal((SAMPLES, *shape), np.float32)


def write_reference(file: Path, scratch: Path, say: Callable[[str], None]) -> None:
    """Let Captum explain a radiograph with ``subjects.fixed_model`` and write its maps (K, H, W).

    Raises:
        PeerUnavailable: Captum cannot be installed.
    """
    subject = prepare(SMALL, 64, None, 1, scratch)
    captum = next(peer for peer in PEERS if peer.name == "captum")
    image = subject.images[0]
    with Process(captum, subject.folder, say) as process:
        maps = process.explain(image, list(range(CLASSES)), SAMPLES, reference_noise(image.shape)).maps
    np.savez_compressed(file, maps=maps, image=image, made_with=np.array("captum 0.9.0, torch 2.13.0"))
