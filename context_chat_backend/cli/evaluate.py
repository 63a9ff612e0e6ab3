# SPDX-License-Identifier: AGPL-3.0-or-later
"""`evaluate`: how well questions find what answers them, measured with the program on an index of its own."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import Progress, TaskID
from rich.table import Table

from context_chat_backend.cli.show import complaints, console
from context_chat_backend.cli.start import read_configuration
from context_chat_backend.evaluation import configurations, datasets, report
from context_chat_backend.evaluation.measures import NAMES, Interval
from context_chat_backend.evaluation.run import evaluate as run

_CONFIGURATIONS = (
    "What is compared, may be given several times; the first is what the others are compared with. "
    + "; ".join(f"{name}: {said}" for name, said in configurations.RANKINGS.items())
    + ". After a +, "
    + "; ".join(f"{name}: {said}" for name, said in configurations.CHANGES.items())
    + f". Without: {', '.join(configurations.DEFAULT)}."
)


def evaluate(
    folder: Annotated[Path, typer.Argument(help="XQuAD, a BEIR folder, or documents with a questions.jsonl.")],
    documents: Annotated[
        list[str] | None, typer.Option("--documents", help="Of XQuAD: a language paragraphs are indexed in.")
    ] = None,
    asked_in: Annotated[
        list[str] | None, typer.Option("--asked-in", help="Of XQuAD: a language questions are asked in.")
    ] = None,
    configuration: Annotated[list[str] | None, typer.Option("--configuration", "-c", help=_CONFIGURATIONS)] = None,
    storage: Annotated[
        Path | None, typer.Option("--storage", help="Keep indexes in this folder, and use those that are there.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")] = False,
) -> None:
    """Measure on a data set how good the search is. Your own documents are not touched."""
    data = datasets.read(folder, documents=documents or (), asked_in=asked_in or ())
    compared = [configurations.parse(name) for name in dict.fromkeys(configuration or configurations.DEFAULT)]
    settings = read_configuration(quiet=True)
    with Progress(console=complaints, transient=True) as progress:
        tasks: dict[str, TaskID] = {}

        def told(what: str, done: int, whole: int) -> None:
            if what not in tasks:
                tasks[what] = progress.add_task(what)
            progress.update(tasks[what], total=whole, completed=done)

        measured = asyncio.run(run(settings, data, compared, storage=storage, told=told))
    rows = report.rows(data, measured)
    if as_json:
        print(json.dumps(report.as_json(data, measured, rows), ensure_ascii=False))
        return
    console.print(f"{data.name}: {len(data.documents)} documents", markup=False)
    if rejected := max(each.rejected for each in measured):
        console.print(f"{rejected} documents could not be indexed and count as not found", style="yellow")
    console.print(_table(rows))
    console.print(
        "In %, mean and 95 % interval; below it the difference to the first, in points, question by question."
    )


def _table(rows: Sequence[report.Row]) -> Table:
    table = Table("questions", "configuration", *NAMES)
    for row in rows:
        cells = []
        for name in NAMES:
            cell = _percent(row.measures[name])
            if name in row.differences:
                cell += f"\n{_percent(row.differences[name], '+')}"
            cells.append(cell)
        table.add_row(f"{row.group} ({row.questions})", row.configuration, *cells)
    return table


def _percent(of: Interval, sign: str = "") -> str:
    return f"{100 * of.mean:{sign}.1f} ({100 * of.low:{sign}.1f} to {100 * of.high:{sign}.1f})"
