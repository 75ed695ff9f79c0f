"""Pictures of a training: its curves and its confusion matrix."""

import warnings
from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure

from heatdrop.model.recipe import EpochReport
from heatdrop.text import printable


def plot_history(history: Sequence[EpochReport], path: Path) -> None:
    """Loss and validation AUC against the epoch, as a PNG."""
    figure = Figure(figsize=(8, 3.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    epochs = [report.epoch for report in history]
    left.plot(epochs, [report.loss for report in history], marker="o")
    left.set(title="training loss", xlabel="epoch")
    right.plot(epochs, [report.validation_auc for report in history], marker="o")
    right.set(title="validation AUC under shift (mean over classes)", xlabel="epoch")
    figure.savefig(path, dpi=110)


def plot_confusion(confusion: Sequence[Sequence[int]], labels: Sequence[str], path: Path) -> None:
    """How often each class (rows) was taken for each (columns), as a PNG."""
    figure = Figure(figsize=(4.6, 4.2), layout="constrained")
    axes = figure.subplots()
    axes.imshow(confusion, cmap="Blues", vmin=0)
    dark = max(max(counts) for counts in confusion) / 2
    for row, counts in enumerate(confusion):
        for column, count in enumerate(counts):
            axes.text(column, row, str(count), ha="center", va="center", color="white" if count > dark else "black")
    axes.set(xticks=range(len(labels)), yticks=range(len(labels)), xlabel="predicted", ylabel="true")
    names = [printable(label)[:16] for label in labels]
    axes.set_xticklabels(names, parse_math=False, rotation=30, ha="right")
    axes.set_yticklabels(names, parse_math=False)
    with warnings.catch_warnings():
        # A letter that matplotlib's font lacks is drawn as a box.
        warnings.filterwarnings("ignore", "Glyph")
        figure.savefig(path, dpi=110)
