"""The folder from which a training that was cut short goes on.

    state.json              the recipe, the data and the history of the epochs that are done
    last.keras              the model after the last of them, with its optimizer
    average.weights.h5      the moving average of its weights then
    best.weights.h5         the average after the best epoch: what becomes the model

Each file is written under another name and then renamed, and ``state.json`` last: whenever the training is killed, the
folder holds a whole epoch, and no more than the epoch at work is lost.
"""

import shutil
from pathlib import Path

import keras
from pydantic import BaseModel

from heatdrop.errors import InvalidRequest
from heatdrop.model.recipe import EpochReport, Recipe

_MAY_CHANGE = ("stages", "patience", "peak_learning_rate", "average_decay")
"""Settings that may be others when a training goes on; of the stages only those still to come."""


class TrainingState(BaseModel):
    """What ``state.json`` holds."""

    recipe: Recipe
    data: str | None = None
    """A digest of the images, their labels and their split; None if written before it was kept."""
    history: list[EpochReport] = []
    schedule_starts: list[int] = [0]
    """After how many epochs the learning rate was warmed up anew: 0, and where the stages still to come changed."""


class Checkpoint:
    """The files of one training in ``folder``.

    Args:
        folder: where they are kept; made when the first is written.
        recipe: how the training goes on now.
        data: the digest of the images that it has now.
    """

    def __init__(self, folder: Path, recipe: Recipe, data: str) -> None:
        self.folder, self.recipe, self.data = folder, recipe, data
        self.average, self.best = folder / "average.weights.h5", folder / "best.weights.h5"
        self._state, self._model = folder / "state.json", folder / "last.keras"
        self._best_auc = -1.0

    def load_state(self) -> TrainingState | None:
        """What was trained before; None when there was nothing yet.

        Raises:
            InvalidRequest: that was another training: of other settings than those that may change, or other images.
        """
        if not self._state.exists():
            return None
        state = TrainingState.model_validate_json(self._state.read_bytes())
        done = len(state.history)
        changes = {name: getattr(self.recipe, name) for name in _MAY_CHANGE}
        if (
            state.recipe.model_copy(update=changes) != self.recipe
            or state.recipe.plan[:done] != self.recipe.plan[:done]
        ):
            raise InvalidRequest(f"{self.folder} holds a training with other settings; name another --out or remove it")
        if state.data not in {None, self.data}:
            raise InvalidRequest(f"{self.folder} holds a training on other images; name another --out or remove it")
        return state

    def load_model(self, *, with_optimizer: bool) -> keras.Model:
        """The model as it was after the last finished epoch."""
        model: keras.Model = keras.models.load_model(self._model, compile=with_optimizer)
        return model

    def save(self, model: keras.Model, history: list[EpochReport], schedule_starts: list[int]) -> None:
        """Keep the model, its optimizer and the history after an epoch."""
        state = TrainingState(recipe=self.recipe, data=self.data, history=history, schedule_starts=schedule_starts)
        partial_model, partial_state = self.folder / "last.partial.keras", self.folder / "state.partial.json"
        model.save(partial_model)
        partial_state.write_text(state.model_dump_json(indent=2))
        partial_model.replace(self._model)
        partial_state.replace(self._state)

    def save_average(self, averaged: keras.Model) -> None:
        """Keep the moving average, which the model has for weights just now."""
        averaged.save_weights(self._partial_weights)
        self._partial_weights.replace(self.average)

    def keep_if_best(self, size: int, auc: float) -> None:
        """Keep the saved average as the best weights if ``auc`` is the greatest so far at the final input size."""
        if size == self.recipe.image_size and auc > self._best_auc:
            shutil.copyfile(self.average, self._partial_weights)
            self._partial_weights.replace(self.best)
            self._best_auc = auc

    def restart_comparison(self, auc: float) -> None:
        """Compare from now on with ``auc``, which the best weights were just found to have."""
        self._best_auc = auc

    @property
    def _partial_weights(self) -> Path:
        return self.folder / "partial.weights.h5"
