"""What the references of models of PyTorch are made with: known to both sides, and so without torch or TensorFlow."""

import numpy as np
from numpy.typing import NDArray

SAMPLES, NOISE_LEVEL, CLASSES = 8, 0.2, 2


def reference_noise(shape: tuple[int, ...]) -> NDArray[np.float32]:
    """The noise of the maps: standard normals of (SAMPLES, *shape), where ``shape`` is (C, H, W)."""
    return np.random.Generator(np.random.Philox(key=29)).standard_normal((SAMPLES, *shape), np.float32)
