"""``heatdrop bench cold-start``."""

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from heatdrop.cli import bundles, console
from heatdrop.cli.options import BundleFolder, Json

if TYPE_CHECKING:
    from heatdrop.bench.cold_start import ColdStartReport


def cold_start(
    image: Annotated[Path, typer.Argument(metavar="IMAGE", exists=True, dir_okay=False, help="The image to predict.")],
    bundle: BundleFolder = None,
    rounds: Annotated[int, typer.Option(min=1, help="How often each engine starts, and each worker has its turn.")] = 5,
    batch: Annotated[int, typer.Option(min=1, help="Images that a warm worker takes in a turn.")] = 20,
    as_json: Json = False,
) -> None:
    """Time fresh processes to their first prediction, LiteRT beside TensorFlow, and one warm worker.

    Example: heatdrop bench cold-start chest.dcm
    """
    from heatdrop.bench import cold_start as bench

    ready = bundles.chosen(bundle)
    with console.messages.status("preparing") as status:
        report = bench.cold_start(ready, image, rounds, batch, progress=status.update)
    if as_json:
        console.print_json(dataclasses.asdict(report) | {"times_faster": report.times_faster})
        return
    show(report)


def show(report: "ColdStartReport") -> None:
    """Print both engines side by side, and the warm worker by how much of a machine it has."""
    starts = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("from a fresh process", "s to first prediction", "peak MB"):
        starts.add_column(heading, justify="left" if heading.startswith("from") else "right")
    for name, start in (("LiteRT", report.litert), ("TensorFlow, .keras", report.keras)):
        starts.add_row(name, f"{start.seconds:.2f}", f"{start.peak_mb:.0f}")
    console.answers.print(starts)
    warm = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("one warm worker, vCPUs", "MB of Lambda for them", "ms to decode", "ms to predict", "images/s"):
        warm.add_column(heading, justify="left" if heading.startswith("one") else "right")
    for one in report.throughput:
        times = (f"{1000 * seconds:.1f}" for seconds in (one.decode_seconds, one.predict_seconds))
        warm.add_row(str(one.cpus), f"{one.lambda_mb:,}", *times, f"{one.images_per_second:.1f}")
    console.answers.print(warm)
    console.answers.print(
        f"LiteRT is there {report.times_faster:.1f} times sooner. Medians of {report.rounds} rounds in turn, "
        f"{report.cpus} CPUs, load {report.load_before:.1f} before.",
        markup=False,
    )
