"""A small network learns to tell radiographs apart, goes on after a kill, and becomes a bundle that classifies.

The backbone is two convolutions; everything around it is what trains a DenseNet.
"""

import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import keras
import numpy as np
import pytest
from numpy.typing import NDArray

from heatdrop import images
from heatdrop.errors import InvalidDataset, InvalidRequest
from heatdrop.model import architectures, augmentation, metrics, source
from heatdrop.model.augmentation import evaluation_input, shifted, training_batches
from heatdrop.model.averaging import WeightAverage
from heatdrop.model.bundle import open_bundle
from heatdrop.model.classifier import Classifier
from heatdrop.model.dataset import Dataset, find_examples, load, split
from heatdrop.model.plots import plot_confusion, plot_history
from heatdrop.model.preprocessing import preprocess
from heatdrop.model.recipe import EpochReport, Recipe, Stage
from heatdrop.model.train_command import Callbacks, available_weights, plan_stages, train
from heatdrop.model.training import Trainer, judge

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("tiny_backbone", "few_bootstrap_rounds")]

RECIPE = Recipe(
    stages=(Stage(size=32, epochs=1), Stage(size=40, epochs=2)),
    batch_size=8,
    peak_learning_rate=1e-2,
    validation_fraction=0.25,
    seed=5,
)

ONE_EPOCH = RECIPE.model_copy(update={"stages": (Stage(size=32, epochs=1),)})


@pytest.fixture
def few_bootstrap_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "BOOTSTRAP_ROUNDS", 50)


@pytest.fixture
def untraced() -> Iterator[None]:
    """Run what TensorFlow would trace into graphs as plain Python, for tests of what happens around the steps.

    A training traces a graph for each input size, which takes most of its seconds here. The tests without this fixture
    train as users do: they hold that it learns, repeats, resumes, freezes, averages and counts in bfloat16.
    """
    import tensorflow as tf

    tf.config.run_functions_eagerly(True)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Even though the .* this option does not apply to tf.data functions")
        yield
    tf.config.run_functions_eagerly(False)


@pytest.fixture(scope="module")
def crops(radiographs: Path) -> dict[str, list[NDArray[np.uint8]]]:
    """24 crops each of a chest and of a lower leg."""
    random = np.random.default_rng(0)
    found = {}
    for label, name in (("NORMAL", "RG1_J2KI.dcm"), ("LEG", "RG3_J2KI.dcm")):
        pixels = images.resize(images.decode((radiographs / name).read_bytes()).pixels, (300, 300))
        found[label] = [pixels[y : y + 180, x : x + 180] for y, x in random.integers(0, 120, (24, 2))]
    return found


