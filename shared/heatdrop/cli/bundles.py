"""``heatdrop bundle build | pack | check | push | certify``."""

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from heatdrop.cli import certificates, console
from heatdrop.cli.options import Json
from heatdrop.errors import InvalidRequest
from heatdrop.quiet import native_output_hidden

if TYPE_CHECKING:
    from heatdrop.model.bundle import Bundle
    from heatdrop.model.model_files import Head

app = typer.Typer(no_args_is_help=True, help="Make, check and publish model bundles.")
app.command("certify")(certificates.certify)


@app.command("build")
def build(as_json: Json = False) -> None:
    """Build the bundle of the bundled chest X-ray model, unless it is there.

    Example: heatdrop bundle build
    """
    _show(open_or_build(None), as_json)


@app.command("pack")
def pack(
    model: Annotated[
        Path,
        typer.Argument(
            metavar="MODEL",
            help="An image classifier: .onnx, .keras, .h5, .safetensors, or a SavedModel.",
        ),
    ],
    labels: Annotated[
        Path,
        typer.Option(
            help="Class names in the order of the model's outputs: a JSON list, Keras's class_indices, or one per line."
        ),
    ],
    preprocess: Annotated[
        str,
        typer.Option(
            help="How pixels become the model's input: densenet, torchvision, imagenet, scale01, plusminus1, "
            "torchxrayvision, raw (or none), or a JSON file."
        ),
    ],
    out: Annotated[Path, typer.Option(help="Folder for the bundle.")] = Path("bundle"),
    name: Annotated[str | None, typer.Option(help="The bundle's name; the model file's by default.")] = None,
    head: Annotated[
        str | None,
        typer.Option(help="For a model that ends in logits: softmax for one class of several, or sigmoid for labels."),
    ] = None,
    size: Annotated[
        str | None, typer.Option(metavar="HEIGHTxWIDTH", help="For a model that takes images of any size.")
    ] = None,
    threshold: Annotated[
        str,
        typer.Option(
            help="From which probability on a label is found, where a model judges each by itself: "
            "a number, or a JSON list with one for each label."
        ),
    ] = "0.5",
    architecture: Annotated[
        str | None,
        typer.Option(help="For weights alone (.safetensors): a model of keras.applications, such as ResNet50."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Make a bundle of your own model.

    Example: heatdrop bundle pack skin.onnx --labels labels.json --preprocess torchvision --head softmax
    """
    with native_output_hidden():
        from heatdrop.model.packing import pack_file

        packed = pack_file(
            model,
            labels,
            preprocess,
            out,
            name or model.stem,
            size=_size(size),
            head=cast("Head | None", head),
            threshold=threshold,
            architecture=architecture,
        )
    _show(packed, as_json)


def _size(given: str | None) -> tuple[int, int] | None:
    """(height, width) of ``224x224`` or ``224``.

    Raises:
        InvalidRequest: it is neither.
    """
    if given is None:
        return None
    found = re.fullmatch(r"([1-9]\d{0,3})(?:x([1-9]\d{0,3}))?", given)
    if found is None:
        raise InvalidRequest(f"size is {given!r}; use HEIGHTxWIDTH in pixels, such as 224x224")
    return int(found[1]), int(found[2] or found[1])


@app.command("check")
def check(folder: Annotated[Path, typer.Argument(metavar="BUNDLE")], as_json: Json = False) -> None:
    """Check that no file of a bundle was changed since it was packed.

    Example: heatdrop bundle check bundles/skin
    """
    from heatdrop.model.bundle import open_bundle

    found = open_bundle(folder)
    for file in found.files:
        found.read(file)
    _show(found, as_json)


@app.command("push")
def push(
    folder: Annotated[Path, typer.Argument(metavar="BUNDLE")],
    uri: Annotated[
        str, typer.Argument(metavar="S3-URI", help="s3://bucket/prefix, with a prefix of its own for each model.")
    ],
    as_json: Json = False,
) -> None:
    """Upload a bundle to S3, for a deployed stack to use (its parameter BundleUri).

    Example: heatdrop bundle push bundles/skin s3://models/skin/2
    """
    from heatdrop.aws.bundles import push_bundle
    from heatdrop.model.bundle import open_bundle

    found = open_bundle(folder)
    push_bundle(found, uri)
    if as_json:
        console.print_json({"uri": uri} | found.model.model_dump())
        return
    console.answers.print(
        f"{found.model.name} {found.model.version} is in {uri}; use it with\n"
        f"sam deploy --parameter-overrides BundleUri={uri}",
        markup=False,
        soft_wrap=True,
    )


def _show(found: "Bundle", as_json: bool) -> None:
    height, width = found.size
    known = {certificate.kind.title: certificate.summary for certificate in found.description.certificates}
    by = "LiteRT" if found.description.gradients else "TensorFlow"
    if as_json:
        about = {"folder": str(found.folder), "height": height, "width": width, "labels": found.labels, "maps_by": by}
        console.print_json(found.model.model_dump() | about | {"trust": known})
        return
    trust = "\n".join(f"{kind}: {summary}" for kind, summary in known.items())
    console.answers.print(
        f"{found.model.name} {found.model.version}: {height} x {width}, {', '.join(found.labels)}; {found.folder}\n"
        f"Its maps are made by {by}\n" + (trust or "Whether its maps can be trusted was not measured."),
        markup=False,
        soft_wrap=True,
    )


def open_or_build(folder: Path | None) -> "Bundle":
    """Open the bundle in ``folder``; without one, that of the bundled model, which is built on first use.

    Raises:
        InvalidBundle: the folder contains no bundle.
    """
    from heatdrop.model import default
    from heatdrop.model.bundle import open_bundle

    if folder is not None:
        return open_bundle(folder)
    ready = default.open_default()
    if ready is None:
        console.messages.print("Building the chest X-ray bundle from its weights, once ...")
        with native_output_hidden():
            ready = default.build_default()
    return ready
