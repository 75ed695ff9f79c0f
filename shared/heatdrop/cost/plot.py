"""Draws how full each limit is, from a thousand to a hundred million images a day."""

from itertools import cycle
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from heatdrop.cost.costs import Setup, Timings
from heatdrop.cost.flow import DAY, Capacity, load, simulate

_STYLES = ("-", "--", ":", "-.")
_BURST = 100_000


def plot_flow(timings: Timings, setup: Setup, limits: Capacity, path: Path) -> None:
    """Write two panels: the utilisation of each limit over the load, and a burst that drains."""
    figure = Figure(figsize=(10, 4), layout="constrained")
    full, burst = figure.subplots(1, 2)
    volumes = np.logspace(3, 8, 101)
    loads = [load(volume / DAY, timings, setup, limits) for volume in volumes]
    for name, style in zip(loads[0], cycle(_STYLES), strict=False):
        full.loglog(volumes, [100 * each[name] for each in loads], style, label=name)
    full.axhline(100, color="black", linewidth=0.8)
    full.annotate("full", (1.2e3, 130), fontsize=9)
    full.set(xlabel="images a day, evenly", ylabel="% of the limit in use", ylim=(1e-4, 1e6), title="Where it is full")
    full.legend(fontsize=8, loc="lower right")

    hours = np.arange(DAY) / 3600
    day = simulate(_BURST, timings, setup, limits, busy_hours=1)
    burst.plot(hours, day.waiting_for_inference, "-", label="waits for inference")
    burst.plot(hours, day.waiting_for_heatmap, "-.", label="waits for a heatmap")
    drained = np.flatnonzero(day.waiting_for_inference + day.waiting_for_heatmap > 1)
    end = float(hours[drained[-1]]) if drained.size else 1.0
    burst.set(xlim=(0, max(1.2, 1.15 * end)), xlabel="hours", ylabel="images", title=f"{_BURST:,} images in one hour")
    burst.legend(fontsize=8)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
