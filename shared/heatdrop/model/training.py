"""Train a DenseNet on a folder of labelled images, resumable after a kill."""

import hashlib
import json
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import keras

from heatdrop.model import architectures, augmentation, metrics
from heatdrop.model.averaging import WeightAverage
from heatdrop.model.checkpoint import Checkpoint
from heatdrop.model.dataset import Dataset
from heatdrop.model.recipe import EpochReport, Precision, Recipe, Stage

logger = logging.getLogger(__name__)

HEAD_LAYERS = {"pooled", "dropout", "scores"}
"""The layers of ``architectures.build`` behind its base."""
HEALTHY_NAMES = {"normal", "healthy", "negative", "no finding"}
"""Class names, in small letters, that mean that nothing was found."""


def healthy_class(labels: tuple[str, ...]) -> int | None:
    """The index of the class that means "nothing found", if one is named so."""
    return next((index for index, label in enumerate(labels) if label.lower() in HEALTHY_NAMES), None)


class Trainer:
    """One training run, which goes on from the checkpoint in ``work`` if there is one.

    Attributes:
        history: a report for each epoch that is done.
        schedule_starts: after how many epochs the learning rate was warmed up anew.
        shifted: the validation images as another hospital would show them.
    """

    def __init__(
        self,
        recipe: Recipe,
        training: Dataset,
        validation: Dataset,
        work: Path,
        on_step: Callable[[int, int], None] = lambda done, total: None,
        on_epoch: Callable[[EpochReport], None] = lambda report: None,
    ) -> None:
        """Prepare the run.

        Args:
            recipe: how to train.
            training: the images to train on.
            validation: the images that choose the best epoch.
            work: folder of the checkpoint.
            on_step: called with the steps done and those of the whole training, after each.
            on_epoch: called after each epoch.
        """
        self.recipe, self.training, self.validation = recipe, training, validation
        self.on_step, self.on_epoch = on_step, on_epoch
        self.steps_per_epoch = max(1, len(training) // recipe.batch_size)
        self.total_steps = self.steps_per_epoch * recipe.epochs
        self.history: list[EpochReport] = []
        self.schedule_starts = [0]
        self.shifted = augmentation.shifted(validation.pixels, recipe.seed)
        self._checkpoint = Checkpoint(work, recipe, _data_digest(training, validation))

    def run(self) -> keras.Model:
        """Train what is left to train and return the model of the best epoch, at its final input size.

        Raises:
            InvalidRequest: the folder holds the checkpoint of another training.
        """
        keras.utils.set_random_seed(self.recipe.seed)
        self._checkpoint.folder.mkdir(parents=True, exist_ok=True)
        with _computing_in(self.recipe.precision):
            model = self._resume() or self._start()
        average = WeightAverage(model, self.recipe.average_decay)
        if self._checkpoint.average.exists() and self.history:
            self._restore_average(model, average)
        done, epoch = len(self.history), 0
        for stage in self.recipe.stages:
            first, epoch = max(epoch, done), epoch + stage.epochs
            if first < epoch and not self._out_of_patience:
                self._train_stage(model, average, stage, first, epoch)
        return self._finish()

    def predict(self, model: keras.Model, pixels: Any, size: int) -> Any:
        """(N, S, S, 3) bytes to (N, classes) float32 scores at the input ``size``."""
        return model.predict(augmentation.evaluation_input(pixels, size), batch_size=32, verbose=0)

    def _start(self) -> keras.Model:
        recipe = self.recipe
        return architectures.build(
            recipe.architecture,
            len(self.training.labels),
            weights=recipe.weights,
            standardise=recipe.standardise,
            dropout=recipe.dropout,
        )

    def _resume(self) -> keras.Model | None:
        """The model as it was after the last finished epoch; None when nothing was trained yet.

        With another peak learning rate or other stages, the learning rate starts anew over what is left.
        """
        state = self._checkpoint.load_state()
        if state is None:
            return None
        before, now = state.recipe, self.recipe
        replanned = (before.stages, before.peak_learning_rate) != (now.stages, now.peak_learning_rate)
        self.history = state.history
        self.schedule_starts = state.schedule_starts + [len(state.history)] * replanned
        logger.info("resuming after epoch %d", len(state.history))
        model = self._checkpoint.load_model(with_optimizer=not replanned)
        if not replanned:
            _compile(model, _restored(model), now.label_smoothing)
        return model

    def _restore_average(self, model: keras.Model, average: WeightAverage) -> None:
        """Go on with the saved average. Validate it and the best weights again, since what judges may have changed."""
        latest, checkpoint = self.history[-1].size, self._checkpoint
        with average.in_place():
            has_best = checkpoint.best.exists()
            if has_best:
                model.load_weights(checkpoint.best)
                checkpoint.restart_comparison(self._validation_auc(model, self.recipe.image_size))
            model.load_weights(checkpoint.average)
            if has_best:
                checkpoint.keep_if_best(latest, self._validation_auc(model, latest))

    def _train_stage(self, model: keras.Model, average: WeightAverage, stage: Stage, first: int, last: int) -> None:
        if _freeze_base(model, stage.frozen) or not model.compiled:
            steps_left = self.total_steps - first * self.steps_per_epoch
            _compile(model, self._optimizer(steps_left), self.recipe.label_smoothing)
        batches = augmentation.training_batches(
            self.training, stage.size, self.recipe.batch_size, self.recipe.seed + 1000 * first
        )
        stream = iter(batches)
        for epoch in range(first, last):
            loss = self._train_epoch(model, average, stream, epoch)
            with average.in_place():
                auc = self._validation_auc(model, stage.size)
                self._checkpoint.save_average(model)
                self._checkpoint.keep_if_best(stage.size, auc)
            report = EpochReport(epoch=epoch + 1, size=stage.size, loss=loss, validation_auc=auc)
            self.history.append(report)
            self._checkpoint.save(model, self.history, self.schedule_starts)
            self.on_epoch(report)
            if self._out_of_patience:
                logger.info("no better validation AUC in %d epochs", self.recipe.patience)
                break

    def _train_epoch(
        self, model: keras.Model, average: WeightAverage, batches: Iterator[tuple[Any, Any]], epoch: int
    ) -> float:
        """Take the steps of one epoch; returns their mean loss."""
        losses = []
        for step in range(epoch * self.steps_per_epoch + 1, (epoch + 1) * self.steps_per_epoch + 1):
            losses.append(float(model.train_on_batch(*next(batches))))
            average.update(step)
            self.on_step(step, self.total_steps)
        return sum(losses) / len(losses)

    @property
    def _out_of_patience(self) -> bool:
        """Whether the validation AUC at the final size has not risen for ``patience`` epochs."""
        aucs = [report.validation_auc for report in self.history if report.size == self.recipe.image_size]
        return bool(aucs) and len(aucs) - 1 - aucs.index(max(aucs)) >= self.recipe.patience

    def _optimizer(self, steps: int) -> keras.optimizers.Optimizer:
        """AdamW, warmed up over half an epoch and brought down to 1 % along a cosine over ``steps``."""
        recipe = self.recipe
        peak = recipe.peak_learning_rate if recipe.weights is None else recipe.peak_learning_rate / 5
        warmup = max(1, self.steps_per_epoch // 2)
        schedule = keras.optimizers.schedules.CosineDecay(
            peak / 25, max(1, steps - warmup), alpha=0.01, warmup_target=peak, warmup_steps=warmup
        )
        return _sparing_vectors(keras.optimizers.AdamW(schedule, weight_decay=recipe.weight_decay))

    def _validation_auc(self, model: keras.Model, size: int) -> float:
        return metrics.macro_auc(self.predict(model, self.shifted, size), self.validation.targets)

    def _finish(self) -> keras.Model:
        recipe = self.recipe
        final = architectures.build(
            recipe.architecture,
            len(self.training.labels),
            weights=None,
            size=recipe.image_size,
            standardise=recipe.standardise,
        )
        # Into a model without an optimizer, since that of a frozen epoch would not fit a later one.
        final.load_weights(self._checkpoint.best)
        return final


def judge(trainer: Trainer, model: keras.Model) -> dict[str, metrics.Metrics]:
    """Metrics of the finished model on the validation part, as it is and as another scanner would show it.

    The operating threshold of the binary question is chosen on the shifted validation images.
    """
    size, targets = trainer.recipe.image_size, trainer.validation.targets
    negative = healthy_class(trainer.training.labels)
    shifted = trainer.predict(model, trainer.shifted, size)
    threshold = 0.5 if negative is None else metrics.best_threshold(shifted, targets, negative)
    plain = trainer.predict(model, trainer.validation.pixels, size)
    return {
        "validation": metrics.evaluate(plain, targets, negative=negative, threshold=threshold),
        "validation_shifted": metrics.evaluate(shifted, targets, negative=negative, threshold=threshold),
    }


def _data_digest(training: Dataset, validation: Dataset) -> str:
    """Tells whether a training goes on with the labels and the split of the images that it began with."""
    digest = hashlib.sha256()
    for part in (training, validation):
        digest.update(json.dumps([part.labels, part.targets.tolist(), part.groups]).encode())
    return digest.hexdigest()


def _compile(model: keras.Model, optimizer: keras.optimizers.Optimizer, label_smoothing: float) -> None:
    loss = keras.losses.CategoricalCrossentropy(label_smoothing=label_smoothing)
    model.compile(optimizer, loss, jit_compile=False)


def _restored(model: keras.Model) -> keras.optimizers.Optimizer:
    """The optimizer of a model that was loaded, which spares again what it spared from weight decay.

    Keras does not save that, and cannot be told once an optimizer is loaded: so it is made anew with the same state.
    """
    optimizer = _sparing_vectors(keras.optimizers.AdamW.from_config(model.optimizer.get_config()))
    optimizer.build(model.trainable_variables)
    for variable, value in zip(optimizer.variables, model.optimizer.variables, strict=True):
        variable.assign(value)
    return optimizer


def _sparing_vectors(optimizer: keras.optimizers.Optimizer) -> keras.optimizers.Optimizer:
    """The optimizer, told to decay kernels alone, and neither biases nor the scales of normalisations."""
    optimizer.exclude_from_weight_decay(var_names=["gamma", "beta", "bias"])
    return optimizer


@contextmanager
def _computing_in(precision: Precision) -> Iterator[None]:
    """Let the layers made meanwhile compute in ``precision``."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16" if precision == "bfloat16" else "float32")
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def _freeze_base(model: keras.Model, frozen: bool) -> bool:
    """Train the head alone, or everything; True when that changed, and the model has to be compiled again."""
    changed = False
    for layer in model.layers:
        if layer.name not in HEAD_LAYERS and layer.trainable == frozen:
            layer.trainable = not frozen
            changed = True
    return changed
