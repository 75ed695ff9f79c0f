"""``heatdrop cost``."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from heatdrop.cli import console
from heatdrop.cli.options import Json
from heatdrop.cost import prices
from heatdrop.cost.costs import (
    Setup,
    Timings,
    class_count,
    idle_month,
    measured_timings,
    per_thousand,
    stored_mb,
)
from heatdrop.cost.flow import Capacity, Day, simulate
from heatdrop.errors import InvalidRequest

_DAYS = {"day": 1.0, "week": 7.0, "month": 365 / 12}


def cost(
    results: Annotated[
        Path, typer.Argument(metavar="RESULTS.jsonl", help="The results.jsonl of a run, for its times.")
    ],
    images: Annotated[float, typer.Option(min=1, help="How many images, like 1e6.")] = 1e6,
    per: Annotated[str, typer.Option(help="day, week or month.")] = "day",
    compute: Annotated[str, typer.Option(help=f"One of {', '.join(prices.COMPUTE)}.")] = prices.FARGATE,
    explain_seconds: Annotated[
        float | None,
        typer.Option(min=0.001, help="Seconds that the heatmaps of an image take on that compute, measured there."),
    ] = None,
    job_start: Annotated[float, typer.Option(min=0, help="Seconds before a job's first image.")] = 30.0,
    spot_discount: Annotated[float, typer.Option(min=0, max=0.95, help="What Spot takes off, like 0.6.")] = 0.0,
    keep_days: Annotated[float, typer.Option(min=1, help="KeepResultsDays.")] = Setup.keep_results_days,
    gpu_vcpus: Annotated[
        float | None, typer.Option(min=0, help="Your quota of vCPUs of GPU instances; 0 in a new account.")
    ] = None,
    shards: Annotated[int, typer.Option(min=8, help="Shards of the table.")] = Setup.shards,
    jobs: Annotated[int, typer.Option(min=1, help="Heatmap jobs that run at once.")] = Capacity.jobs,
    concurrency: Annotated[int, typer.Option(min=2, help="InferenceConcurrency.")] = Capacity.inference_concurrency,
    plot: Annotated[Path | None, typer.Option(help="Also draw where the flow is full, as a PNG.")] = None,
    as_json: Json = False,
) -> None:
    """Compute what images cost and which limit is reached first, from the times of a run and from list prices.

    Example: heatdrop cost out/results.jsonl --images 1e6 --per day --compute g4dn.xlarge --explain-seconds 0.4
    """
    if per not in _DAYS:
        raise InvalidRequest(f"per is {per!r}; choose one of {', '.join(_DAYS)}")
    if compute not in prices.COMPUTE:
        raise InvalidRequest(f"compute is {compute!r}; choose one of {', '.join(prices.COMPUTE)}")
    if compute != prices.FARGATE and explain_seconds is None:
        raise InvalidRequest(
            f"how long an image takes on {compute} must be measured there: give --explain-seconds "
            "(explain + render + store in the timings_ms of its records)"
        )
    timings, measured = _measured(results, explain_seconds)
    setup = replace(
        measured, job_start=job_start, spot_discount=spot_discount, keep_results_days=keep_days, shards=shards
    )
    limits = Capacity(jobs=jobs, inference_concurrency=concurrency, gpu_vcpus=gpu_vcpus)
    daily = images / _DAYS[per]
    thousand, day = per_thousand(timings, setup, compute), simulate(daily, timings, setup, limits)
    if as_json:
        flow = {
            "dollars_idle_month": idle_month(),
            "utilisation": day.utilisation,
            "bottleneck": day.bottleneck,
            "left_at_end_of_day": _left(day),
        }
        console.print_json({"images": images, "per": per, "dollars_per_thousand_images": thousand} | flow)
    else:
        _show_costs(thousand, images, per)
        _show_flow(day, daily)
        console.answers.print(
            f"Measured: {timings.infer:.3f} s inference and {setup.stored_mb:.1f} MB of results an image, "
            f"{setup.classes} classes; {timings.origin}.\n"
            f"Without any image: {idle_month():.2f} $ a month, for polls of the queues.\n"
            f"List prices: {prices.REGION}, {prices.AS_OF}, without free tiers, data transfer and logs. "
            f"Assumed: {job_start:.0f} s before a job's first image, Spot {spot_discount:.0%} off.",
            style="dim",
        )
    if plot is not None:
        from heatdrop.cost.plot import plot_flow

        plot_flow(timings, setup, limits, plot)
        console.messages.print(f"drawn: {plot}", markup=False)


def _measured(results: Path, explain_seconds: float | None) -> tuple[Timings, Setup]:
    try:
        records = [json.loads(line) for line in results.read_text(encoding="utf-8").splitlines()]
        measured = measured_timings(records, str(results))
        stored = Setup(stored_mb=stored_mb(records, results.parent), classes=class_count(records))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InvalidRequest(f"{results} is no results.jsonl of a run: {error}") from error
    if explain_seconds is None:
        origin = f"{measured.explain:.2f} s for its heatmaps, on the machine that wrote {results}"
        return Timings(measured.infer, measured.explain, origin), stored
    origin = f"{explain_seconds:.2f} s for its heatmaps is what you gave"
    return Timings(measured.infer, explain_seconds, origin), stored


def _show_costs(thousand: dict[str, float], images: float, per: str) -> None:
    sums = ("$ per 1,000 images", f"$ per {per}")
    table = console.table("service", *sums, right=sums)
    for service, dollars in [*thousand.items(), ("together", sum(thousand.values()))]:
        table.add_row(service, f"{dollars:.4f}", f"{dollars * images / 1000:,.2f}")
    console.answers.print(table)


def _show_flow(day: Day, daily: float) -> None:
    table = console.table(f"limit, at {daily:,.0f} images a day", "in use", right={"in use"})
    for name, share in day.utilisation.items():
        table.add_row(name, f"{share:.1%}")
    console.answers.print(table)
    waiting = _left(day)
    verdict = f"{waiting:,.0f} images are left at the end of the day" if waiting >= 1 else "nothing is left waiting"
    console.answers.print(f"First to be full: {day.bottleneck}; {verdict}.")


def _left(day: Day) -> float:
    """How many images still wait at the end of the day."""
    return float(day.waiting_for_inference[-1] + day.waiting_for_heatmap[-1])
