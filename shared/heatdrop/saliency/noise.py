"""Noise that depends on (seed, image, sample number) and on nothing else.

Sample i of an image is the same whatever batch it is computed in, in whatever order, on whichever worker or retry.
"""

import hashlib

import numpy as np
from numpy.typing import NDArray


def image_key(image: NDArray[np.float32]) -> int:
    """64 bits that name a preprocessed image (H, W, C) by its content and shape."""
    digest = hashlib.sha256(repr(image.shape).encode() + np.ascontiguousarray(image, "<f4").tobytes()).digest()
    return int.from_bytes(digest[:8], "little")


def standard_normals(shape: tuple[int, ...], *, seed: int, key: int, first: int, count: int) -> NDArray[np.float32]:
    """Standard normals (count, *shape) for the samples ``first`` to ``first + count - 1`` of the image ``key``.

    Philox is counter-based (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011): a sample's
    number is the highest word of the counter, so the samples' streams never meet.
    """
    noise = np.empty((count, *shape), np.float32)
    for index in range(count):
        stream = np.random.Philox(key=np.array([seed, key], np.uint64), counter=[0, 0, 0, first + index])
        np.random.Generator(stream).standard_normal(dtype=np.float32, out=noise[index])
    return noise
