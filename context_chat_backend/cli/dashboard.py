# SPDX-License-Identifier: AGPL-3.0-or-later
"""`status --watch`: how the index stands, on a terminal, until it is interrupted."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from context_chat_backend.cli.status import EmbeddingStatus, duration, embedding_status
from context_chat_backend.errors import DatabaseUnavailable, InvalidRequest
from context_chat_backend.indexing.status import IndexingStatus, indexing_status
from context_chat_backend.store.standing import Standing, look
from context_chat_backend.wiring import Backend

_SECONDS = 2.0
_SHARE = 0.1
"""Looking takes at most so much of the time, however large the ledger is."""
_REASONS = 8
_GIGABYTE = 1024**3
_ROWS = (
    ("indexed", "green", "indexed"),
    ("in_work", "cyan", "in work"),
    ("waiting", "cyan", "due"),
    ("delayed", "yellow", "wait after a failed attempt"),
    ("rejected", "red", "rejected"),
    ("quarantined", "red", "quarantined"),
)


@dataclass(frozen=True)
class View:
    """What is shown at one moment."""

    standing: Standing
    index: IndexingStatus
    embedding: EmbeddingStatus
    free_bytes: int
    """Of the disk of the storage."""


async def watch(backend: Backend, console: Console) -> None:
    """Show how it stands until cancelled, which is how people leave. Raises InvalidRequest without a terminal."""
    if not console.is_terminal:
        raise InvalidRequest("--watch: it needs a terminal; in scripts use: context-chat status --json")
    with Live(console=console, screen=True, auto_refresh=False) as live:
        try:
            while True:
                started = asyncio.get_running_loop().time()
                live.update(await _shown(backend), refresh=True)
                took = asyncio.get_running_loop().time() - started
                await asyncio.sleep(max(_SECONDS, took / _SHARE))
        except asyncio.CancelledError:
            return


async def _shown(backend: Backend) -> RenderableType:
    try:
        return picture(
            View(
                await look(backend.database),
                await indexing_status(backend.overview),
                await embedding_status(backend),
                _free(backend.config.storage),
            ),
            datetime.now(),
        )
    except DatabaseUnavailable as error:
        return Panel(Text(f"{error}; it is asked again every two seconds"), border_style="red")


def picture(view: View, now: datetime) -> RenderableType:
    """All that is shown, as rich draws it."""
    parts: list[RenderableType] = [_states(view.standing.sources), _progress(view)]
    for title, reasons in (("tried again", view.index.failing), ("rejected", view.index.rejected)):
        if reasons:
            parts.append(_reasons(title, reasons))
    if view.index.slowest:
        parts.append(_slowest(view.index))
    parts.append(Text("\n".join(_lines(view)), style="dim"))
    return Panel(Group(*parts), title=f"Context Chat {now:%H:%M:%S}", subtitle="Ctrl-C ends", border_style="blue")


def _states(sources: Mapping[str, int]) -> Table:
    table = Table.grid(padding=(0, 2))
    table.add_column(justify="right")
    for state, style, told in _ROWS:
        if sources.get(state, 0) or state in ("indexed", "waiting"):
            table.add_row(Text(f"{sources.get(state, 0):,}", style=style), told)
    return table


def _progress(view: View) -> RenderableType:
    sources = view.standing.sources
    waiting = sum(sources.get(state, 0) for state in ("waiting", "in_work", "delayed"))
    whole = sum(sources.values())
    grid = Table.grid(padding=(0, 2))
    pace = view.index.sources_per_second
    said = "nothing waits" if not waiting else "nothing was indexed of late" if not pace else f"{pace:.1f} a second"
    if waiting and view.index.seconds_left is not None:
        said += f", {duration(view.index.seconds_left)} left"
    grid.add_row(ProgressBar(total=max(1, whole), completed=whole - waiting, width=40), Text(said))
    return grid


def _reasons(title: str, reasons: Mapping[str, int]) -> Table:
    table = Table(title=title, title_justify="left", box=None, show_header=False, pad_edge=False)
    most = sorted(reasons.items(), key=lambda one: -one[1])
    for reason, count in most[:_REASONS]:
        table.add_row(f"{count:,}", reason)
    if len(most) > _REASONS:
        table.add_row(f"{sum(count for _, count in most[_REASONS:]):,}", "for other reasons")
    return table


def _slowest(index: IndexingStatus) -> Table:
    table = Table(title="slowest of the last hour", title_justify="left", box=None, show_header=False, pad_edge=False)
    for source in index.slowest:
        table.add_row(
            Text(source.title or source.ref, overflow="ellipsis", no_wrap=True),
            f"read {source.parse_ms:,} ms",
            f"embedded {source.embed_ms or 0:,} ms",
        )
    return table


def _lines(view: View) -> Iterator[str]:
    known = view.standing
    yield from view.embedding.lines
    yield f"{known.chunks:,} chunks, database {_size(known.database_bytes)}, free on the disk {_size(view.free_bytes)}"
    if known.oldest_due_seconds >= 60:
        yield f"the oldest has been due for {duration(known.oldest_due_seconds)}, {_size(known.waiting_bytes)} wait"
    if known.tasks_in_work or known.tasks_to_tell:
        yield f"tasks of Nextcloud: {known.tasks_in_work} in work, {known.tasks_to_tell} whose result is to be told"


def _size(count: int) -> str:
    return f"{count / _GIGABYTE:.1f} GiB" if count >= _GIGABYTE else f"{count / 1024**2:.0f} MiB"


def _free(storage: Path) -> int:
    return shutil.disk_usage(storage).free
