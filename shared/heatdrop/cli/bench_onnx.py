"""``heatdrop bench onnx``: models of PyTorch's libraries, read from ONNX, beside PyTorch and Captum."""

from pathlib import Path
from typing import Annotated

import typer

from heatdrop.cli import console
from heatdrop.cli.options import Json
from heatdrop.project import BUILD
from heatdrop.quiet import native_output_hidden


def onnx(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[NAME ...]", help="Which models; all by default.")
    ] = None,
    folder: Annotated[Path | None, typer.Option(help="For the exported models; build/bench/onnx by default.")] = None,
    as_json: Json = False,
) -> None:
    """Export models of torchvision, timm, MONAI and torchxrayvision with random weights, and compare what is read.

    Example: heatdrop bench onnx torchvision-resnet50 timm-vit_tiny
    """
    with native_output_hidden():
        from heatdrop.bench.onnx_models import compare, write_models

    found = {}
    folder = folder or BUILD / "bench" / "onnx"
    with console.messages.status("exporting") as status:
        write_models(folder, names or [], status.update)
        for model in sorted(folder.glob("*.onnx")):
            if not names or model.name.partition(".")[0] in names:
                status.update(model.name)
                with native_output_hidden():
                    found[model.name.removesuffix(".onnx")] = compare(model)
    if as_json:
        console.print_json(found)
        return
    columns = ("difference of outputs", "cosine of maps", "relative L2 of maps")
    table = console.table("", *columns, right=columns)
    for name, figures in found.items():
        table.add_row(name, f"{figures['outputs']:.1e}", f"{figures['cosine']:.7f}", f"{figures['relative_l2']:.1e}")
    console.answers.print(table)
