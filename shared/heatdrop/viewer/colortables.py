"""Writes the page's colour maps from matplotlib's: ``python -m heatdrop.viewer.colortables``."""

import base64
from pathlib import Path

import matplotlib as mpl
import numpy as np

MODULE = Path(__file__).parent / "static" / "colortables.js"
NAMES = ("viridis", "cividis", "magma", "gray", "jet")


def module() -> str:
    """The JavaScript module: 256 colours by name, three bytes each, in base64."""
    colours = {name: mpl.colormaps[name](np.arange(256), bytes=True)[:, :3] for name in NAMES}
    tables = "".join(
        f'  {name}:\n    "{base64.b64encode(table.tobytes()).decode()}",\n' for name, table in colours.items()
    )
    return (
        "// Written by `python -m heatdrop.viewer.colortables` from matplotlib's colour maps.\n"
        f"export const TABLES = {{\n{tables}}};\n"
    )


if __name__ == "__main__":
    MODULE.write_text(module(), encoding="utf-8")
