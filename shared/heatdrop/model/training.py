"""Train a DenseNet on a folder of labelled images, resumable after a kill."""

import hashlib
import json
import logging
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Literal

import keras
from pydantic import BaseModel, ConfigDict, Field

from heatdrop.errors import InvalidRequest
from heatdrop.model import architectures, augmentation, metrics
from heatdrop.model.averaging import WeightAverage
from heatdrop.model.dataset import Dataset
from heatdrop.vocabulary import Architecture, LabelRule

logger = logging.getLogger(__name__)

Precision = Literal["float32", "bfloat16"]

HEAD_LAYERS = {"pooled", "dropout", "scores"}
HEALTHY_NAMES = {"normal", "healthy", "negative", "no finding"}


class Stage(BaseModel):
    """A number of epochs at one input size; ``frozen`` trains the head alone (the first step of transfer learning)."""

    model_config = ConfigDict(frozen=True)
    size: Annotated[int, Field(ge=32, le=1024)]
    epochs: Annotated[int, Field(ge=1)]
    frozen: bool = False


class Recipe(BaseModel):
    """Everything that decides what is trained; stored in the bundle."""

    model_config = ConfigDict(frozen=True)
    architecture: Architecture = "densenet121"
    weights: str | None = None
    stages: tuple[Stage, ...] = (Stage(size=160, epochs=5),)
    label_rule: LabelRule = "folder"
    batch_size: Annotated[int, Field(ge=1)] = 32
    peak_learning_rate: Annotated[float, Field(gt=0)] = 1.5e-3
    average_decay: Annotated[float, Field(ge=0, lt=1)] = 0.995
    """How much of the moving average of the weights, which is what becomes the model, remains after a step."""
    weight_decay: Annotated[float, Field(ge=0)] = 0.02
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.05
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.2
    standardise: bool = True
    validation_fraction: Annotated[float, Field(gt=0, lt=0.5)] = 0.1
    patience: Annotated[int, Field(ge=1)] = 5
    """Epochs at the final size without a better validation AUC, after which training ends."""
    precision: Precision = "float32"
    """``bfloat16`` computes in it and keeps the weights in float32: faster on a GPU, slower on a CPU."""
    seed: int = 0

    @property
    def image_size(self) -> int:
        """The side of the finished model's input, in pixels."""
        return self.stages[-1].size

    @property
    def plan(self) -> list[tuple[int, bool]]:
        """For each epoch its input size, and whether the base is frozen."""
        return [(stage.size, stage.frozen) for stage in self.stages for _ in range(stage.epochs)]

    @property
    def epochs(self) -> int:
        """Epochs of all stages."""
        return len(self.plan)


class EpochReport(BaseModel):
    """What is known after an epoch: the mean loss of its steps, and the macro AUC of the averaged weights."""

    epoch: int
    size: int
    loss: float
    validation_auc: float


def healthy_class(labels: tuple[str, ...]) -> int | None:
    """The index of the class that means "nothing found", if one is named so."""
    return next((index for index, label in enumerate(labels) if label.lower() in HEALTHY_NAMES), None)


