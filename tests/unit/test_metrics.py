"""The figures of a model are right, each lies in its interval, and its threshold is the best one."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from heatdrop.model import metrics
from heatdrop.model.metrics import best_threshold, evaluate, macro_auc
from heatdrop.model.training import healthy_class


@pytest.fixture(autouse=True)
def few_bootstrap_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "BOOTSTRAP_ROUNDS", 100)


def scores_and_targets(count: int = 300, classes: int = 3, skill: float = 1.5, seed: int = 0):
    random = np.random.default_rng(seed)
    targets = random.permutation(np.arange(count) % classes)
    logits = random.normal(size=(count, classes))
    logits[np.arange(count), targets] += skill
    scores = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    return scores.astype(np.float32), targets


def test_figures_of_a_known_case() -> None:
    scores = np.array([[0.9, 0.1], [0.6, 0.4], [0.3, 0.7], [0.2, 0.8], [0.7, 0.3]], np.float32)
    found = evaluate(scores, np.array([0, 0, 1, 1, 1]), negative=0, threshold=0.5)
    assert found["images"] == 5
    assert found["accuracy"] == found["binary_accuracy"] == pytest.approx(4 / 5)
    assert found["sensitivity"] == pytest.approx(2 / 3)
    assert found["specificity"] == 1
    assert found["confusion"] == [[2, 0], [1, 2]]
    assert found["auc"] == pytest.approx(5 / 6)
    assert found["threshold"] == 0.5


@pytest.mark.parametrize("seed", range(3))
def test_every_figure_lies_in_its_interval_and_more_images_narrow_it(seed: int) -> None:
    few = evaluate(*scores_and_targets(150, seed=seed), negative=1, threshold=0.6)
    many = evaluate(*scores_and_targets(1500, seed=seed), negative=1, threshold=0.6)
    for name in ("accuracy", "binary_accuracy", "sensitivity", "specificity", "auc"):
        low, high = few[f"{name}_95"]
        assert 0 <= low <= few[name] <= high <= 1
        assert low < high
        assert many[f"{name}_95"][1] - many[f"{name}_95"][0] < high - low


def test_the_same_scores_have_the_same_figures() -> None:
    assert evaluate(*scores_and_targets(), negative=0) == evaluate(*scores_and_targets(), negative=0)


def test_without_a_healthy_class_the_binary_question_is_not_asked() -> None:
    assert set(evaluate(*scores_and_targets())) == {"images", "accuracy", "accuracy_95", "auc_macro", "confusion"}


def test_a_class_that_is_never_predicted_keeps_its_row_and_column() -> None:
    scores = np.tile(np.array([0.8, 0.15, 0.05], np.float32), (4, 1))
    assert np.shape(evaluate(scores + 0, np.array([0, 1, 2, 0]))["confusion"]) == (3, 3)


def test_the_macro_auc_is_the_mean_of_one_against_rest() -> None:
    scores, targets = scores_and_targets()
    expected = roc_auc_score(targets, scores.astype(float) / scores.sum(1, keepdims=True), multi_class="ovr")
    assert macro_auc(scores, targets) == pytest.approx(expected, abs=1e-6)


def youden(scores, targets, negative: int, threshold: float) -> float:
    positive, score = targets != negative, 1 - scores[:, negative]
    return float((score[positive] >= threshold).mean() + (score[~positive] < threshold).mean())


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.integers(4, 40), st.floats(0, 3))
def test_no_threshold_is_better_than_the_chosen_one(seed: int, count: int, skill: float) -> None:
    scores, targets = scores_and_targets(count, 2, skill, seed)
    chosen = youden(scores, targets, 0, best_threshold(scores, targets, 0))
    assert chosen >= max(youden(scores, targets, 0, t) for t in np.linspace(0.01, 0.99, 99)) - 1e-9


def test_the_threshold_lies_in_the_middle_of_what_separates_the_classes() -> None:
    scores = np.array([[0.9, 0.1], [0.8, 0.2], [0.4, 0.6], [0.3, 0.7]], np.float32)
    assert best_threshold(scores, np.array([0, 0, 1, 1]), 0) == pytest.approx(0.4, abs=0.011)


def test_the_healthy_class_is_known_by_its_name() -> None:
    assert healthy_class(("BACTERIAL", "NORMAL", "VIRAL")) == 1
    assert healthy_class(("no finding", "effusion")) == 0
    assert healthy_class(("cat", "dog", "abnormal")) is None
