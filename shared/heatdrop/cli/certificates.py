"""``heatdrop bundle certify``: can the maps of this model be trusted?"""

from pathlib import Path
from typing import Annotated

import typer
from rich.progress import TaskID

from heatdrop import vocabulary
from heatdrop.cli import console
from heatdrop.cli.options import Json, bounds
from heatdrop.model.certificate import Certificate
from heatdrop.quiet import native_output_hidden
from heatdrop.vocabulary import ExplanationSettings, LabelRule


def certify(
    bundle: Annotated[Path, typer.Argument(metavar="BUNDLE", help="The bundle that gets the certificate.")],
    data: Annotated[
        Path,
        typer.Argument(
            metavar="DATA_DIR", help="A folder with a folder of images for each class, none of them trained on."
        ),
    ],
    images: Annotated[int, typer.Option(min=20, help="How many images are used.")] = 100,
    samples: Annotated[
        int, typer.Option(**bounds(vocabulary.Samples, min=1), help="How many noisy copies of an image are averaged.")
    ] = 20,
    labels: Annotated[LabelRule, typer.Option(help="kermany: split PNEUMONIA by file name.")] = "folder",
    keep_source: Annotated[
        Path | None, typer.Option(help="Also write it into the model card of this source folder.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Measure whether a model's maps can be trusted, and write the result into its bundle.

    Ends with exit code 1 if they cannot.

    Example: heatdrop bundle certify bundles/skin held-out/ --images 200
    """
    from heatdrop.model.bundle import open_bundle, with_certificate

    found = open_bundle(bundle)
    with native_output_hidden():
        from heatdrop.model.source import keep_certificate
        from heatdrop.saliency.parallelism import run_batches_in_parallel
        from heatdrop.trust.certify import certify as measure

        run_batches_in_parallel()
    with console.progress_bar() as bar:
        stages: dict[str, TaskID] = {}

        def on_progress(stage: str, done: int, total: int) -> None:
            if stage not in stages:
                stages[stage] = bar.add_task(stage, total=total)
            bar.update(stages[stage], completed=done)

        settings = ExplanationSettings(samples=samples)
        certificate = measure(found, data, settings=settings, count=images, rule=labels, progress=on_progress)
    with_certificate(found, certificate)
    if keep_source:
        keep_certificate(certificate, keep_source)
    if as_json:
        console.print_json(certificate)
    else:
        show(certificate)
    raise typer.Exit(int(not certificate.passed))


def show(certificate: Certificate) -> None:
    """Print a row for each check, then the alarms."""
    table = console.table("check", "", "finding")
    for check in certificate.checks:
        table.add_row(check.name, "[green]passed[/]" if check.passed else "[red]failed[/]", check.statement)
    console.answers.print(table)
    for alarm in certificate.alarms:
        console.answers.print(f"[yellow]alarm[/] {alarm}")
    console.answers.print(f"Certificate: {certificate.summary}", markup=False)
