"""How the work is cut up and run: batches, graphs, memory, accelerations."""

import itertools
import logging
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from heatdrop.saliency import acceleration, smoothgrad
from heatdrop.saliency.acceleration import Acceleration, accepted
from heatdrop.saliency.batches import CHECK_EVERY, plan
from heatdrop.saliency.gradient_engine import OutOfMemory
from heatdrop.saliency.tensorflow_engine import TensorFlowEngine

IMAGES = np.random.default_rng(4).standard_normal((3, 10, 10, 3)).astype(np.float32)


@pytest.fixture
def model():
    keras.utils.set_random_seed(3)
    body = layers.Conv2D(6, 3, activation="tanh"), layers.GlobalAveragePooling2D(), layers.Dense(4)
    return keras.Sequential([keras.Input((10, 10, 3)), *body])


@pytest.fixture
def engine(model):
    return TensorFlowEngine(model)


@pytest.mark.parametrize(
    ("limit", "samples", "block", "stops"),
    itertools.product((1, 2, 3, 4, 5, 7, 12, 30, 64), (1, 3, 5, 9, 20, 23, 100), (1, 5), (False, True)),
)
def test_batches_hold_every_sample_once_and_cut_no_block(limit, samples, block, stops):
    batches = plan(limit, samples, block, stops=stops)

    assert 1 <= batches.size <= limit
    assert batches.size % batches.group == 0
    first = 0
    while first < samples:
        count = batches.count(first)
        assert 1 <= count <= batches.size
        if batches.size < block:
            assert first // block == (first + count - 1) // block
        else:
            assert first % block == 0
        if stops:
            assert first // CHECK_EVERY == (first + count - 1) // CHECK_EVERY
        first += count
    assert first == samples


def test_batches_are_about_equal_so_that_little_is_filled_up():
    assert plan(30, 100, 5, stops=False).size == 25
    assert plan(4, 18, 1, stops=False).size == 4
    assert plan(5, 20, 5, stops=False).size == 5


def test_one_graph_serves_all_images_batches_and_classes_of_one_shape(engine, monkeypatch):
    traced = []
    original = tf.gradients
    monkeypatch.setattr(tf, "gradients", lambda *args: traced.append(1) or original(*args))

    for samples, seed in ((20, 0), (18, 1), (7, 2)):
        smoothgrad(engine, IMAGES, [[0, 1], [2, 3], [1, 0]], samples=samples, seed=seed)

    assert len(traced) == 2, "one backward pass for each of the two classes, traced once"


def test_the_forward_pass_is_shared_by_the_classes(engine):
    smoothgrad(engine, IMAGES[:1], [[0, 1, 2]], samples=5)

    (graph,) = engine._graphs.values()
    (concrete,) = graph._list_all_concrete_functions()
    convolutions = [node.type for node in concrete.graph.get_operations() if node.type.startswith("Conv2D")]
    assert convolutions.count("Conv2D") == 1 + 3, "forward once, backward as a convolution for each class"


def test_running_out_of_memory_halves_the_batch_and_keeps_the_maps(engine, monkeypatch, caplog):
    whole = smoothgrad(engine, IMAGES[:1], [[0, 1]], batch_size=20).maps["mean_abs"]
    original = TensorFlowEngine._compute

    def run(self, used, spec, image, noise, *args):
        if len(noise) > 3:
            raise tf.errors.ResourceExhaustedError(None, None, "OOM when allocating")
        return original(self, used, spec, image, noise, *args)

    monkeypatch.setattr(TensorFlowEngine, "_compute", run)
    with caplog.at_level(logging.WARNING):
        found = smoothgrad(engine, IMAGES[:1], [[0, 1]], batch_size=20)

    np.testing.assert_allclose(found.maps["mean_abs"], whole, rtol=1e-5)
    assert found.samples.tolist() == [20]
    assert "out of memory with 20 noisy copies at once; going on with 10" in caplog.text
    assert engine.batch_size <= 3


def test_a_device_too_small_for_one_copy_is_an_error(engine, monkeypatch):
    def run(*args):
        raise tf.errors.ResourceExhaustedError(None, None, "OOM when allocating")

    monkeypatch.setattr(TensorFlowEngine, "_compute", run)

    with pytest.raises(OutOfMemory, match="OOM when allocating"):
        smoothgrad(engine, IMAGES[:1], [[0]])


def test_what_is_kept_of_an_image_does_not_grow_with_its_samples(engine, monkeypatch):
    held = []
    original = TensorFlowEngine.gradient_sums

    def gradient_sums(self, image, noise, *args):
        held.append(noise.nbytes)
        return original(self, image, noise, *args)

    monkeypatch.setattr(TensorFlowEngine, "gradient_sums", gradient_sums)
    smoothgrad(engine, IMAGES[:1], [[0]], samples=20)
    few = set(held)
    held.clear()
    smoothgrad(engine, IMAGES[:1], [[0]], samples=200)

    assert set(held) == few
    assert len(held) == 40


