"""The noise: the same bits every time, standard normal, and spread evenly within its blocks."""

import keras
import numpy as np
import pytest
from keras import layers
from scipy import stats

from heatdrop.saliency import smoothgrad
from heatdrop.saliency.noise import SAMPLINGS, STRATA, image_key, standard_normals
from heatdrop.saliency.tensorflow_engine import TensorFlowEngine

SHAPE = (9, 8, 3)


def draw(first, count, *, seed=5, key=77, sampling="stratified", shape=SHAPE):
    return standard_normals(shape, seed=seed, key=key, first=first, count=count, sampling=sampling)


@pytest.mark.parametrize("sampling", SAMPLINGS)
def test_a_sample_has_the_same_bits_in_whatever_batch_it_is_drawn(sampling):
    whole = draw(0, 23, sampling=sampling)

    for size in (1, 4, 5, 7):
        parts = [draw(first, min(size, 23 - first), sampling=sampling) for first in reversed(range(0, 23, size))]
        np.testing.assert_array_equal(np.concatenate(parts[::-1]), whole)


@pytest.mark.parametrize("sampling", SAMPLINGS)
def test_another_seed_image_or_number_gives_other_noise(sampling):
    ways = ({}, {"seed": 6}, {"key": 78})
    drawn = [draw(first, 1, sampling=sampling, **way) for way in ways for first in (0, STRATA)]

    samples = np.concatenate(drawn).reshape(6, -1)
    assert np.abs(np.corrcoef(samples) - np.eye(6)).max() < 0.3


def test_the_noise_of_an_image_is_what_it_was_in_the_first_release():
    found = {name: draw(7, 1, sampling=name, shape=(1, 1, 3))[0, 0, 0].tolist() for name in SAMPLINGS}

    assert found == {
        "stratified": pytest.approx([1.0004114, 0.5954878, 0.1518290], abs=1e-6),
        "independent": pytest.approx([-0.3588997, 1.7623169, -1.9615432], abs=1e-6),
    }


@pytest.mark.parametrize("sampling", SAMPLINGS)
def test_every_single_sample_is_standard_normal(sampling):
    for sample in draw(11, 3, sampling=sampling, shape=(60, 60, 3)):
        assert stats.kstest(sample.ravel(), "norm").pvalue > 0.001


def test_the_samples_of_a_block_fall_into_different_strata_in_every_pixel():
    strata = np.floor(stats.norm.cdf(draw(STRATA, STRATA)) * STRATA)

    np.testing.assert_array_equal(
        np.sort(strata, axis=0), np.broadcast_to(np.arange(STRATA)[:, None, None, None], strata.shape)
    )


def test_any_two_strata_meet_equally_often_in_two_samples_of_a_block():
    first, second = np.floor(stats.norm.cdf(draw(0, 2, shape=(200, 100, 3))) * STRATA)

    meetings = np.histogram2d(first.ravel(), second.ravel(), bins=STRATA)[0]
    assert not meetings.diagonal().any()
    apart = meetings[~np.eye(STRATA, dtype=bool)]
    assert stats.chisquare(apart).pvalue > 0.001


def test_no_value_is_infinite_however_many_are_drawn():
    assert np.isfinite(draw(0, 2, shape=(700, 700, 3))).all()


def test_the_key_of_an_image_follows_its_content_and_shape():
    image = np.arange(24, dtype=np.float32).reshape(2, 4, 3)

    assert image_key(image) == image_key(np.asfortranarray(image))
    assert len({image_key(image), image_key(image.reshape(4, 2, 3)), image_key(image + 1)}) == 3


@pytest.fixture(scope="module")
def engine():
    keras.utils.set_random_seed(3)
    convolution = layers.Conv2D(8, 3, padding="same", activation="relu")
    head = (
        layers.Conv2D(8, 3, activation="tanh"),
        layers.GlobalAveragePooling2D(),
        layers.Dense(3, activation="softmax"),
    )
    return TensorFlowEngine(keras.Sequential([keras.Input((16, 16, 3)), convolution, *head]))


IMAGE = np.random.default_rng(8).standard_normal((1, 16, 16, 3)).astype(np.float32)
ESTIMATORS = ("mean_abs", "signed", "squared")


@pytest.fixture(scope="module")
def errors(engine):
    """Relative errors at n = 20, true and told, by sampling and estimator: root mean squares over 12 seeds."""
    settings = {"estimators": ESTIMATORS, "batch_size": 20}
    truth = smoothgrad(engine, IMAGE, [[1]], samples=2000, seed=100, **settings).maps
    found = {}
    for sampling in SAMPLINGS:
        runs = [smoothgrad(engine, IMAGE, [[1]], seed=seed, sampling=sampling, **settings) for seed in range(12)]
        for name in ESTIMATORS:
            size = np.linalg.norm(truth[name])
            true = np.sqrt(np.mean([np.square(run.maps[name] - truth[name]).sum() for run in runs])) / size
            told = np.sqrt(np.mean([run.relative_errors[name] ** 2 for run in runs]))
            found[sampling, name] = true, told
    return found


def test_the_reported_standard_error_is_the_true_one(errors):
    for true, told in errors.values():
        assert told == pytest.approx(true, rel=0.2)


def test_stratified_noise_comes_closer_to_the_limit_than_independent_noise_does(errors):
    assert errors["stratified", "mean_abs"][0] < errors["independent", "mean_abs"][0]
    assert errors["stratified", "signed"][0] < 0.9 * errors["independent", "signed"][0]


def test_the_same_settings_give_the_same_bits(engine):
    first, second = (smoothgrad(engine, IMAGE, estimators=ESTIMATORS) for _ in range(2))

    for name in ESTIMATORS:
        np.testing.assert_array_equal(first.maps[name], second.maps[name])
        np.testing.assert_array_equal(first.standard_errors[name], second.standard_errors[name])


@pytest.mark.parametrize("sampling", SAMPLINGS)
def test_maps_of_other_batch_sizes_are_equal_within_rounding(engine, sampling):
    whole = smoothgrad(engine, IMAGE, sampling=sampling, estimators=ESTIMATORS, batch_size=20)

    for size in (1, 3, 4, 7):
        other = smoothgrad(engine, IMAGE, sampling=sampling, estimators=ESTIMATORS, batch_size=size)
        for name in ESTIMATORS:
            difference = np.linalg.norm(other.maps[name] - whole.maps[name])
            assert difference < 1e-5 * np.linalg.norm(whole.maps[name])


def test_an_image_has_the_same_map_alone_and_among_others(engine):
    others = np.concatenate([IMAGE[:, ::-1], IMAGE, 2 * IMAGE])

    alone, among = smoothgrad(engine, IMAGE, [[0]]), smoothgrad(engine, others, [[1], [0], [2]])

    np.testing.assert_array_equal(alone.maps["mean_abs"][0], among.maps["mean_abs"][1])


def test_given_noise_is_used_as_it_is(engine):
    noise = np.random.default_rng(2).standard_normal((6, *IMAGE.shape)).astype(np.float32)

    given = [smoothgrad(engine, IMAGE, samples=6, noise=noise, seed=seed).maps["mean_abs"] for seed in (0, 1)]

    np.testing.assert_array_equal(*given)
    assert not np.allclose(given[0], smoothgrad(engine, IMAGE, samples=6).maps["mean_abs"])
