"""``heatdrop bundle certify``: how far can maps of this model be trusted, and which kind of map is most faithful?"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.progress import TaskID
from rich.table import Table

from heatdrop import vocabulary
from heatdrop.cli import console
from heatdrop.cli.options import Json, bounds
from heatdrop.model import grading
from heatdrop.model.certificate import Certificate
from heatdrop.model.grading import Grade, Interval
from heatdrop.quiet import native_output_hidden
from heatdrop.vocabulary import ExplanationSettings, LabelRule

if TYPE_CHECKING:
    from heatdrop.trust.certify import Measured

_COLOURS: dict[Grade, str] = {"passed": "green", "limited": "yellow", "failed": "red"}


def certify(
    bundle: Annotated[Path, typer.Argument(metavar="BUNDLE", help="The bundle that gets the certificates.")],
    data: Annotated[
        Path,
        typer.Argument(
            metavar="DATA_DIR", help="A folder with a folder of images for each class, none of them trained on."
        ),
    ],
    method: Annotated[
        str,
        typer.Option(help="Kinds of map, with commas: methods, SmoothGrad's estimators, gradient (no noise), or all."),
    ] = "smoothgrad",
    images: Annotated[int, typer.Option(min=20, help="How many images are used.")] = 100,
    samples: Annotated[
        int, typer.Option(**bounds(vocabulary.Samples, min=1), help="How many noisy copies of an image are averaged.")
    ] = 20,
    noise_level: Annotated[
        float, typer.Option(**bounds(vocabulary.NoiseLevel), help="Standard deviation of the noise, of the range.")
    ] = 0.20,
    jitter: Annotated[
        int, typer.Option(**bounds(vocabulary.Jitter), help="Period of the grid that is averaged out; 0: leave it.")
    ] = 0,
    labels: Annotated[LabelRule, typer.Option(help="kermany: split PNEUMONIA by file name.")] = "folder",
    boxes: Annotated[
        Path | None,
        typer.Option(help="Boxes around findings: CSV (file,label,x,y,width,height; label may be left out) or COCO."),
    ] = None,
    keep_source: Annotated[
        Path | None, typer.Option(help="Also write them into the model card of this source folder.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Measure how far a model's maps can be trusted, one certificate for each kind of map, and keep them in its bundle.

    Ends with exit code 1 if a kind of map failed.

    Example: heatdrop bundle certify bundles/skin held-out/ --method all --images 200
    """
    from heatdrop.model.bundle import open_bundle, with_certificates

    found = open_bundle(bundle)
    with native_output_hidden():
        from heatdrop.model.source import keep_certificates
        from heatdrop.saliency.parallelism import run_batches_in_parallel
        from heatdrop.trust.certify import certify as measure
        from heatdrop.trust.kinds import settings_of

        run_batches_in_parallel()
    common = ExplanationSettings(samples=samples, noise_level=noise_level, jitter=jitter)
    kinds = settings_of([name.strip() for name in method.split(",")], common)
    with console.progress_bar() as bar:
        stages: dict[str, TaskID] = {}

        def on_progress(stage: str, done: int, total: int) -> None:
            if stage not in stages:
                stages[stage] = bar.add_task(stage, total=total)
            bar.update(stages[stage], completed=done)

        measured = measure(found, data, settings=kinds, count=images, rule=labels, boxes=boxes, progress=on_progress)
    with_certificates(found, measured.certificates)
    if keep_source:
        keep_certificates(measured.certificates, keep_source)
    if as_json:
        for certificate in measured.certificates:
            console.print_json(certificate)
    else:
        show(measured)
    raise typer.Exit(int(any(certificate.grade == "failed" for certificate in measured.certificates)))


def show(measured: "Measured") -> None:
    """Print which kind of map is most faithful, what each certificate says, and what was left out."""
    if len(measured.certificates) > 1:
        console.answers.print(comparison(measured.certificates))
    for certificate in measured.certificates:
        console.answers.print(f"\n[bold]{certificate.kind.title}[/]: {_coloured(certificate.grade)}")
        console.answers.print(certificate.sentence, markup=False)
        checks = console.table("check", "", "finding")
        for check in certificate.checks:
            checks.add_row(check.name, _coloured(check.grade), check.statement)
        console.answers.print(checks)
        for alarm in certificate.alarms:
            console.answers.print(f"[yellow]alarm[/] {alarm}")
    for problem in measured.problems:
        console.answers.print(f"box not used: {problem}", markup=False)
    for name, reason in measured.left_out.items():
        console.answers.print(f"left out: {name}: {reason}", markup=False)


def comparison(certificates: Sequence[Certificate]) -> Table:
    """Which kind of map is most faithful: a row for each, the best first, with 95 % intervals."""
    table = console.table("kind of map", "faithfulness", "behind the best", "better than", "upper half", "s", "")
    for certificate in certificates:
        figures = {name: value for check in certificate.checks for name, value in check.figures.items()}
        table.add_row(
            certificate.kind.title,
            _number(certificate.faithfulness),
            _number(certificate.behind_best),
            ", ".join(rival for rival, is_beaten in grading.beaten(figures).items() if is_beaten) or "none",
            f"{grading.upper_half(figures)[0]:.2f}",
            "" if certificate.seconds is None else f"{certificate.seconds:.2f}",
            _coloured(certificate.grade),
        )
    table.caption = (
        "faithfulness: insertion less deletion. upper half: rank correlation with the maps of the model whose upper "
        "half is shuffled. s: seconds for one map on this machine"
    )
    return table


def _number(figure: Interval | None) -> str:
    return "" if figure is None else f"{figure[0]:.3f} ({figure[1]:.3f} to {figure[2]:.3f})"


def _coloured(grade: Grade) -> str:
    return f"[{_COLOURS[grade]}]{grade}[/]"