def test_no_graph_or_array_is_left_behind_by_more_images(engine):
    import gc

    def live_tensors():
        gc.collect()
        return sum(isinstance(found, tf.Tensor) for found in gc.get_objects())

    smoothgrad(engine, IMAGES, samples=5)
    before = live_tensors()
    for seed in range(20):
        smoothgrad(engine, IMAGES, samples=5, seed=seed)

    assert live_tensors() <= before
    assert len(engine._graphs) == 1


def maps_off_by(differences):
    exact = np.ones((1, 4, 4, 3), np.float32)
    return lambda used: exact * np.float32(1 + sum(differences[name] for name in used))


def test_only_accelerations_that_leave_the_maps_as_they_are_are_used(caplog):
    differences = {Acceleration.TENSOR_FLOAT_32: 0.001, Acceleration.XLA: 0.5, Acceleration.MIXED_PRECISION: 0.002}

    with caplog.at_level(logging.WARNING):
        used = accepted(tuple(Acceleration), maps_off_by(differences))

    assert used == {Acceleration.TENSOR_FLOAT_32, Acceleration.MIXED_PRECISION}
    assert "XLA is not used: it changes a map by 0.5" in caplog.text


def test_accelerations_are_judged_together():
    half = acceleration.TOLERANCE * 0.7

    used = accepted(tuple(Acceleration), maps_off_by(dict.fromkeys(Acceleration, half)))

    assert used == {Acceleration.TENSOR_FLOAT_32}


def test_an_acceleration_that_gives_nan_or_fails_is_left_out(caplog):
    def compute(used):
        if Acceleration.XLA in used:
            raise tf.errors.UnimplementedError(None, None, "no kernel")
        return np.full(3, np.nan if used else 1.0)

    with caplog.at_level(logging.WARNING):
        assert accepted((Acceleration.XLA, Acceleration.MIXED_PRECISION), compute) == frozenset()
    assert "XLA is not used: it failed (UnimplementedError)" in caplog.text


def test_an_accelerated_engine_stays_within_the_tolerance_of_float32(engine):
    keras.utils.set_random_seed(3)
    body = layers.Conv2D(6, 3, activation="tanh"), layers.GlobalAveragePooling2D(), layers.Dense(4)
    model = keras.Sequential([keras.Input((10, 10, 3)), *body])
    accelerated = TensorFlowEngine(model, accelerations=(Acceleration.MIXED_PRECISION,))

    found, exact = (smoothgrad(each, IMAGES, samples=5).maps["mean_abs"] for each in (accelerated, engine))

    assert accelerated._used == {Acceleration.MIXED_PRECISION}
    assert 0 < np.linalg.norm(found - exact) <= acceleration.TOLERANCE * np.linalg.norm(exact)


def test_without_a_gpu_nothing_is_accelerated(engine):
    assert engine._used == frozenset()


@pytest.mark.parametrize("tolerance", [None, 0.3])
def test_batches_beside_each_other_leave_the_bits_of_batches_one_by_one(model, engine, monkeypatch, tolerance):
    monkeypatch.setattr("heatdrop.saliency.tensorflow_engine.parallel_batches", lambda: 3)
    several = TensorFlowEngine(model)

    one, three = (smoothgrad(made, IMAGES, samples=37, tolerance=tolerance, seed=2) for made in (engine, several))

    assert (engine.parallel_batches, several.parallel_batches) == (1, 3)
    assert (one.samples == three.samples).all()
    assert one.maps["mean_abs"].tobytes() == three.maps["mean_abs"].tobytes()


def test_a_process_of_its_own_computes_a_batch_a_core_if_it_says_so_in_time():
    program = """
import keras, os, numpy as np
from heatdrop.saliency.parallelism import run_batches_in_parallel
from heatdrop.saliency.tensorflow_engine import TensorFlowEngine
layers = keras.Input((8, 8, 3)), keras.layers.Flatten(), keras.layers.Dense(2)
engine = lambda: TensorFlowEngine(keras.Sequential(layers))
cores = min(4, len(os.sched_getaffinity(0)))
# Two processes, in time and too late; forked, since importing TensorFlow takes seconds.
for too_late, expected in ((False, cores), (True, 1)):
    if (child := os.fork()) == 0:
        if too_late:
            engine().predict(np.zeros((1, 8, 8, 3)))
        print(run_batches_in_parallel(), engine().parallel_batches == expected, flush=True)
        os._exit(0)
    os.waitpid(child, 0)
"""
    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert answer.stdout.splitlines() == ["True True", "False True"], answer.stderr
