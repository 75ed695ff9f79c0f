"""``heatdrop bench smoothgrad`` and ``heatdrop bench reference``: SmoothGrad beside other libraries."""

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from heatdrop import vocabulary
from heatdrop.cli import console
from heatdrop.cli.options import BenchOut, Json, bounds
from heatdrop.project import BUILD
from heatdrop.quiet import native_output_hidden

_SCRATCH = BUILD / "bench"


def smoothgrad(
    out: BenchOut = Path("out/bench"),
    architecture: Annotated[
        str, typer.Option(help="densenet121, densenet169, densenet201 or small, with fixed random weights.")
    ] = "densenet201",
    image_size: Annotated[int, typer.Option(min=32, max=1024, help="Side of the model's input in pixels.")] = 224,
    bundle: Annotated[Path | None, typer.Option(help="Measure this trained model instead.")] = None,
    samples: Annotated[
        int, typer.Option(**bounds(vocabulary.Samples, min=1), help="How many noisy copies of an image are averaged.")
    ] = 20,
    classes: Annotated[int, typer.Option(min=1, max=3, help="How many classes of an image are explained.")] = 3,
    rounds: Annotated[int, typer.Option(min=1, help="How often each library explains an image.")] = 5,
    peers: Annotated[str, typer.Option(help="Libraries to compare with: a comma-separated list, all or none.")] = "all",
    parts: Annotated[str, typer.Option(help="What to measure, of contenders,limits,scaling,errors,memory.")] = "all",
    quick: Annotated[
        bool, typer.Option("--quick", help="Measure little, with a small model: to see that it works.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Compare SmoothGrad with tf-keras-vis, Xplique, PAIR saliency and Captum on this machine.

    Example: heatdrop bench smoothgrad --architecture densenet201
    """
    with native_output_hidden():
        from heatdrop.bench import report
        from heatdrop.bench.contenders import chosen_peers
        from heatdrop.bench.measurements import Plan
        from heatdrop.bench.smoothgrad import PARTS, QUICK, measure
        from heatdrop.bench.subjects import SMALL, prepare

    plan = QUICK if quick else Plan(rounds=rounds)
    plan = replace(plan, samples=samples, classes=classes)
    wanted = PARTS if parts == "all" else tuple(parts.split(","))
    contenders = chosen_peers(peers)
    if quick and bundle is None:
        architecture, image_size = SMALL, 64
    with console.messages.status("preparing") as status, native_output_hidden():
        subject = prepare(architecture, image_size, bundle, 4, _SCRATCH / "subject")
        figures = measure(subject, wanted, contenders, plan, status.update)
    written = report.write(figures, out)
    if as_json:
        console.print_json(figures)
        return
    show(figures)
    console.answers.print("Written: " + ", ".join(map(str, written)), markup=False, soft_wrap=True)


def reference(file: Annotated[Path, typer.Argument(metavar="FILE.npz")]) -> None:
    """Compute maps with Captum for the tests to compare with.

    Example: heatdrop bench reference tests/data/captum_smoothgrad.npz
    """
    with console.messages.status("preparing") as status:
        with native_output_hidden():
            from heatdrop.bench.reference import write_reference
        write_reference(file, _SCRATCH / "reference", status.update)


def show(figures: dict[str, Any]) -> None:
    """Print a table of the libraries and a line for each other part."""
    machine = figures["machine"]
    about = (
        f"{figures['subject']}; {machine['processor']}, {machine['cores']} cores, load {machine['load_average']:.1f}"
    )
    console.answers.print(about, markup=False)
    if "contenders" in figures:
        console.answers.print(_contenders(figures["contenders"]))
    for line in _lines(figures):
        console.answers.print(line, markup=False)


def _contenders(contenders: dict[str, Any]) -> Table:
    numbers = ("s/image", "x heatdrop", "peak MB", "warm-up s", "relative L2", "cosine")
    table = console.table("", *numbers, right=numbers)
    for name, found in contenders.items():
        if "unavailable" in found:
            table.add_row(name, found["unavailable"])
            continue
        agreement = [f"{found['relative_l2']:.1e}", f"{found['cosine']:.7f}"] if "cosine" in found else ["", ""]
        figures = (found["median_seconds"], found["times_heatdrop"], found["peak_mb"], found["warm_up_seconds"])
        table.add_row(
            name, *(f"{value:,.{digits}f}" for value, digits in zip(figures, (2, 1, 0, 1), strict=True)), *agreement
        )
    return table


def _lines(figures: dict[str, Any]) -> list[str]:
    lines = []
    if "limits" in figures:
        limits = figures["limits"]
        share = limits.get("share_of_limit")
        lines.append(
            f"{limits['gflop_per_image']:,.0f} GFLOP an image; this machine does "
            f"{max(limits['gflop_per_second'].values()):,.0f} GFLOP/s"
            + (f", of which Heatdrop reaches {share:.0%}" if share else "")
        )
    for name in ("mean_abs", "signed") if "errors" in figures else ():
        lines.append(
            f"{name}: stratified noise saves {figures['errors'][name]['fewer_gradients']:.0%} of the gradients"
        )
    if "memory" in figures:
        memory = figures["memory"]
        lines.append(
            f"peak memory grows by {memory['growth_by_samples']:.1%} with ten times the samples, "
            f"by {memory['growth_by_images']:.1%} over many images"
        )
    return lines
