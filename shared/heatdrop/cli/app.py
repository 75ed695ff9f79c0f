"""The commands ``run``, ``classify``, ``explain`` and ``train``; each group of commands has a module of its own."""

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import typer

from heatdrop.cli import (
    bench,
    bundles,
    console,
    cost,
    deploy,
    doctor,
    drop,
    erase,
    extras,
    redrive,
    results,
    serve,
    view,
    watch,
)
from heatdrop.cli.options import BundleFolder, Json, Out, Paths, with_settings
from heatdrop.errors import InvalidRequest
from heatdrop.explaining.inputs import find_files
from heatdrop.explaining.output_folder import OutputFolder
from heatdrop.quiet import native_output_hidden
from heatdrop.vocabulary import Architecture, ExplanationSettings, LabelRule, Result, State

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Every prediction of an image classifier comes back explained. Research software, not a medical device.",
)


@app.command()
@with_settings
def run(
    settings: ExplanationSettings,
    paths: Annotated[
        list[str] | None, typer.Argument(metavar="PATH...", help="Files, folders or glob patterns.")
    ] = None,
    out: Out = Path("out"),
    bundle: BundleFolder = None,
    demo: Annotated[bool, typer.Option("--demo", help="Use the radiographs of the pydicom-data package.")] = False,
    as_json: Json = False,
) -> None:
    """Send images the whole way: S3, Lambda, Batch, DynamoDB and SNS, on this machine.

    Example: heatdrop run xrays/ --out out
    """
    if bool(paths) == demo:
        raise InvalidRequest("name files, folders or patterns, or use --demo")
    files = find_files(paths or [])
    extras.require("local", "tensorflow")
    ready = bundles.chosen(bundle)
    # Imported late: moto takes seconds, and a mistake in the command should be told at once.
    from heatdrop.local.send import STAGES, demo_files, send_files

    files = demo_files() if demo else files
    with console.progress_bar() as bar:
        stages = {stage: bar.add_task(stage, total=len(files)) for stage in STAGES}
        results = send_files(
            files, ready, settings, OutputFolder(out), lambda stage, done: bar.update(stages[stage], completed=done)
        )
    _answer(results, as_json, out)
    raise typer.Exit(int(any(result.state is State.FAILED for result in results)))


@app.command()
def classify(paths: Paths, bundle: BundleFolder = None, as_json: Json = False) -> None:
    """Predict the classes of images, in this process and without heatmaps.

    Example: heatdrop classify 'xrays/*.dcm' --json
    """
    files = find_files(paths)
    # Imported late: OpenCV takes a while, and a mistake in the command should be told at once.
    from heatdrop.explaining.files import classify_files
    from heatdrop.images import Limits

    answers = classify_files(files, bundles.chosen(bundle), Limits())
    _answer(console.track(answers, "classified", len(files), as_json), as_json)


@app.command()
@with_settings
def explain(
    settings: ExplanationSettings,
    paths: Paths,
    out: Out = Path("out"),
    bundle: BundleFolder = None,
    as_json: Json = False,
) -> None:
    """Predict the classes of images and draw why, in this process and without any cloud.

    Example: heatdrop explain chest.dcm --out out
    """
    files = find_files(paths)
    output = OutputFolder(out)
    ready = bundles.chosen(bundle)
    with native_output_hidden():
        from heatdrop.explaining.explainer import Explainer
        from heatdrop.explaining.files import explain_files
        from heatdrop.images import Limits
        from heatdrop.saliency import one_batch_a_core

        one_batch_a_core()
        explainer = Explainer(ready, settings, Limits())
    answers = explain_files(files, explainer, output, Limits())
    _answer(output.saved(console.track(answers, "explained", len(files), as_json)), as_json, out)


@app.command()
def train(
    data: Annotated[Path, typer.Argument(metavar="DATA_DIR", help="A folder of images for each class.")],
    out: Annotated[Path, typer.Option(help="Folder for the bundle.")] = Path("bundle"),
    architecture: Annotated[Architecture, typer.Option(help="Which DenseNet.")] = "densenet121",
    weights: Annotated[str, typer.Option(help="auto, imagenet, none or a file to start from.")] = "auto",
    epochs: Annotated[int, typer.Option(min=1, help="Epochs at the final size.")] = 5,
    image_size: Annotated[int, typer.Option(min=32, max=1024, help="Side of the model's input in pixels.")] = 160,
    small_first: Annotated[str, typer.Option(help="Epochs at smaller sizes before, like 64x6,96x6.")] = "",
    labels: Annotated[LabelRule, typer.Option(help="kermany: PNEUMONIA is split by file name.")] = "folder",
    batch_size: Annotated[int, typer.Option(min=1)] = 32,
    learning_rate: Annotated[
        float, typer.Option(help="Its peak, after half an epoch; a fifth of it for transfer.")
    ] = 1.5e-3,
    patience: Annotated[int, typer.Option(min=1, help="Epochs without a better validation AUC before the end.")] = 5,
    precision: Annotated[str, typer.Option(help="auto (bfloat16 on a GPU), bfloat16 or float32.")] = "auto",
    seed: Annotated[int, typer.Option(min=0)] = 0,
    keep_source: Annotated[Path | None, typer.Option(help="Also write 8-bit weights and a card here.")] = None,
    as_json: Json = False,
) -> None:
    """Train a DenseNet on labelled images and pack it as a bundle; run it again to go on after a stop.

    Example: heatdrop train chest_xray/ --labels kermany --out bundles/chest
    """
    with native_output_hidden():
        from heatdrop.cli.training import train_with_progress

    choices = {
        "architecture": architecture,
        "weights": weights,
        "label_rule": labels,
        "batch_size": batch_size,
        "peak_learning_rate": learning_rate,
        "patience": patience,
        "precision": precision,
        "seed": seed,
    }
    train_with_progress(data, out, choices, epochs, image_size, small_first, keep_source, as_json)


def _answer(results: Iterable[Result], as_json: bool, output: Path | None = None) -> None:
    """Print JSON lines as the answers come, or one table of all."""
    if as_json:
        for result in results:
            console.print_json(result)
    else:
        console.show_results(list(results), output)


app.add_typer(bundles.app, name="bundle")
app.add_typer(bench.app, name="bench")
app.command()(serve.serve)
app.command()(drop.drop)
app.command()(results.results)
app.command()(results.show)
app.command()(watch.watch)
app.command()(cost.cost)
app.command()(doctor.doctor)
app.command("redrive")(redrive.redrive_images)
app.command("erase")(erase.erase_images)
app.command()(view.view)
app.command()(deploy.deploy)
