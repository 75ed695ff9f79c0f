"""``heatdrop results`` and ``heatdrop show``: answers of the API as tables, and as files for analysis."""

import csv
import json
import sys
from collections.abc import Iterable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from heatdrop.cli import console
from heatdrop.cli.options import Json
from heatdrop.cli.targets import Folder, Local, Stack, find_target
from heatdrop.errors import InvalidRequest
from heatdrop.text import counted
from heatdrop.vocabulary import DISCLAIMER, State, unusual_in_words

Format = Literal["table", "csv", "parquet", "json"]

COLUMNS = ("image_id", "state", "key", "created_at", "label", "score", "model", "model_version", "reason")


def results(
    stack: Stack = None,
    local: Local = False,
    state: Annotated[State | None, typer.Option(help="Only images in this state.")] = None,
    label: Annotated[str | None, typer.Option(help="Only images whose best class this is.")] = None,
    min_score: Annotated[float | None, typer.Option(min=0, max=1, help="Least score of the best class.")] = None,
    model: Annotated[str | None, typer.Option(help="Only images of this model (name or version).")] = None,
    prefix: Annotated[str | None, typer.Option(help="Only images whose key begins with this.")] = None,
    since: Annotated[datetime | None, typer.Option(help="Only images dropped at this local time or later.")] = None,
    until: Annotated[datetime | None, typer.Option(help="Only images dropped before this local time.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="At most so many images; all by default.")] = None,
    form: Annotated[Format, typer.Option("--format", help="parquet needs pyarrow and --output.")] = "table",
    as_json: Annotated[bool, typer.Option("--json", help="The same as --format json: JSON lines.")] = False,
    output: Annotated[Path | None, typer.Option(help="Write to this file.")] = None,
    out: Folder = Path("out"),
) -> None:
    """List images with their best class, newest first.

    Example: heatdrop results --stack heatdrop --label NORMAL --format csv --output normal.csv
    """
    form = "json" if as_json else form
    if form == "parquet" and output is None:
        raise InvalidRequest("parquet is written to a file; name it with --output")
    if form == "table" and output is not None:
        raise InvalidRequest("a table is for reading; choose --format csv, parquet or json for --output")
    target = find_target(stack, local, out)
    filters = {"state": state, "label": label, "min_score": min_score, "model": model, "prefix": prefix}
    moments = {
        name: moment and moment.astimezone().isoformat() for name, moment in (("since", since), ("until", until))
    }
    rows = (_row(image) for image in target.api.images(limit, **filters, **moments))
    if form == "table":
        _show_table(list(rows))
    elif form == "parquet" and output is not None:
        _tell(_write_parquet(list(rows), output), output)
    else:
        _tell(_write_lines(rows, form, output), output)


def show(
    image: Annotated[str, typer.Argument(metavar="IMAGE_ID")],
    stack: Stack = None,
    local: Local = False,
    out: Folder = Path("out"),
    as_json: Json = False,
) -> None:
    """Show all that is known about one image, with links to its heatmaps that expire after minutes.

    Example: heatdrop show 4f1c0a7b9d2e4f1c0a7b9d2e4f1c0a7b --stack heatdrop
    """
    api = find_target(stack, local, out).api
    record = api.get("images", image)
    if as_json:
        console.print_json(record)
        return
    facts = [("state", record["state"]), ("key", record["key"]), ("dropped", record["created_at"])]
    facts += [("reason", record["reason"])] if record["reason"] else []
    if record["model"]:
        facts.append(("model", f"{record['model']['name']} {record['model']['version']}"))
    if record["unusual"] is not None:
        facts.append(
            ("unusual", unusual_in_words(record["unusual"]) or f"less usual than {record['unusual']:.0%} of the images")
        )
    if record["trust"]:
        facts.append(("its maps", record["trust"]))
    heatmaps = {heatmap["label"]: heatmap for heatmap in record["heatmaps"]}
    for prediction in record["predictions"]:
        label = prediction["label"]
        facts.append((f"{prediction['score']:.3f}", label))
        for artefact in ("overlay", "dicom"):
            if heatmaps.get(label, {}).get(artefact):
                link = api.get("images", image, "heatmaps", label, artefact=artefact)
                facts.append((f"  {artefact}", link["url"]))
    for asked in record["explanations"].values():
        settings = asked["settings"]
        how = f"{settings['method']}, {', '.join(asked['labels'])}: {asked['state']}"
        facts.append(
            ("on request", f"{asked['explanation_id']} {how}" + (f" ({asked['reason']})" if asked["reason"] else ""))
        )
    console.show_facts(facts)
    console.answers.print(record["note"], style="dim")


def _row(image: dict[str, Any]) -> dict[str, Any]:
    """One flat row; missing values are None."""
    known = image["model"] or {}
    return {name: image.get(name) for name in COLUMNS} | {
        "model": known.get("name"),
        "model_version": known.get("version"),
    }


def _show_table(rows: Sequence[dict[str, Any]]) -> None:
    if not rows:
        console.messages.print("No image fits. Put some in with heatdrop drop, or ask for less.")
        return
    best = [f"{row['label']} {row['score']:.3f}" if row["label"] is not None else "" for row in rows]
    cells = [
        (row["image_id"], row["state"], row["key"], row["reason"] or text) for row, text in zip(rows, best, strict=True)
    ]
    console.show_rows(("image_id", "state", "key", "class, or why not"), cells, ("image_id", "state"))
    console.answers.print(DISCLAIMER, style="dim")


def _tell(count: int, output: Path | None) -> None:
    if output is not None:
        console.messages.print(f"{counted(count, 'image')} in {output}", markup=False, soft_wrap=True)


def _write_lines(rows: Iterable[dict[str, Any]], form: Format, output: Path | None) -> int:
    """Write each row as it arrives; returns how many there were."""
    count = 0
    try:
        stream = output.open("w", encoding="utf-8", newline="") if output else sys.stdout
    except OSError as error:
        raise InvalidRequest(f"{output} cannot be written: {error.strerror}") from error
    try:
        writer = csv.DictWriter(stream, COLUMNS, lineterminator="\n")
        if form == "csv":
            writer.writeheader()
        for count, row in enumerate(rows, start=1):  # noqa: B007 (the last is how many there are)
            if form == "csv":
                writer.writerow(row)
            else:
                stream.write(json.dumps(row, ensure_ascii=False) + "\n")
    finally:
        if output:
            stream.close()
    return count


def _write_parquet(rows: Sequence[dict[str, Any]], output: Path) -> int:
    import pyarrow as pa
    from pyarrow import parquet

    kinds = {"created_at": pa.timestamp("ms", "UTC"), "score": pa.float64()}
    schema = pa.schema([(name, kinds.get(name, pa.string())) for name in COLUMNS])
    dated = [row | {"created_at": datetime.fromisoformat(row["created_at"])} for row in rows]
    try:
        parquet.write_table(pa.Table.from_pylist(dated, schema), output)
    except OSError as error:
        raise InvalidRequest(f"{output} cannot be written: {error}") from error
    return len(rows)
