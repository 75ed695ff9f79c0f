"""Writes what was measured as JSON and as a picture."""

import json
import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from heatdrop.bench.contenders import HEATDROP

Figures = dict[str, Any]

_PACKAGES = ("tensorflow", "tensorflow-cpu", "keras", "numpy", "tf-keras-vis")


def machine() -> Figures:
    """Where the figures were measured: processor, cores, memory, versions, and the load before."""
    cpu = Path("/proc/cpuinfo")
    lines = cpu.read_text().splitlines() if cpu.exists() else []
    model = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), None)
    return {
        "processor": model or platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1024**3, 1),
        "system": f"{platform.system()} {platform.release()}",
        "load_average": os.getloadavg()[0],
        "python": platform.python_version(),
        "packages": {name: found for name in _PACKAGES if (found := _version(name))},
    }


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def write(figures: Figures, folder: Path) -> tuple[Path, ...]:
    """Write ``smoothgrad.json``, and ``smoothgrad.png`` with a panel for each part that was measured."""
    folder.mkdir(parents=True, exist_ok=True)
    report, picture = folder / "smoothgrad.json", folder / "smoothgrad.png"
    report.write_text(json.dumps(figures, indent=2) + "\n")
    panels = {"contenders": _draw_contenders, "errors": _draw_errors, "scaling": _draw_scaling}
    drawn = [(draw, figures[part]) for part, draw in panels.items() if part in figures]
    if not drawn:
        return (report,)
    canvas = Figure(figsize=(6 * len(drawn), 4.5), layout="constrained")
    for axes, (draw, part) in zip(canvas.subplots(1, len(drawn), squeeze=False)[0], drawn, strict=True):
        draw(axes, part)
    processor = figures["machine"]["processor"]
    canvas.suptitle(f"{figures['subject']}, {processor}, {figures['machine']['cores']} cores", fontsize=10)
    canvas.savefig(picture, dpi=120)
    return report, picture


def _draw_contenders(axes: Axes, contenders: Figures) -> None:
    measured = {name: found for name, found in contenders.items() if "median_seconds" in found}
    names = sorted(measured, key=lambda name: -measured[name]["median_seconds"])
    seconds = [measured[name]["median_seconds"] for name in names]
    colours = ["tab:red" if name == HEATDROP.name else "tab:grey" for name in names]
    bars = axes.barh(names, seconds, color=colours)
    axes.bar_label(bars, [f"{value:.1f} s" for value in seconds], padding=3)
    axes.set_xscale("log")
    axes.set_xlabel("seconds an image, median")
    axes.margins(x=0.2)


def _draw_errors(axes: Axes, errors: Figures) -> None:
    for name, colour in (("mean_abs", "tab:blue"), ("signed", "tab:orange")):
        for sampling, style in (("independent", "o--"), ("stratified", "o-")):
            found = errors[name][sampling]
            true = [value["true"] for value in found.values()]
            axes.loglog([int(n) for n in found], true, style, color=colour, label=f"{name}, {sampling}")
    axes.set_xlabel("samples")
    axes.set_ylabel("relative L2 error of the map")
    axes.legend()


def _draw_scaling(axes: Axes, scaling: Figures) -> None:
    for name, marker in (("samples", "o"), ("classes", "s"), ("images", "^")):
        counts = [int(count) for count in scaling[name]]
        axes.loglog(counts, list(scaling[name].values()), f"{marker}-", label=name)
    axes.set_xlabel("number of samples, classes, images")
    axes.set_ylabel("seconds")
    axes.legend()
