"""``heatdrop bench pipeline``."""

from pathlib import Path
from typing import Annotated, Any

import typer

from heatdrop.cli import bundles, console, extras
from heatdrop.cli.options import BenchOut, BundleFolder, Json, Samples
from heatdrop.explaining.inputs import find_files
from heatdrop.vocabulary import ExplanationSettings


def pipeline(
    paths: Annotated[
        list[str] | None,
        typer.Argument(metavar="[PATH]...", help="Images that are dropped in turn; the demo's by default."),
    ] = None,
    images: Annotated[int, typer.Option(min=10, help="How many images are dropped.")] = 1000,
    bundle: BundleFolder = None,
    samples: Samples = 20,
    out: BenchOut = Path("out/bench"),
    as_json: Json = False,
) -> None:
    """Send a tenth of the images, then all of them, through a local cloud, and measure throughput, queues and memory.

    Ends with exit code 1 if an image or an artefact was lost.

    Example: heatdrop bench pipeline --images 1000
    """
    extras.require("local", "explain")
    ready = bundles.open_or_build(bundle)
    # moto takes seconds to import.
    from heatdrop.bench import pipeline as bench
    from heatdrop.local.send import demo_files

    files = find_files(paths) if paths else demo_files()
    settings = ExplanationSettings(samples=samples)
    runs = []
    with console.progress_bar() as bar:
        for count in (images // 10, images):
            stages = {name: bar.add_task(name, total=count) for name in ("dropped", "classified", "explained")}
            logs = out / "logs" / str(count)
            runs.append(
                bench.load_test(
                    files,
                    count,
                    ready,
                    settings,
                    logs,
                    lambda stage, done, stages=stages: bar.update(stages[stage], completed=done),  # type: ignore[misc]
                )
            )
    figures = bench.compare(*runs)
    written = bench.write(figures, out)
    if as_json:
        console.print_json(figures)
    else:
        show(figures)
        console.answers.print("Written: " + ", ".join(map(str, written)), markup=False, soft_wrap=True)
    raise typer.Exit(int(any(run["lost"] for run in runs)))


def show(figures: dict[str, Any]) -> None:
    """Print both runs side by side."""
    headings = ("images", "classified/s", "explained/s", "CPU s an image", "lost")
    table = console.table(*headings, right=headings)
    for run in (figures["few"], figures["many"]):
        rates = run["images_per_second"]
        table.add_row(
            str(run["images"]),
            *(f"{rates.get(stage, 0):.2f}" for stage in ("classified", "explained")),
            f"{run['cpu_seconds_per_image']:.2f}",
            str(run["lost"]),
        )
    console.answers.print(table)
    about = figures["machine"]
    console.answers.print(
        f"An image costs {figures['cost_growth']:+.1%} with ten times as many; {about['cores']} CPUs, "
        f"load {about['load_average']:.1f}.",
        markup=False,
    )
