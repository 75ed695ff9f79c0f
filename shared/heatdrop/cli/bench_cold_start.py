"""``heatdrop bench cold-start``."""

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from heatdrop.cli import bundles, console
from heatdrop.cli.options import BundleFolder, Json

if TYPE_CHECKING:
    from heatdrop.bench.cold_start import ColdStartReport


def cold_start(
    image: Annotated[Path, typer.Argument(metavar="IMAGE", exists=True, dir_okay=False, help="The image to predict.")],
    bundle: BundleFolder = None,
    rounds: Annotated[int, typer.Option(min=1, help="How often each engine is started and each worker measured.")] = 5,
    batch: Annotated[int, typer.Option(min=1, help="How many images a warm worker predicts in each round.")] = 20,
    as_json: Json = False,
) -> None:
    """Time fresh processes until their first prediction, with LiteRT and with TensorFlow, and one warm worker.

    Example: heatdrop bench cold-start chest.dcm
    """
    from heatdrop.bench import cold_start as bench

    ready = bundles.open_or_build(bundle)
    with console.messages.status("preparing") as status:
        report = bench.cold_start(ready, image, rounds, batch, progress=status.update)
    if as_json:
        console.print_json(dataclasses.asdict(report) | {"times_faster": report.times_faster})
        return
    show(report)


def show(report: "ColdStartReport") -> None:
    """Print both engines side by side, then the warm worker for each number of processors."""
    numbers: tuple[str, ...] = ("s to first prediction", "peak MB")
    starts = console.table("from a fresh process", *numbers, right=numbers)
    for name, start in (("LiteRT", report.litert), ("TensorFlow, .keras", report.keras)):
        starts.add_row(name, f"{start.seconds:.2f}", f"{start.peak_mb:.0f}")
    console.answers.print(starts)
    numbers = ("MB of Lambda for them", "ms to decode", "ms to predict", "images/s")
    warm = console.table("one warm worker, vCPUs", *numbers, right=numbers)
    for one in report.throughput:
        times = (f"{1000 * seconds:.1f}" for seconds in (one.decode_seconds, one.predict_seconds))
        warm.add_row(str(one.cpus), f"{one.lambda_mb:,}", *times, f"{one.images_per_second:.1f}")
    console.answers.print(warm)
    console.answers.print(
        f"LiteRT is there {report.times_faster:.1f} times sooner. Medians of {report.rounds} rounds in turn, "
        f"{report.cpus} CPUs, load {report.load_before:.1f} before.",
        markup=False,
    )
