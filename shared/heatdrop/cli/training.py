"""What ``heatdrop train`` prints: progress, a line for each epoch, and the measured figures at the end."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from heatdrop.cli import console
from heatdrop.errors import InvalidRequest
from heatdrop.model.dataset import Example
from heatdrop.model.gpu import find_gpus
from heatdrop.model.metrics import Metrics
from heatdrop.model.recipe import EpochReport, Recipe
from heatdrop.model.train_command import Callbacks, available_weights, plan_stages, train
from heatdrop.text import first_problem


def train_with_progress(
    data: Path,
    output: Path,
    choices: dict[str, Any],
    epochs: int,
    image_size: int,
    small_first: str,
    keep_source: Path | None,
    as_json: bool = False,
) -> None:
    """Train with progress bars and print the figures.

    Raises:
        InvalidRequest: an option is out of its range.
        InvalidDataset: the data cannot be trained on.
    """
    with console.progress_bar() as bar:

        def track(examples: Iterable[Example], total: int) -> Iterable[Example]:
            return bar.track(examples, total=total, description="read")

        step = bar.add_task("trained", total=None)

        def on_step(done: int, total: int) -> None:
            bar.update(step, completed=done, total=total)

        def on_epoch(report: EpochReport) -> None:
            bar.console.print(
                f"epoch {report.epoch}, {report.size} px: loss {report.loss:.3f}, "
                f"validation AUC under shift {report.validation_auc:.3f}"
            )

        callbacks = Callbacks(track, on_step, on_epoch, bar.console.print)
        recipe = _recipe(choices, epochs, image_size, small_first, callbacks)
        bundle, measured = train(data, recipe, output, output.name, callbacks, keep_source)
    if as_json:
        console.print_json({"bundle": str(output), "model": bundle.model.model_dump(), "metrics": measured})
        return
    show_metrics(measured)
    console.answers.print(f"Bundle {bundle.model.name} {bundle.model.version} is in {output}", markup=False)


def show_metrics(measured: dict[str, Metrics]) -> None:
    """Print the figures with their 95 % intervals."""
    table = console.table("", *measured)
    for name in ("accuracy", "auc", "binary_accuracy", "sensitivity", "specificity"):
        cells = [_cell(metrics, name) for metrics in measured.values()]
        if any(cells):
            table.add_row(name, *cells)
    console.answers.print(table)


def _cell(metrics: Metrics, name: str) -> str:
    value, interval = metrics.get(name), metrics.get(f"{name}_95")
    if not isinstance(value, float) or not isinstance(interval, list):
        return ""
    return f"{value:.3f} ({interval[0]:.3f} to {interval[1]:.3f})"


def _recipe(choices: dict[str, Any], epochs: int, image_size: int, small_first: str, callbacks: Callbacks) -> Recipe:
    try:
        if choices["precision"] == "auto":
            choices = choices | {"precision": "bfloat16" if find_gpus(required=False) else "float32"}
        draft = Recipe(**choices)
        weights = available_weights(choices["weights"], draft.architecture, callbacks)
        return draft.model_copy(
            update={
                "weights": weights,
                # ImageNet's weights were trained on images that were not standardised.
                "standardise": weights is None,
                "stages": plan_stages(epochs, image_size, small_first, transfer=weights is not None),
            }
        )
    except ValidationError as error:
        raise InvalidRequest(first_problem(error)) from error