class Trainer:
    """One training run in ``work``: a folder that holds the checkpoint to resume from.

    ``on_step(done, total)`` and ``on_epoch(report)`` are called as it goes.
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
        self.recipe, self.training, self.validation, self.work = recipe, training, validation, work
        self.on_step, self.on_epoch = on_step, on_epoch
        self.steps_per_epoch = max(1, len(training) // recipe.batch_size)
        self.total_steps = self.steps_per_epoch * recipe.epochs
        self.history: list[EpochReport] = []
        self.schedule_starts = [0]
        """After how many epochs the learning rate was warmed up anew: 0, and where the stages still to come changed."""
        self.shifted = augmentation.shifted(validation.pixels, recipe.seed)
        self._average_file, self._best_file = work / "average.weights.h5", work / "best.weights.h5"
        self._best_auc = -1.0

    def run(self) -> keras.Model:
        """Train what is left to train and return the model of the best epoch, at its final input size."""
        keras.utils.set_random_seed(self.recipe.seed)
        self.work.mkdir(parents=True, exist_ok=True)
        with _computing_in(self.recipe.precision):
            model = self._resume() or self._start()
        average = WeightAverage(model, self.recipe.average_decay)
        if self._average_file.exists() and self.history:
            self._restore_average(model, average)
        done, epoch = len(self.history), 0
        for stage in self.recipe.stages:
            first, epoch = max(epoch, done), epoch + stage.epochs
            if first < epoch and not self._exhausted:
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

    def _train_stage(self, model: keras.Model, average: WeightAverage, stage: Stage, first: int, last: int) -> None:
        if _freeze_base(model, stage.frozen) or not model.compiled:
            steps_left = self.total_steps - first * self.steps_per_epoch
            self._compile(model, self._optimizer(steps_left))
        batches = augmentation.training_batches(
            self.training, stage.size, self.recipe.batch_size, self.recipe.seed + 1000 * first
        )
        stream = iter(batches)
        for epoch in range(first, last):
            loss = self._train_epoch(model, average, stream, epoch)
            with average.in_place():
                auc = self._validation_auc(model, stage.size)
                report = EpochReport(epoch=epoch + 1, size=stage.size, loss=loss, validation_auc=auc)
                self._keep_average(model, report)
            self._after_epoch(model, report)
            if self._exhausted:
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
    def _exhausted(self) -> bool:
        """Whether the validation AUC has not risen for as long as ``patience`` has it."""
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
        return _undecayed(keras.optimizers.AdamW(schedule, weight_decay=recipe.weight_decay))

    def _compile(self, model: keras.Model, optimizer: keras.optimizers.Optimizer) -> None:
        loss_function = keras.losses.CategoricalCrossentropy(label_smoothing=self.recipe.label_smoothing)
        model.compile(optimizer, loss_function, jit_compile=False)

    def _validation_auc(self, model: keras.Model, size: int) -> float:
        return metrics.macro_auc(self.predict(model, self.shifted, size), self.validation.targets)

    def _keep_average(self, model: keras.Model, report: EpochReport) -> None:
        """Save the averaged weights, which the model has just now, to go on with and as the best ones if they are."""
        partial = self.work / "partial.weights.h5"
        model.save_weights(partial)
        partial.replace(self._average_file)
        self._keep_if_best(report.size, report.validation_auc)

    def _restore_average(self, model: keras.Model, average: WeightAverage) -> None:
        """Go on with the saved average, and judge it and the best weights anew: by what may have changed since."""
        latest = self.history[-1].size
        with average.in_place():
            judged = self._best_file.exists()
            if judged:
                model.load_weights(self._best_file)
                self._best_auc = self._validation_auc(model, self.recipe.image_size)
            model.load_weights(self._average_file)
            if judged:
                self._keep_if_best(latest, self._validation_auc(model, latest))

    def _keep_if_best(self, size: int, auc: float) -> None:
        """Keep the averaged weights as the best ones if they are; those of a smaller input size never are."""
        if size == self.recipe.image_size and auc > self._best_auc:
            partial = self.work / "partial.weights.h5"
            shutil.copyfile(self._average_file, partial)
            partial.replace(self._best_file)
            self._best_auc = auc

    def _after_epoch(self, model: keras.Model, report: EpochReport) -> None:
        self.history.append(report)
        model.save(self.work / "last.partial.keras")
        state = {
            "recipe": self.recipe.model_dump(),
            "data": self._data_digest(),
            "history": [r.model_dump() for r in self.history],
            "schedule_starts": self.schedule_starts,
        }
        (self.work / "state.partial.json").write_text(json.dumps(state, indent=2))
        (self.work / "last.partial.keras").replace(self.work / "last.keras")
        (self.work / "state.partial.json").replace(self.work / "state.json")
        self.on_epoch(report)

    def _data_digest(self) -> str:
        """Tells whether a training goes on with the files, the labels and the split that it began with."""
        digest = hashlib.sha256()
        for part in (self.training, self.validation):
            digest.update(json.dumps([part.labels, part.targets.tolist(), part.groups]).encode())
        return digest.hexdigest()

    def _resume(self) -> keras.Model | None:
        """The model as it was after the last finished epoch; None when nothing was trained yet.

        Patience, the averaging, the peak learning rate and the stages still to come may have changed since; with
        another rate or other stages the learning rate starts anew over what is left.
        """
        state_file = self.work / "state.json"
        if not state_file.exists():
            return None
        state = json.loads(state_file.read_text())
        before = Recipe.model_validate(state["recipe"])
        self.history = [EpochReport.model_validate(report) for report in state["history"]]
        done = len(self.history)
        ahead = {
            name: getattr(self.recipe, name) for name in ("stages", "patience", "peak_learning_rate", "average_decay")
        }
        same = before.model_copy(update=ahead) == self.recipe
        if not same or before.plan[:done] != self.recipe.plan[:done]:
            raise InvalidRequest(f"{self.work} holds a training with other settings; name another --out or remove it")
        if state.get("data", self._data_digest()) != self._data_digest():
            raise InvalidRequest(f"{self.work} holds a training on other images; name another --out or remove it")
        logger.info("resuming after epoch %d", done)
        replanned = (before.stages, before.peak_learning_rate) != (self.recipe.stages, self.recipe.peak_learning_rate)
        self.schedule_starts = state.get("schedule_starts", [0]) + [done] * replanned
        model = keras.models.load_model(self.work / "last.keras", compile=not replanned)
        if not replanned:
            self._restore_optimizer(model)
        return model

    def _restore_optimizer(self, model: keras.Model) -> None:
        """Keras does not save what is excluded from weight decay, and cannot be told once the optimizer is loaded."""
        saved = model.optimizer
        optimizer = _undecayed(keras.optimizers.AdamW.from_config(saved.get_config()))
        optimizer.build(model.trainable_variables)
        for variable, value in zip(optimizer.variables, saved.variables, strict=True):
            variable.assign(value)
        self._compile(model, optimizer)

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
        final.load_weights(self._best_file)
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


def _undecayed(optimizer: keras.optimizers.Optimizer) -> keras.optimizers.Optimizer:
    """The optimizer, which is to decay kernels alone."""
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
