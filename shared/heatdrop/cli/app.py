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
    help="Explains every prediction of an image classifier. Research software, not a medical device.",
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
    """Send images through the whole pipeline (S3, Lambda, Batch, DynamoDB, SNS) on this machine.

    Ends with exit code 1 if an image FAILED.

    Example: heatdrop run xrays/ --out out
    """
    if bool(paths) == demo:
        raise InvalidRequest("name files, folders or patterns, or use --demo")
    files = find_files(paths or [])
    extras.require("local", "explain")
    ready = bundles.open_or_build(bundle)
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
    """Predict the classes of images, without heatmaps and without a cloud.

    Example: heatdrop classify 'xrays/*.dcm' --json
    """
    files = find_files(paths)
    # Imported late: OpenCV takes a while, and a mistake in the command should be told at once.
    from heatdrop.explaining.files import classify_files
    from heatdrop.images import Limits

    answers = classify_files(files, bundles.open_or_build(bundle), Limits())
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
    """Predict the classes of images and draw heatmaps, without a cloud.

    Example: heatdrop explain chest.dcm --out out
    """
    files = find_files(paths)
    output = OutputFolder(out)
    ready = bundles.open_or_build(bundle)
    with native_output_hidden():
        from heatdrop.explaining.explainer import Explainer
        from heatdrop.explaining.files import explain_files
        from heatdrop.images import Limits
        from heatdrop.saliency.parallelism import run_batches_in_parallel

        run_batches_in_parallel()
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
    small_first: Annotated[str, typer.Option(help="Epochs at smaller sizes first, like 64x6,96x6.")] = "",
    labels: Annotated[LabelRule, typer.Option(help="kermany: split PNEUMONIA by file name.")] = "folder",
    batch_size: Annotated[int, typer.Option(min=1, help="Images in a batch.")] = 32,
    learning_rate: Annotated[
        float, typer.Option(help="Peak learning rate, reached after half an epoch; transfer uses a fifth.")
    ] = 1.5e-3,
    patience: Annotated[
        int, typer.Option(min=1, help="Stop after so many epochs without a better validation AUC.")
    ] = 5,
    precision: Annotated[str, typer.Option(help="auto (bfloat16 on a GPU), bfloat16 or float32.")] = "auto",
    seed: Annotated[int, typer.Option(min=0, help="Seed of everything random.")] = 0,
    keep_source: Annotated[Path | None, typer.Option(help="Also write 8-bit weights and a model card here.")] = None,
    as_json: Json = False,
) -> None:
    """Train a DenseNet on labelled images and pack it as a bundle. Run it again to continue after an interruption.

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
    """Print each result as a JSON line when it arrives, or all as one table."""
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
