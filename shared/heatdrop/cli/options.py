"""Options that several commands share, each described once."""

import functools
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, get_args

import typer

from heatdrop import vocabulary
from heatdrop.vocabulary import Estimator, ExplanationSettings, Method

Paths = Annotated[list[str], typer.Argument(metavar="PATH...", help="Files, folders (walked) or glob patterns.")]
Out = Annotated[Path, typer.Option(help="Folder for results.jsonl and the heatmaps.")]
BenchOut = Annotated[Path, typer.Option(help="Folder for the report (JSON) and its plot.")]
BundleFolder = Annotated[
    Path | None, typer.Option("--bundle", help="A model bundle; by default the bundled chest X-ray model.")
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON, one object per line.")]


def bounds(bounded: Any, **narrower: float) -> dict[str, Any]:
    """``min`` and ``max`` of an option, as a type of ``vocabulary`` has them, unless ``narrower`` says otherwise."""
    limits = {"ge": "min", "le": "max"}
    metadata = get_args(bounded)[1].metadata
    return {name: getattr(rule, at) for rule in metadata for at, name in limits.items() if hasattr(rule, at)} | narrower


Samples = Annotated[
    int,
    typer.Option(
        **bounds(vocabulary.Samples),
        help="How many noisy copies SmoothGrad averages (0: no noise); steps of integrated gradients.",
    ),
]
_SETTINGS: dict[str, Any] = {
    "method": Annotated[Method, typer.Option(help="The explanation method.")],
    "top": Annotated[int, typer.Option(**bounds(vocabulary.Top), help="How many of the best classes are explained.")],
    "samples": Samples,
    "noise_level": Annotated[
        float,
        typer.Option(
            **bounds(vocabulary.NoiseLevel),
            help="Standard deviation of the noise, as a share of the image's value range.",
        ),
    ],
    "estimator": Annotated[Estimator, typer.Option(help="SmoothGrad: which statistic of the gradients is drawn.")],
    "jitter": Annotated[
        int,
        typer.Option(
            **bounds(vocabulary.Jitter),
            help="SmoothGrad: average out the grid of this period in pixels (4 for a DenseNet); 0: leave it.",
        ),
    ],
    "dicom": Annotated[bool, typer.Option("--dicom", help="Also write overlays of DICOM images as DICOM, for a PACS.")],
}


def with_settings(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command that takes ``settings`` an option for each, with the default of ``ExplanationSettings``."""
    defaults = ExplanationSettings()
    options = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=getattr(defaults, name), annotation=annotation)
        for name, annotation in _SETTINGS.items()
    ]
    own = [parameter for parameter in inspect.signature(command).parameters.values() if parameter.name != "settings"]

    @functools.wraps(command)
    def run(**values: Any) -> None:
        settings = ExplanationSettings(**{name: values.pop(name) for name in _SETTINGS})
        command(settings=settings, **values)

    # Typer reads the options from the signature.
    parameters = [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in own] + options
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return run
