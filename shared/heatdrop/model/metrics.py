"""Figures of a classifier's quality, with 95 % intervals from a percentile bootstrap over the images."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata
from sklearn.metrics import confusion_matrix

BOOTSTRAP_ROUNDS = 1000

Metrics = dict[str, float | list[float] | list[list[int]]]


def evaluate(
    scores: NDArray[np.float32], targets: NDArray[np.int64], *, negative: int | None = None, threshold: float = 0.5
) -> Metrics:
    """The figures of a classifier.

    Args:
        scores: (N, classes) probabilities.
        targets: (N,) indices of the true classes.
        negative: the index of the healthy class. With it, "anything but that class" is judged as a binary question too:
            AUC, and accuracy, sensitivity and specificity at ``threshold``.
        threshold: the probability of anything but the healthy class from which on an image counts as positive.

    Returns:
        The figures by name; ``NAME_95`` is the 95 % interval of NAME, and ``confusion`` counts true classes (rows)
        against predicted ones (columns).
    """
    predicted = scores.argmax(1)
    correct = (predicted == targets).astype(float)
    result: Metrics = {
        "images": float(len(targets)),
        "accuracy": float(correct.mean()),
        "accuracy_95": _interval(lambda rows: float(correct[rows].mean()), len(targets)),
        "auc_macro": macro_auc(scores, targets),
        "confusion": confusion_matrix(targets, predicted, labels=range(scores.shape[1])).tolist(),
    }
    if negative is None:
        return result
    positive, score = targets != negative, 1 - scores[:, negative]
    hit = (score >= threshold) == positive
    for name, rows in (("binary_accuracy", slice(None)), ("sensitivity", positive), ("specificity", ~positive)):
        values = hit[rows].astype(float)
        result[name] = float(values.mean())
        result[f"{name}_95"] = _interval(lambda r, v=values: float(v[r].mean()), len(values))  # type: ignore[misc]
    result["auc"] = auc(positive, score)
    result["auc_95"] = _interval(lambda rows: auc(positive[rows], score[rows]), len(targets))
    result["threshold"] = threshold
    return result


def macro_auc(scores: NDArray[np.float32], targets: NDArray[np.int64]) -> float:
    """The mean over classes of the one-against-rest area under the ROC curve; NaN where a class is missing."""
    return float(np.mean([auc(targets == index, scores[:, index]) for index in range(scores.shape[1])]))


def auc(positive: NDArray[np.bool_], score: NDArray[np.float32]) -> float:
    """The area under the ROC curve; NaN unless there are both positive and negative examples.

    It is the share of pairs of one of each in which the positive one has the greater score, counted by ranks (Mann and
    Whitney, 1947): scikit-learn's function takes forty times as long, and an interval needs it a thousand times.
    """
    several = int(positive.sum())
    others = len(positive) - several
    if not several or not others:
        return float("nan")
    ranks = float(rankdata(score)[positive].sum())
    return (ranks - several * (several + 1) / 2) / (several * others)


def best_threshold(scores: NDArray[np.float32], targets: NDArray[np.int64], negative: int) -> float:
    """The middle one of the thresholds with the greatest sensitivity + specificity."""
    positive, score = targets != negative, 1 - scores[:, negative]
    grid = np.linspace(0.01, 0.99, 99)
    youden = np.array([(score[positive] >= t).mean() + (score[~positive] < t).mean() for t in grid])
    best = grid[youden >= youden.max() - 1e-9]
    # One of the best themselves: their median may lie between two ranges of them, and be worse.
    return float(best[len(best) // 2])


def _interval(statistic: Callable[[NDArray[np.int64]], float], count: int) -> list[float]:
    random = np.random.default_rng(0)
    values = [statistic(random.integers(0, count, count)) for _ in range(BOOTSTRAP_ROUNDS)]
    return [float(v) for v in np.nanpercentile(values, [2.5, 97.5])]
