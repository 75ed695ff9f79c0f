"""``heatdrop bench``: its commands, each in a module of its own."""

import typer

from heatdrop.cli import bench_acceptance, bench_cold_start, bench_onnx, bench_pipeline, bench_smoothgrad

app = typer.Typer(no_args_is_help=True, help="Measure Heatdrop on this machine, and beside other libraries.")
app.command("smoothgrad")(bench_smoothgrad.smoothgrad)
app.command("reference")(bench_smoothgrad.reference)
app.command("acceptance")(bench_acceptance.acceptance)
app.command("cold-start")(bench_cold_start.cold_start)
app.command("onnx")(bench_onnx.onnx)
app.command("pipeline")(bench_pipeline.pipeline)
