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
    Path | None, typer.Option("--bundle", help="A model bundle; the chest X-ray model that comes along by default.")
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON instead, one object a line.")]


def bounds(bounded: Any, **narrower: float) -> dict[str, Any]:
    """``min`` and ``max`` of an option, as a type of ``vocabulary`` has them, unless ``narrower`` says otherwise."""
    limits = {"ge": "min", "le": "max"}
    metadata = get_args(bounded)[1].metadata
    return {name: getattr(rule, at) for rule in metadata for at, name in limits.items() if hasattr(rule, at)} | narrower


Samples = Annotated[
    int, typer.Option(**bounds(vocabulary.Samples), help="SmoothGrad: noisy copies an image is averaged over; 0: none.")
]
_SETTINGS: dict[str, Any] = {
    "method": Annotated[Method, typer.Option(help="How heatmaps are made.")],
    "top": Annotated[int, typer.Option(**bounds(vocabulary.Top), help="How many of the best classes are explained.")],
    "samples": Samples,
    "noise_level": Annotated[
        float,
        typer.Option(
            **bounds(vocabulary.NoiseLevel), help="Standard deviation of the noise as a share of the value range."
        ),
    ],
    "estimator": Annotated[Estimator, typer.Option(help="Which statistic of the noisy gradients is drawn.")],
    "dicom": Annotated[
        bool, typer.Option("--dicom", help="Also write the overlays of DICOM images as DICOM, for a PACS.")
    ],
}


def with_settings(command: Callable[..., None]) -> Callable[..., None]:
    """Let a command that takes ``settings`` have an option for each of them; the defaults are the settings' own."""
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

    # What Typer reads.
    parameters = [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in own] + options
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return run
