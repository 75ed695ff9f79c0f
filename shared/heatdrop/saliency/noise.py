"""Noise that depends on (seed, image, sample number) and on nothing else.

Sample i of an image is the same whatever batch it is computed in, in whatever order, on whichever worker or retry.
Philox is counter-based (Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011): the
sample's number is a word of the counter, so the samples' streams never meet.
"""

import hashlib
from collections.abc import Callable
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

Float = NDArray[np.float32]

Sampling = Literal["stratified", "independent"]
SAMPLINGS: tuple[Sampling, ...] = get_args(Sampling)

STRATA = 5
"""Samples in a block of stratified noise: as many as there are strata. Prime, so that multiplying by a number modulo
it permutes the strata."""

BLOCK: dict[Sampling, int] = {"stratified": STRATA, "independent": 1}
"""How many consecutive samples depend on each other."""

# The second word of Philox's counter keeps the streams for these three uses apart.
_NORMALS, _WITHIN_STRATA, _PERMUTATIONS = range(3)


def image_key(image: Float) -> int:
    """64 bits that name a preprocessed image (H, W, C) by its content and shape."""
    digest = hashlib.sha256(repr(image.shape).encode() + np.ascontiguousarray(image, "<f4").tobytes()).digest()
    return int.from_bytes(digest[:8], "little")


def standard_normals(
    shape: tuple[int, ...], *, seed: int, key: int, first: int, count: int, sampling: Sampling
) -> Float:
    """Standard normals (count, *shape) for the samples ``first`` to ``first + count - 1`` of the image ``key``."""
    draw = _DRAWS[sampling]
    noise = np.empty((count, *shape), np.float32)
    for position in range(count):
        noise[position] = draw(shape, seed, key, first + position)
    return noise


def _independent(shape: tuple[int, ...], seed: int, key: int, index: int) -> Float:
    return _stream(seed, key, _NORMALS, index).standard_normal(shape, np.float32)


def _stratified(shape: tuple[int, ...], seed: int, key: int, index: int) -> Float:
    """A Latin hypercube over the samples of a block, drawn anew for every block.

    In each pixel the samples of a block fall one each into the equally probable strata of the normal distribution
    (McKay, Beckman, Conover, Technometrics 21, 1979). The pixel's permutation is i -> a * i + b modulo ``STRATA``
    with random a and b: any two samples meet as they would under a random permutation, which is all that the
    variance of a mean depends on, and no sample needs the others.
    """
    block, position = divmod(index, STRATA)
    pick = _stream(seed, key, _PERMUTATIONS, block).integers(STRATA * (STRATA - 1), size=shape, dtype=np.uint8)
    stratum = ((pick // STRATA + 1) * position + pick % STRATA) % STRATA
    within = _stream(seed, key, _WITHIN_STRATA, index).integers(2**32, size=shape, dtype=np.uint32)
    normals: Float = ndtri((stratum + (within + 0.5) / 2**32) / STRATA).astype(np.float32)
    return normals


def _stream(seed: int, key: int, purpose: int, index: int) -> np.random.Generator:
    return np.random.Generator(np.random.Philox(key=np.array([seed, key], np.uint64), counter=[0, 0, purpose, index]))


_DRAWS: dict[Sampling, Callable[[tuple[int, ...], int, int, int], Float]] = {
    "stratified": _stratified,
    "independent": _independent,
}
