"""From a data folder to a bundle: what ``heatdrop train`` does."""

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras

from heatdrop.errors import InvalidRequest
from heatdrop.model import architectures, packing, source
from heatdrop.model.bundle import Bundle
from heatdrop.model.dataset import Dataset, Example, find_examples, load, split
from heatdrop.model.export import with_features
from heatdrop.model.metrics import Metrics
from heatdrop.model.plots import plot_confusion, plot_history
from heatdrop.model.recipe import EpochReport, Recipe, Stage
from heatdrop.model.training import Trainer, judge
from heatdrop.model.typicality import Typicality
from heatdrop.vocabulary import Architecture

TYPICAL_IMAGES = 2000
"""About how many training images tell what the model's features look like."""


@dataclass(frozen=True)
class Callbacks:
    """What is called while a training goes on.

    Attributes:
        track: wraps the files that are read, given them and their number; for a progress bar.
        on_step: with the steps done and those of the whole training.
        on_epoch: with the report of an epoch.
        say: with a sentence for the person who trains.
    """

    track: Callable[[Iterable[Example], int], Iterable[Example]] = lambda examples, total: examples
    on_step: Callable[[int, int], None] = lambda done, total: None
    on_epoch: Callable[[EpochReport], None] = lambda report: None
    say: Callable[[str], None] = lambda sentence: None


def plan_stages(epochs: int, image_size: int, small_first: str, transfer: bool) -> tuple[Stage, ...]:
    """The stages of a training.

    Args:
        epochs: how many at the final size, the one that trains the head alone included.
        image_size: the final side of the input, in pixels.
        small_first: stages at other sizes before, written as ``64x6,96x6``: 6 epochs at 64 pixels, then 6 at 96.
        transfer: whether the base has learnt before, so that the head is trained alone for an epoch first.

    Raises:
        InvalidRequest: ``small_first`` is written otherwise.
    """
    stages = []
    for part in filter(None, small_first.split(",")):
        size, _, count = part.partition("x")
        if not (size.isdecimal() and count.isdecimal()):
            raise InvalidRequest(f"small-first is {small_first!r}; write it like 64x6,96x6 (size x epochs)")
        stages.append(Stage(size=int(size), epochs=int(count)))
    if transfer:
        # The head first, or its random start would spoil what the base has learnt.
        stages.insert(0, Stage(size=stages[0].size if stages else image_size, epochs=1, frozen=True))
    return (*stages, Stage(size=image_size, epochs=max(1, epochs - int(transfer))))


def available_weights(asked: str, architecture: Architecture, callbacks: Callbacks) -> str | None:
    """The weights that a base starts from, as Keras takes them: "imagenet", a file, or None for random ones.

    Args:
        asked: ``imagenet``, ``none``, a file, or ``auto``: those of ImageNet where they can be downloaded, else none.
        architecture: of the base.
        callbacks: told when ``auto`` means none.

    Raises:
        InvalidRequest: ``imagenet`` was asked for and cannot be had, or the file is not there or does not fit.
    """
    if asked == "none":
        return None
    if asked not in {"auto", "imagenet"}:
        if not Path(asked).is_file():
            raise InvalidRequest(f"weights is {asked!r}; use auto, imagenet, none or a file of weights")
        try:
            architectures.build(architecture, 2, weights=asked, standardise=False)
        except Exception as error:
            problem = str(error).strip().partition("\n")[0]
            raise InvalidRequest(f"the weights {asked} do not fit {architecture}: {problem}") from error
        return asked
    try:
        architectures.build(architecture, 2, weights="imagenet", standardise=False)
    except Exception as error:
        # Whatever keeps Keras from downloading them, the answer is the same.
        if asked == "imagenet":
            raise InvalidRequest(f"the ImageNet weights cannot be downloaded ({error}); use --weights none") from error
        callbacks.say("The ImageNet weights cannot be downloaded here: training from scratch.")
        return None
    return "imagenet"


def train(
    data: Path, recipe: Recipe, output: Path, name: str, callbacks: Callbacks, keep_source: Path | None = None
) -> tuple[Bundle, dict[str, Metrics]]:
    """Train, judge and pack; a training that was cut short goes on where it was.

    Args:
        data: folder of labelled images.
        recipe: everything that decides what is trained.
        output: folder for the bundle; ``<output>.training`` beside it holds the checkpoint and the pictures.
        name: the bundle's name.
        callbacks: what is called meanwhile.
        keep_source: also write the model as 8-bit weights and a card there; the bundle is then made of those.

    Raises:
        InvalidDataset: the data cannot be trained on.
        InvalidRequest: ``<output>.training`` holds a training with other settings or data, or ``output`` something
            else than a bundle.
    """
    packing.check_free(output)
    examples = find_examples(data, recipe.label_rule)
    largest = max(stage.size for stage in recipe.stages)
    dataset = load(examples, largest, lambda found: callbacks.track(found, len(examples)))
    for problem in dataset.unreadable:
        callbacks.say(f"Left out: {problem}")
    training, validation = split(dataset, recipe.validation_fraction, recipe.seed)
    work = output.resolve()
    work = work.with_name(work.name + ".training")
    trainer = Trainer(recipe, training, validation, work, callbacks.on_step, callbacks.on_epoch)
    model = trainer.run()
    if keep_source:
        source.round_weights(model)
    measured = judge(trainer, model)
    card = _card(name, trainer, measured)
    plot_history(trainer.history, work / "history.png")
    plot_confusion(measured["validation"]["confusion"], dataset.labels, work / "confusion.png")  # type: ignore[arg-type]
    typicality = _typicality(trainer, model)
    if keep_source:
        source.save_source(model, card, keep_source)
        if typicality:
            source.save_typicality(typicality, keep_source)
    bundle = packing.pack(
        model,
        output,
        name=name,
        labels=dataset.labels,
        preprocess_as="densenet",
        training=card["training"],
        typicality=typicality,
    )
    return bundle, measured


def _typicality(trainer: Trainer, model: keras.Model) -> Typicality | None:
    """What the images look like that the model knows; None for a model whose features cannot be found."""
    both = with_features(model)
    if both is None:
        return None
    features = keras.Model(both.inputs[0], both.outputs[1])
    size = trainer.recipe.stages[-1].size
    some = trainer.training.pixels[:: -(-len(trainer.training) // TYPICAL_IMAGES)]
    return Typicality.measure(*(trainer.predict(features, part, size) for part in (some, trainer.validation.pixels)))


def _card(name: str, trainer: Trainer, measured: dict[str, Metrics]) -> dict[str, Any]:
    """What a model's card says: how it is built, how it was trained, and what it reached."""
    recipe = trainer.recipe
    return {
        "name": name,
        "architecture": recipe.architecture,
        "image_size": recipe.image_size,
        "standardise": recipe.standardise,
        "labels": list(trainer.training.labels),
        "training": {
            "recipe": recipe.model_dump(mode="json"),
            "images": {"training": _counts(trainer.training), "validation": _counts(trainer.validation)},
            "epochs": [report.model_dump() for report in trainer.history],
            "schedule_starts": trainer.schedule_starts,
            "metrics": measured,
        },
    }


def _counts(dataset: Dataset) -> dict[str, int]:
    counts = Counter(dataset.targets.tolist())
    return {label: counts[index] for index, label in enumerate(dataset.labels)}
