"""Shifts of the noisy copies: every place on the grid in turn, undone exactly, and the grid is gone."""

from typing import Any

import keras
import numpy as np
import pytest

from heatdrop.errors import InvalidRequest
from heatdrop.saliency import GradientEngine, SaliencyMaps, smoothgrad
from heatdrop.saliency.jitter import shift_of, shifted, shifted_back, shown
from heatdrop.saliency.tensorflow_engine import TensorFlowEngine
from heatdrop.vocabulary import ESTIMATORS

HEIGHT, WIDTH = 40, 32


@pytest.mark.parametrize("period", [2, 3, 4, 8])
def test_samples_take_every_residue_of_each_axis_in_turn_and_every_pair_in_time(period: int) -> None:
    shifts = [shift_of(index, period) for index in range(period * period)]
    assert shifts[0] == (0, 0)
    assert len({(rows % period, columns % period) for rows, columns in shifts}) == period * period
    for first in range(0, period * period, period):
        for axis in range(2):
            assert len({shift[axis] % period for shift in shifts[first : first + period]}) == period
    assert max(abs(by) for shift in shifts for by in shift) == period // 2


@pytest.mark.parametrize("shift", [(0, 0), (1, -2), (-2, 1), (2, 2), (-1, -1)])
def test_shifting_back_undoes_a_shift_wherever_the_copy_shows_the_image(shift: tuple[int, int]) -> None:
    image = np.random.default_rng(0).random((7, 6, 3), np.float32)
    back = shifted_back(shifted(image, shift), shift)
    seen = shown((7, 6), shift).astype(bool)
    np.testing.assert_array_equal(back[seen], image[seen])
    assert not back[~seen].any()
    assert seen.sum() == (7 - abs(shift[0])) * (6 - abs(shift[1]))


@pytest.fixture(scope="module")
def engine() -> GradientEngine:
    """A network that takes every fourth pixel, as many do in two steps."""
    keras.utils.set_random_seed(2)
    inputs = keras.Input((HEIGHT, WIDTH, 3))
    x = keras.layers.Conv2D(8, 3, strides=4, padding="same", activation="softplus")(inputs)
    x = keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(8, 3, padding="same", activation="softplus")(x))
    return TensorFlowEngine(keras.Model(inputs, keras.layers.Dense(3, activation="softmax")(x)))


@pytest.fixture(scope="module")
def image() -> np.ndarray:
    return np.random.default_rng(1).random((1, HEIGHT, WIDTH, 3), np.float32)


def explained(engine: GradientEngine, image: np.ndarray, **changes: Any) -> SaliencyMaps:
    wanted = {"samples": 32, "estimators": ESTIMATORS, "jitter": 4, "seed": 3} | changes
    return smoothgrad(engine, image, [[2, 0]], **wanted)


def power_on_the_grid(raw: np.ndarray) -> float:
    """The share of the power at periods of 2 and 4 pixels, away from the border."""
    inside = raw[4:-4, 4:-4]
    power = np.abs(np.fft.fft2(inside - inside.mean())) ** 2
    height, width = inside.shape
    lines = (
        power[[height // 4, height // 2, -height // 4]].sum() + power[:, [width // 4, width // 2, -width // 4]].sum()
    )
    return float(lines / power.sum())


def test_the_grid_is_gone(engine: GradientEngine, image: np.ndarray) -> None:
    plain, shifted_map = (explained(engine, image, jitter=by).maps["mean_abs"][0, 0] for by in (0, 4))
    assert power_on_the_grid(plain) > 0.9
    # What is left is spread over all frequencies: the lines are a tenth of them.
    assert power_on_the_grid(shifted_map) < 0.4


@pytest.mark.parametrize("sampling", ["stratified", "independent"])
def test_neither_batches_nor_how_many_at_once_change_the_maps(
    engine: GradientEngine, image: np.ndarray, sampling: str
) -> None:
    found = [explained(engine, image, sampling=sampling, batch_size=size, samples=23) for size in (3, 5, 10, 23)]
    for other in found[1:]:
        for name in ESTIMATORS:
            np.testing.assert_allclose(other.maps[name], found[0].maps[name], rtol=1e-5, atol=1e-9)
            np.testing.assert_allclose(
                other.standard_errors[name], found[0].standard_errors[name], rtol=1e-4, atol=1e-9
            )


def test_a_pixel_near_the_border_is_the_mean_of_the_samples_that_reached_it(image: np.ndarray) -> None:
    """The gradient of a linear score is the same at each pixel of the copy: so is its mean, in the corners too."""
    model = keras.Sequential(
        [keras.Input((HEIGHT, WIDTH, 3)), keras.layers.GlobalAveragePooling2D(), keras.layers.Dense(3)]
    )
    found = explained(TensorFlowEngine(model), image, samples=16)
    raw = found.maps["mean_abs"][0, 0]
    np.testing.assert_allclose(raw, raw[10, 10], rtol=1e-5)
    np.testing.assert_allclose(found.standard_errors["mean_abs"][0, 0], 0, atol=1e-6)


def test_the_standard_error_is_how_far_maps_of_other_seeds_are_apart(engine: GradientEngine, image: np.ndarray) -> None:
    """Of all pairs of shifts, so that what the shifts do to a map is the same for every seed."""
    maps = [explained(engine, image, samples=80, seed=seed) for seed in range(24)]
    values = np.stack([found.maps["mean_abs"][0] for found in maps])
    true = np.sqrt(values.var(axis=0, ddof=1).sum(axis=(1, 2)))
    told = np.sqrt(np.square(np.stack([found.standard_errors["mean_abs"][0] for found in maps])).sum((2, 3)).mean(0))
    # Told is too large rather than too small: that the shifts differ counts as chance, though they are always the same.
    assert (told > 0.8 * true).all()


def test_few_samples_leave_no_pixel_undefined(engine: GradientEngine, image: np.ndarray) -> None:
    for samples in (1, 2, 5):
        found = explained(engine, image, samples=samples)
        for name in ESTIMATORS:
            assert np.isfinite(found.maps[name]).all()


@pytest.mark.parametrize("jitter", [-1, 1, 65])
def test_period_that_makes_no_sense_is_refused(engine: GradientEngine, image: np.ndarray, jitter: int) -> None:
    with pytest.raises(InvalidRequest, match="jitter"):
        explained(engine, image, jitter=jitter)