@pytest.fixture(scope="module")
def data(crops, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("data")
    for label, pictures in crops.items():
        (root / label).mkdir()
        for index, picture in enumerate(pictures):
            cv2.imwrite(str(root / label / f"{index}.jpg"), picture)
    return root


@pytest.fixture(scope="module")
def parts(data: Path) -> tuple[Dataset, Dataset]:
    return split(load(find_examples(data), 40), RECIPE.validation_fraction, RECIPE.seed)


class Killed(BaseException):
    """Ends a training as a signal would: nothing gets to tidy up."""


def kill_at(step: int) -> Callable[[int, int], None]:
    def on_step(done: int, total: int) -> None:
        if done == step:
            raise Killed

    return on_step


def test_a_training_learns_and_becomes_a_bundle_that_classifies(data: Path, crops, tmp_path: Path) -> None:
    said: list[str] = []
    steps: list[tuple[int, int]] = []
    reports: list[EpochReport] = []
    listener = Callbacks(on_step=lambda *step: steps.append(step), on_epoch=reports.append, say=said.append)
    bundle, measured = train(data, RECIPE, tmp_path / "out" / "b", "limbs", listener, tmp_path / "source")

    assert open_bundle(tmp_path / "out" / "b") == bundle
    assert (bundle.labels, bundle.size, bundle.model.name) == (("LEG", "NORMAL"), (40, 40), "limbs")
    classifier = Classifier(bundle)
    hits = sum(
        classifier.classify(images.DecodedImage(picture, "JPEG", 180, 180))[0].label == label
        for label, pictures in crops.items()
        for picture in pictures
    )
    assert hits >= 38  # of 48; by chance 24

    assert [(r.epoch, r.size) for r in reports] == [(1, 32), (2, 40), (3, 40)]
    assert steps == [(n, 12) for n in range(1, 13)]
    assert said == []

    training = bundle.description.training
    assert training["recipe"] == RECIPE.model_dump(mode="json")
    assert Recipe.model_validate(training["recipe"]) == RECIPE
    assert training["images"] == {"training": {"LEG": 18, "NORMAL": 18}, "validation": {"LEG": 6, "NORMAL": 6}}
    assert training["epochs"] == [report.model_dump() for report in reports]
    assert training["metrics"] == measured
    assert measured["validation"]["auc"] > 0.8
    for figures in measured.values():
        assert figures["images"] == 12
        low, high = figures["accuracy_95"]
        assert low <= figures["accuracy"] <= high

    # The source is that very model, and what it measured.
    again = source.build_bundle(tmp_path / "source", tmp_path / "again")
    assert (again.model, again.labels) == (bundle.model, bundle.labels)
    assert again.description.training == training
    work = tmp_path / "out" / "b.training"
    for picture in ("history.png", "confusion.png"):
        assert cv2.imread(str(work / picture)) is not None


def test_the_same_seed_gives_the_same_history_and_figures(parts, tmp_path: Path) -> None:
    histories, figures = [], []
    for name in ("first", "second"):
        trainer = Trainer(ONE_EPOCH, *parts, tmp_path / name)
        figures.append(judge(trainer, trainer.run()))
        histories.append(trainer.history)
    for first, second in zip(*histories, strict=True):
        assert first.loss == pytest.approx(second.loss, rel=1e-4)
        assert first.validation_auc == pytest.approx(second.validation_auc, abs=0.03)
    assert figures[0]["validation"]["accuracy"] == pytest.approx(figures[1]["validation"]["accuracy"], abs=0.1)


def test_a_killed_training_goes_on_at_the_epoch_where_it_was(parts, tmp_path: Path) -> None:
    with pytest.raises(Killed):
        Trainer(RECIPE, *parts, tmp_path, on_step=kill_at(10)).run()  # in the third of three epochs

    steps: list[int] = []
    resumed = Trainer(RECIPE, *parts, tmp_path, on_step=lambda done, total: steps.append(done))
    resumed.run()
    assert steps == [9, 10, 11, 12]
    assert [report.epoch for report in resumed.history] == [1, 2, 3]

    again = Trainer(RECIPE, *parts, tmp_path, on_step=kill_at(1))
    model = again.run()  # nothing is left to train
    assert again.history == resumed.history
    assert model.input_shape == (None, 40, 40, 3)


@pytest.mark.usefixtures("untraced")
def test_the_optimizer_goes_on_where_it_was_and_spares_what_it_spared(parts, tmp_path: Path) -> None:
    recipe = RECIPE.model_copy(update={"stages": (Stage(size=32, epochs=6),), "weight_decay": 30.0})
    with pytest.raises(Killed):
        Trainer(recipe, *parts, tmp_path, on_step=kill_at(9)).run()
    Trainer(recipe, *parts, tmp_path).run()
    last = keras.models.load_model(tmp_path / "last.keras")
    assert int(last.optimizer.iterations) == 24
    # Decay this strong would leave next to nothing of a scale that began at 1.
    assert np.mean(last.get_layer("bn").gamma) > 0.8
    assert np.abs(last.get_layer("conv2").kernel).mean() < 0.02


@pytest.mark.usefixtures("untraced")
def test_a_kill_while_the_state_is_written_costs_no_more_than_its_epoch(
    parts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def half_written(path: Path, text: str) -> None:
        path.write_bytes(text[: len(text) // 2].encode())
        raise Killed

    trainer = Trainer(ONE_EPOCH, *parts, tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_text", half_written)
        with pytest.raises(Killed):
            trainer.run()
    trainer = Trainer(ONE_EPOCH, *parts, tmp_path)
    trainer.run()
    assert [report.epoch for report in trainer.history] == [1]


@pytest.mark.usefixtures("untraced")
def test_a_folder_with_another_training_is_refused(parts, data: Path, tmp_path: Path) -> None:
    Trainer(ONE_EPOCH, *parts, tmp_path).run()
    before = (tmp_path / "state.json").read_bytes()
    with pytest.raises(InvalidRequest, match="other settings"):
        Trainer(ONE_EPOCH.model_copy(update={"seed": 6}), *parts, tmp_path).run()
    other_split = split(load(find_examples(data), 40), RECIPE.validation_fraction, seed=99)
    with pytest.raises(InvalidRequest, match="other images"):
        Trainer(ONE_EPOCH, *other_split, tmp_path).run()
    assert (tmp_path / "state.json").read_bytes() == before


@pytest.mark.usefixtures("untraced")
def test_stages_still_to_come_may_change_and_those_behind_may_not(parts, tmp_path: Path) -> None:
    Trainer(ONE_EPOCH, *parts, tmp_path).run()
    longer = Trainer(RECIPE.model_copy(update={"patience": 7}), *parts, tmp_path)
    assert longer.run().output_shape == (None, 2)
    assert [report.size for report in longer.history] == [32, 40, 40]
    assert longer.schedule_starts == [0, 1]
    otherwise = RECIPE.model_copy(update={"stages": (Stage(size=40, epochs=4),)})
    with pytest.raises(InvalidRequest, match="other settings"):
        Trainer(otherwise, *parts, tmp_path).run()


@pytest.mark.usefixtures("untraced")
@pytest.mark.parametrize(("aucs", "best"), [([0.4, 0.6, 0.5], 1), ([0.0, 0.0], 0)])
def test_the_best_epoch_is_kept_and_not_the_last(parts, tmp_path: Path, aucs: list[float], best: int) -> None:
    recipe = RECIPE.model_copy(update={"stages": (Stage(size=32, epochs=len(aucs)),)})
    kernels: list[NDArray[np.float32]] = []

    class Judged(Trainer):
        def _validation_auc(self, model: keras.Model, size: int) -> float:
            kernels.append(model.get_layer("conv2").kernel.numpy())
            return aucs[len(kernels) - 1]

    assert np.array_equal(Judged(recipe, *parts, tmp_path).run().get_layer("conv2").kernel, kernels[best])
    assert not np.array_equal(kernels[best], kernels[-1])


@pytest.mark.usefixtures("untraced")
@pytest.mark.parametrize(("latest", "best", "kept"), [(0.7, 0.6, 1), (0.6, 0.7, 0), (0.6, 0.6, 0)])
def test_a_resumed_training_keeps_the_better_of_the_best_weights_and_the_latest_as_judged_now(
    parts, tmp_path: Path, latest: float, best: float, kept: int
) -> None:
    recipe = RECIPE.model_copy(update={"stages": (Stage(size=32, epochs=2),)})
    kernels: list[NDArray[np.float32]] = []

    class Judged(Trainer):
        def _validation_auc(self, model: keras.Model, size: int) -> float:
            kernels.append(model.get_layer("conv2").kernel.numpy())
            return [0.8, 0.5, best, latest][len(kernels) - 1]

    Judged(recipe, *parts, tmp_path).run()
    found = Judged(recipe, *parts, tmp_path).run().get_layer("conv2").kernel
    assert np.array_equal(found, kernels[kept])
    assert not np.array_equal(kernels[0], kernels[1])


def test_the_learning_rate_ends_at_a_hundredth_of_its_peak(parts, tmp_path: Path) -> None:
    trainer = Trainer(RECIPE, *parts, tmp_path)
    rate = trainer._optimizer(trainer.total_steps)._learning_rate
    warmed_up = trainer.steps_per_epoch // 2
    rates = [float(rate(step)) for step in range(trainer.total_steps + 1)]
    assert max(rates) == rates[warmed_up] == pytest.approx(RECIPE.peak_learning_rate)
    assert rates[-1] == pytest.approx(RECIPE.peak_learning_rate / 100)


@pytest.mark.usefixtures("untraced")
def test_the_loss_of_an_epoch_is_the_mean_of_its_steps(parts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    losses: list[float] = []
    step = keras.Model.train_on_batch

    def watched(model: keras.Model, *batch: Any) -> Any:
        losses.append(float(step(model, *batch)))
        return losses[-1]

    monkeypatch.setattr(keras.Model, "train_on_batch", watched)
    trainer = Trainer(RECIPE, *parts, tmp_path)
    trainer.run()
    assert [report.loss for report in trainer.history] == pytest.approx(np.reshape(losses, (3, 4)).mean(axis=1))
    assert np.std(losses[-4:]) > 1e-3


def test_the_model_holds_the_average_of_the_weights_after_each_step(parts, tmp_path: Path) -> None:
    seen: list[list[NDArray[np.float32]]] = []

    class Watched(Trainer):
        def _train_stage(self, model: keras.Model, *stage: Any) -> None:
            self.on_step = lambda done, total: seen.append(model.get_weights())
            super()._train_stage(model, *stage)

    recipe = ONE_EPOCH.model_copy(update={"average_decay": 0.6})
    found = Watched(recipe, *parts, tmp_path).run().get_weights()
    keras.utils.set_random_seed(recipe.seed)
    expected = Trainer(recipe, *parts, tmp_path / "start")._start().get_weights()
    assert len(seen) == 4
    for step, weights in enumerate(seen, 1):
        share = max(0.4, 9 / (9 + step))
        expected = [before * (1 - share) + now * share for before, now in zip(expected, weights, strict=True)]
    for one, other, last in zip(found, expected, seen[-1], strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-6)
        assert last.ndim < 4 or not np.allclose(one, last, rtol=1e-4, atol=1e-6)


@pytest.mark.usefixtures("untraced")
def test_a_resumed_training_goes_on_with_its_average(parts, tmp_path: Path) -> None:
    recipe = RECIPE.model_copy(update={"average_decay": 0.99, "stages": (Stage(size=32, epochs=3),)})
    whole = Trainer(recipe, *parts, tmp_path / "whole").run()
    with pytest.raises(Killed):
        Trainer(recipe, *parts, tmp_path / "killed", on_step=kill_at(9)).run()
    average = keras.models.clone_model(whole)
    average.load_weights(tmp_path / "killed" / "average.weights.h5")
    last = keras.models.load_model(tmp_path / "killed" / "last.keras", compile=False)
    seen: list[Any] = []

    class Watched(Trainer):
        def _train_epoch(self, model: keras.Model, held: WeightAverage, *rest: Any) -> float:
            seen.append(model.get_layer("conv2").kernel.numpy())
            with held.in_place():
                seen.append(model.get_layer("conv2").kernel.numpy())
            return super()._train_epoch(model, held, *rest)

    Watched(recipe, *parts, tmp_path / "killed").run()
    assert np.array_equal(seen[0], last.get_layer("conv2").kernel)
    assert np.array_equal(seen[1], average.get_layer("conv2").kernel)
    assert not np.array_equal(seen[0], seen[1])


@pytest.mark.usefixtures("untraced")
def test_training_ends_when_the_validation_auc_has_not_risen_for_long(parts, tmp_path: Path) -> None:
    aucs = iter([0.9, 0.5, 0.6, 0.4, 0.3, 0.2])
    recipe = RECIPE.model_copy(update={"stages": (Stage(size=32, epochs=1), Stage(size=40, epochs=5)), "patience": 2})

    class Judged(Trainer):
        def _validation_auc(self, model: keras.Model, size: int) -> float:
            return next(aucs)

    trainer = Judged(recipe, *parts, tmp_path)
    trainer.run()
    # The 0.9 was at another size.
    assert [report.validation_auc for report in trainer.history] == [0.9, 0.5, 0.6, 0.4, 0.3]
    again = Trainer(recipe, *parts, tmp_path, on_step=kill_at(1))
    again.run()
    assert len(again.history) == 5


def test_a_model_trained_in_bfloat16_predicts_in_float32(parts, tmp_path: Path) -> None:
    recipe = ONE_EPOCH.model_copy(update={"precision": "bfloat16", "average_decay": 0.0})
    model = Trainer(recipe, *parts, tmp_path).run()
    trained = keras.models.load_model(tmp_path / "last.keras", compile=False)
    assert (trained.get_layer("conv2").compute_dtype, trained.get_layer("conv2").kernel.dtype) == (
        "bfloat16",
        "float32",
    )
    assert model.get_layer("conv2").compute_dtype == "float32"
    np.testing.assert_allclose(model.get_layer("conv2").kernel, trained.get_layer("conv2").kernel, atol=1e-6)
    assert keras.config.dtype_policy().name == "float32"


def test_a_frozen_stage_trains_the_head_alone(parts, tmp_path: Path) -> None:
    recipe = RECIPE.model_copy(update={"stages": (Stage(size=32, epochs=1, frozen=True), Stage(size=32, epochs=1))})
    seen: list[tuple[Any, Any]] = []

    class Watched(Trainer):
        def _validation_auc(self, model: keras.Model, size: int) -> float:
            seen.append((model.get_layer("conv1").kernel.numpy(), model.get_layer("scores").kernel.numpy()))
            return super()._validation_auc(model, size)

    keras.utils.set_random_seed(recipe.seed)
    start = Trainer(recipe, *parts, tmp_path)._start()
    Watched(recipe, *parts, tmp_path).run()
    (frozen, head), (trained, _) = seen
    assert np.array_equal(frozen, start.get_layer("conv1").kernel)
    assert not np.array_equal(head, start.get_layer("scores").kernel)
    assert not np.array_equal(trained, frozen)


def test_the_threshold_is_chosen_on_validation_images_under_shift(parts, tmp_path: Path) -> None:
    trainer = Trainer(RECIPE, *parts, tmp_path)
    model = trainer._start()
    inputs = evaluation_input(trainer.shifted, 40)
    scores = np.concatenate([model(inputs[i : i + 1], training=False).numpy() for i in range(len(inputs))])
    expected = metrics.best_threshold(scores, parts[1].targets, negative=1)
    assert {figures["threshold"] for figures in judge(trainer, model).values()} == {expected}


def test_a_bundle_never_replaces_what_is_none_and_that_is_said_before_training(data: Path, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(InvalidRequest, match=r"notes\.txt"):
        train(data, RECIPE, tmp_path, "n", Callbacks(on_step=kill_at(1)))


@pytest.mark.usefixtures("untraced")
def test_unreadable_files_are_said(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("heatdrop.model.dataset.MAX_UNREADABLE_SHARE", 0.1)
    (data / "LEG" / "broken.jpg").write_bytes(b"")
    try:
        said: list[str] = []
        with pytest.raises(Killed):
            train(data, RECIPE, tmp_path / "b", "n", Callbacks(on_step=kill_at(1), say=said.append))
        monkeypatch.undo()
        with pytest.raises(InvalidDataset, match=r"broken\.jpg"):
            train(data, RECIPE, tmp_path / "b", "n", Callbacks())
    finally:
        (data / "LEG" / "broken.jpg").unlink()
    assert len(said) == 1
    assert "broken.jpg" in said[0]


def test_batches_hold_the_classes_in_equal_shares_and_are_the_same_for_a_seed(parts) -> None:
    rare = parts[0].subset(np.r_[np.flatnonzero(parts[0].targets == 0)[:2], np.flatnonzero(parts[0].targets == 1)])

    def batches(seed: int) -> list[tuple[Any, Any]]:
        keras.utils.set_random_seed(1)
        return [(x.numpy(), y.numpy()) for x, y in training_batches(rare, 32, 16, seed).take(8)]

    first, second, other = batches(3), batches(3), batches(4)
    assert np.mean([y for _, y in first], axis=(0, 1)) == pytest.approx([0.5, 0.5], abs=0.13)
    for (x, y), (x2, y2) in zip(first, second, strict=True):
        assert x.shape == (16, 32, 32, 3)
        assert np.array_equal(y, y2)
        np.testing.assert_allclose(x, x2, atol=1e-5)
    assert not np.array_equal(first[0][0], other[0][0])
    assert not np.array_equal(first[0][0], first[1][0])


def test_augmented_images_are_those_of_their_class_warped_and_within_range(parts) -> None:
    training = parts[0]
    lowest, highest = (
        preprocess(np.zeros((1, 1, 3), np.uint8), "densenet"),
        preprocess(np.full((1, 1, 3), 255, np.uint8), "densenet"),
    )
    for batch, _ in training_batches(training, 32, 16, 0).take(3):
        x = batch.numpy()
        assert np.isfinite(x).all()
        assert (x >= lowest - 1e-4).all()
        assert (x <= highest + 1e-4).all()
        # Still a picture: neighbours are alike, as they are not in noise.
        grey = x[..., 0]
        assert np.corrcoef(grey[:, :, 1:].ravel(), grey[:, :, :-1].ravel())[0, 1] > 0.8


def test_augmentation_raises_local_contrast_and_leaves_the_picture_at_large(parts, monkeypatch) -> None:
    import tensorflow as tf

    def most_local_contrast(shape, seed, low, high):
        return tf.fill(shape, high if (low, high) == augmentation.LOCAL_CONTRAST else max(0.0, low))

    monkeypatch.setattr(tf.random, "stateless_uniform", most_local_contrast)
    monkeypatch.setattr(tf.random, "stateless_normal", lambda shape, seed: tf.zeros(shape))
    monkeypatch.setattr(augmentation.tf, "where", lambda mirrored, yes, no: yes)
    pixels = parts[0].pixels[:4]
    found = augmentation.augment(tf.constant(pixels), 40, tf.constant([0, 0], tf.int64)).numpy()[..., 0]
    plain = evaluation_input(pixels, 40)[..., 0]

    def at_large(shown):
        return np.stack([cv2.blur(image, (13, 13)) for image in shown])

    assert (found - at_large(found)).std() > 1.3 * (plain - at_large(plain)).std()
    assert np.corrcoef(at_large(found).ravel(), at_large(plain).ravel())[0, 1] > 0.95


def test_without_chance_augmentation_is_what_prediction_sees(parts, monkeypatch: pytest.MonkeyPatch) -> None:
    import tensorflow as tf

    # Every draw at the middle of its range, no mirror, no noise: only the resize of the source is left.
    monkeypatch.setattr(tf.random, "stateless_uniform", lambda shape, seed, low, high: tf.fill(shape, max(0.0, low)))
    monkeypatch.setattr(tf.random, "stateless_normal", lambda shape, seed: tf.zeros(shape))
    pixels = parts[0].pixels[:4]
    monkeypatch.setattr(augmentation.tf, "where", lambda mirrored, yes, no: yes)
    found = augmentation.augment(tf.constant(pixels), 40, tf.constant([0, 0], tf.int64)).numpy()
    np.testing.assert_allclose(found, evaluation_input(pixels, 40), atol=2e-3)


def test_shifted_images_are_others_of_the_same_class_and_the_same_for_a_seed(parts) -> None:
    pixels = parts[1].pixels
    once = shifted(pixels, 3)
    assert (once.shape, once.dtype) == (pixels.shape, np.uint8)
    assert np.array_equal(once, shifted(pixels, 3))
    assert not np.array_equal(once, shifted(pixels, 4))
    assert all(not np.array_equal(a, b) for a, b in zip(once, pixels, strict=True))


def test_evaluation_sees_what_a_bundles_classifier_sees(parts) -> None:
    pixels = parts[1].pixels
    expected = [preprocess(images.resize(image, (32, 32)), "densenet") for image in pixels]
    assert np.array_equal(evaluation_input(pixels, 32), expected)


@pytest.mark.parametrize(
    ("small_first", "transfer", "expected"),
    [
        ("", False, [(160, 5, False)]),
        ("64x6,96x2", False, [(64, 6, False), (96, 2, False), (160, 5, False)]),
        ("", True, [(160, 1, True), (160, 4, False)]),
        ("64x6", True, [(64, 1, True), (64, 6, False), (160, 4, False)]),
    ],
)
def test_stages_go_from_small_to_large_and_a_new_head_is_trained_first(small_first, transfer, expected) -> None:
    stages = plan_stages(5, 160, small_first, transfer)
    assert [(stage.size, stage.epochs, stage.frozen) for stage in stages] == expected


@pytest.mark.parametrize("text", ["64", "64x", "x6", "64x6x2", "64-6", "64x6;96x2", "²x6"])
def test_stages_written_otherwise_are_refused(text: str) -> None:
    with pytest.raises(InvalidRequest, match="64x6,96x6"):
        plan_stages(5, 160, text, transfer=False)


def test_weights_are_none_or_a_file_that_fits(tmp_path: Path) -> None:
    assert available_weights("none", "densenet121", Callbacks()) is None
    fitting, other = tmp_path / "fitting.weights.h5", tmp_path / "other.weights.h5"
    architectures._BUILDERS["densenet121"](False, None, keras.Input((32, 32, 3))).save_weights(fitting)
    other.write_bytes(b"no weights")
    assert available_weights(str(fitting), "densenet121", Callbacks()) == str(fitting)
    with pytest.raises(InvalidRequest, match=r"other\.weights\.h5 do not fit densenet121"):
        available_weights(str(other), "densenet121", Callbacks())
    with pytest.raises(InvalidRequest, match="use auto, imagenet, none or a file"):
        available_weights(str(tmp_path / "missing.h5"), "densenet121", Callbacks())


def test_pictures_of_a_training_take_any_label(tmp_path: Path) -> None:
    labels = ["$x_1$", "肺炎", "a\n\x1b[0m", "W" * 80]
    plot_confusion(np.diag([5, 200, 0, 1]).tolist(), labels, tmp_path / "confusion.png")
    plot_confusion([[0, 0], [0, 0]], labels[:2], tmp_path / "nothing.png")
    plot_history([EpochReport(epoch=1, size=32, loss=1.0, validation_auc=0.5)], tmp_path / "history.png")
    for name in ("confusion", "nothing", "history"):
        assert cv2.imread(str(tmp_path / f"{name}.png")).std() > 0
