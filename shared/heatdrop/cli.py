"""The command line: ``heatdrop run | classify | explain | train | bundle``."""

import logging
import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import typer

from heatdrop import console, direct
from heatdrop.artefacts import OutputFolder
from heatdrop.errors import HeatdropError, InvalidBundle, InvalidRequest
from heatdrop.images import Limits
from heatdrop.inputs import find_files
from heatdrop.model.bundle import Bundle, open_bundle
from heatdrop.vocabulary import ESTIMATORS, Estimator, ExplanationSettings, Result, State

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Every prediction of an image classifier comes back explained. Research software, not a medical device.",
)

Paths = Annotated[list[str], typer.Argument(metavar="PATH...", help="Files, folders (walked) or glob patterns.")]
Out = Annotated[Path, typer.Option(help="Folder for results.jsonl and the heatmaps.")]
BundleFolder = Annotated[
    Path | None, typer.Option("--bundle", help="A model bundle; the chest X-ray model that comes along by default.")
]
Top = Annotated[int, typer.Option(min=1, max=20, help="How many of the best classes are explained.")]
Samples = Annotated[int, typer.Option(min=0, max=1000, help="Noisy copies an image is averaged over; 0: none.")]
NoiseLevel = Annotated[
    float, typer.Option(min=1e-6, max=1.0, help="Standard deviation of the noise as a share of the value range.")
]
EstimatorName = Annotated[str, typer.Option(help=f"One of {', '.join(ESTIMATORS)}.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON lines instead of a table.")]


@app.command()
def run(
    paths: Annotated[list[str] | None, typer.Argument(metavar="PATH...", help="Files, folders or glob patterns.")] = None,
    out: Out = Path("out"),
    bundle: BundleFolder = None,
    top: Top = 3,
    samples: Samples = 20,
    noise_level: NoiseLevel = 0.20,
    estimator: EstimatorName = "mean_abs",
    demo: Annotated[bool, typer.Option("--demo", help="Use the radiographs of the pydicom-data package.")] = False,
    as_json: Json = False,
) -> None:
    """Send images the whole way: S3, Lambda, Batch, DynamoDB and SNS, on this machine.

    Example: heatdrop run xrays/ --out out
    """
    from heatdrop.local.run import STAGES, demo_files, run_files

    if bool(paths) == demo:
        raise InvalidRequest("name files, folders or patterns, or use --demo")
    files = demo_files() if demo else find_files(paths or [])
    settings = _settings(top, samples, noise_level, estimator)
    ready = _bundle(bundle)
    with console.progress_bar() as bar:
        stages = {stage: bar.add_task(stage, total=len(files)) for stage in STAGES}
        results = run_files(
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
    answers = direct.classify_files(files, _bundle(bundle), Limits())
    _answer(list(console.track(answers, "classified", len(files))), as_json)


@app.command()
def explain(
    paths: Paths,
    out: Out = Path("out"),
    bundle: BundleFolder = None,
    top: Top = 3,
    samples: Samples = 20,
    noise_level: NoiseLevel = 0.20,
    estimator: EstimatorName = "mean_abs",
    as_json: Json = False,
) -> None:
    """Predict the classes of images and draw why, in this process and without any cloud.

    Example: heatdrop explain chest.dcm --out out
    """
    from heatdrop.explaining import Explainer

    files = find_files(paths)
    settings = _settings(top, samples, noise_level, estimator)
    output = OutputFolder(out)
    explainer = Explainer(_bundle(bundle), settings, Limits())
    answers = direct.explain_files(files, explainer, output, Limits())
    results = list(console.track(answers, "explained", len(files)))
    output.save_results(results)
    _answer(results, as_json, out)


def _settings(top: int, samples: int, noise_level: float, estimator: str) -> ExplanationSettings:
    known: tuple[Estimator, ...] = tuple(name for name in ESTIMATORS if name == estimator)
    if not known:
        raise InvalidRequest(f"estimator is {estimator!r}; choose one of {', '.join(ESTIMATORS)}")
    return ExplanationSettings(top=top, samples=samples, noise_level=noise_level, estimator=known[0])


def _bundle(folder: Path | None) -> Bundle:
    if folder is not None:
        return open_bundle(folder)
    from heatdrop.model import default

    ready = default.open_default()
    if ready is None:
        console.messages.print("Building the chest X-ray bundle from its weights, once ...")
        ready = default.build_default()
    return ready


def _answer(results: Iterable[Result], as_json: bool, output: Path | None = None) -> None:
    if as_json:
        for result in results:
            sys.stdout.write(result.model_dump_json() + "\n")
    else:
        console.show_results(list(results), output)


def main() -> None:
    """Run the command line; what Heatdrop reports becomes a sentence and an exit code, never a traceback."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
    try:
        app()
    except (InvalidRequest, InvalidBundle) as error:
        console.messages.print(f"heatdrop: {error}", style="red", markup=False)
        sys.exit(2)
    except HeatdropError as error:
        console.messages.print(f"heatdrop: {error}", style="red", markup=False)
        sys.exit(1)


if __name__ == "__main__":
    main()
