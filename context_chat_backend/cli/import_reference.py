# SPDX-License-Identifier: AGPL-3.0-or-later
"""`import-reference`: take over an index of the reference, and drop its tables when asked to."""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import tzinfo
from pathlib import Path
from typing import Annotated
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from context_chat_backend.cli.show import complaints, console
from context_chat_backend.cli.start import with_backend
from context_chat_backend.errors import InvalidRequest
from context_chat_backend.indexing.takeover import Outcome
from context_chat_backend.wiring import Backend
from context_chat_backend.wiring.takeover import opened, take_over

_COLUMNS = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
_SHOWN = 10


def import_reference(
    place: Annotated[
        str | None,
        typer.Argument(
            metavar="[OLD]",
            help="The old database (postgresql://…), a dump of it, or the folder of its PostgreSQL. Without it: what "
            "lies in our own database or storage.",
        ),
    ] = None,
    postgres: Annotated[
        Path | None, typer.Option("--postgres", help="The programs to run such a folder with: a folder, …/17/bin.")
    ] = None,
    time_zone: Annotated[
        str | None,
        typer.Option("--time-zone", help="That of the old container, for example Europe/Berlin; else this machine's."),
    ] = None,
    drop: Annotated[bool, typer.Option("--drop", help="Drop the old tables when all was taken over.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")] = False,
) -> int:
    """Take over sources, readers, texts and vectors of an older Context Chat Backend, without indexing anew.

    May be run again, and after it was cut off: it goes on where it stopped.
    """
    zone = _zone(time_zone)

    async def work(backend: Backend) -> int:
        async with opened(backend, place, postgres) as reference:
            counts = await reference.counts()
            with Progress(*_COLUMNS, console=complaints, transient=True) as progress:
                task = progress.add_task("sources", total=counts.sources)
                outcome = await take_over(backend, reference, zone, lambda done: progress.advance(task, done))
            dropped = drop and not outcome.wrong
            if dropped:
                await reference.drop()
        if as_json:
            print(json.dumps(asdict(outcome) | {"dropped": dropped}, ensure_ascii=False))
        else:
            _show(outcome, dropped=dropped, kept=drop and not dropped)
        return 1 if outcome.wrong else 0

    return with_backend(work)


def _zone(name: str | None) -> tzinfo | None:
    if name is None:
        return None
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise InvalidRequest(f"--time-zone: there is no {name!r}; for example: Europe/Berlin") from error


def _show(outcome: Outcome, *, dropped: bool, kept: bool) -> None:
    console.print(f"{outcome.taken} sources with {outcome.chunks} chunks taken over, {outcome.known} were here already")
    for reason, count in sorted(outcome.passed_over.items()):
        console.print(f"{count} passed over: {reason}", markup=False)
    if outcome.taken and not outcome.with_vectors:
        console.print(
            "The old vectors are of another model: words find everything now, meaning does as soon as the service has "
            "embedded the texts again (see: status)."
        )
    for sentence in outcome.wrong[:_SHOWN]:
        console.print(f"WRONG: {sentence}", markup=False)
    if len(outcome.wrong) > _SHOWN:
        console.print(f"… and {len(outcome.wrong) - _SHOWN} more")
    if outcome.other_readers:
        console.print(
            f"{outcome.other_readers} sampled sources have other readers by now. That is right where Nextcloud "
            "has been connected since."
        )
    if outcome.wrong:
        console.print("The old tables stay. Run the same command again, and tell us when this does not help.")
    elif dropped:
        console.print("Verified. The old tables are dropped.")
    else:
        console.print("Verified. The old tables are as they were; --drop drops them.")
    if kept:
        console.print("Nothing was dropped.")
