"""How alike two maps are, and intervals for means. SciPy and scikit-image do the arithmetic."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import spearmanr
from skimage.metrics import structural_similarity

Map = NDArray[np.float32]

BOOTSTRAP_ROUNDS = 2000


def rank_correlation(first: Map, second: Map) -> float:
    """Spearman's rank correlation of two maps (H, W); 0 when one of them is constant."""
    if np.ptp(first) == 0 or np.ptp(second) == 0:
        return 0.0
    return float(spearmanr(first.ravel(), second.ravel()).statistic)


def similarity(first: Map, second: Map) -> float:
    """SSIM (Wang, Bovik, Sheikh, Simoncelli, 2004) of two maps (H, W), each scaled to 0..1; 0 when one is constant."""
    if np.ptp(first) == 0 or np.ptp(second) == 0:
        return 0.0
    scaled = [(m - m.min()) / np.ptp(m) for m in (first, second)]
    return float(structural_similarity(*scaled, data_range=1.0))


def complexity(raw: Map, bins: int = 100) -> float:
    """The entropy, in bits, of a histogram of a map's values: 0 for a constant map."""
    if np.ptp(raw) == 0:
        return 0.0
    counts, _ = np.histogram(raw, bins)
    shares = counts[counts > 0] / raw.size
    return float(-(shares * np.log2(shares)).sum())


def with_interval(values: ArrayLike, seed: int = 0) -> tuple[float, float, float]:
    """The mean of independent ``values`` with its 95 % percentile-bootstrap interval."""
    numbers = np.asarray(values, np.float64)
    random = np.random.default_rng(seed)
    means = numbers[random.integers(0, len(numbers), (BOOTSTRAP_ROUNDS, len(numbers)))].mean(axis=1)
    low, high = np.percentile(means, [2.5, 97.5])
    # Four decimals are more than a hundred images can tell.
    return round(float(numbers.mean()), 4), round(float(low), 4), round(float(high), 4)


def pairs_of_images(maps: Sequence[Map], count: int, seed: int) -> list[tuple[Map, Map]]:
    """``count`` random pairs of maps of different images, to see how alike maps are that explain different things."""
    random = np.random.default_rng(seed)
    return [(maps[i], maps[j]) for i, j in (random.choice(len(maps), 2, replace=False) for _ in range(count))]
