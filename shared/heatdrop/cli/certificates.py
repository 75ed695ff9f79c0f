"""``heatdrop bundle certify``: can the maps of this model be trusted?"""

import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import TaskID
from rich.table import Table

from heatdrop.cli import console
from heatdrop.model.certificate import Certificate
from heatdrop.quiet import native_output_hidden
from heatdrop.vocabulary import ExplanationSettings, LabelRule


def certify(
    bundle: Annotated[Path, typer.Argument(metavar="BUNDLE", help="The bundle that gets the certificate.")],
    data: Annotated[
        Path, typer.Argument(metavar="DATA_DIR", help="A folder of images for each class, not trained on.")
    ],
    images: Annotated[int, typer.Option(min=20, help="How many images are used.")] = 100,
    samples: Annotated[int, typer.Option(min=1, max=1000, help="Noisy copies an image is averaged over.")] = 20,
    labels: Annotated[LabelRule, typer.Option(help="kermany: PNEUMONIA is split by file name.")] = "folder",
    keep_source: Annotated[Path | None, typer.Option(help="Also write it on the card of this source folder.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Measure whether a model's maps can be trusted, and write the answer into its bundle. Exit code 1: they cannot.

    Example: heatdrop bundle certify bundles/skin held-out/ --images 200
    """
    from heatdrop.model.bundle import open_bundle, with_certificate

    found = open_bundle(bundle)
    with native_output_hidden():
        from heatdrop.model.source import keep_certificate
        from heatdrop.saliency import run_batches_in_parallel
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
        sys.stdout.write(certificate.model_dump_json() + "\n")
    else:
        show(certificate)
    raise typer.Exit(int(not certificate.passed))


def show(certificate: Certificate) -> None:
    """A row for each check, then the alarms."""
    table = Table("check", "", "finding", box=None, pad_edge=False, header_style="bold")
    for check in certificate.checks:
        table.add_row(check.name, "[green]passed[/]" if check.passed else "[red]failed[/]", check.statement)
    console.answers.print(table)
    for alarm in certificate.alarms:
        console.answers.print(f"[yellow]alarm[/] {alarm}")
    console.answers.print(f"Certificate: {certificate.summary}", markup=False)
