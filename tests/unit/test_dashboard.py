# SPDX-License-Identifier: AGPL-3.0-or-later
"""The dashboard on a terminal: what it shows of how things stand."""

from __future__ import annotations

import asyncio
import io
from dataclasses import replace
from datetime import datetime
from typing import Any

import pytest
from rich.console import Console

from context_chat_backend.cli.dashboard import View, picture, watch
from context_chat_backend.cli.status import EmbeddingStatus
from context_chat_backend.errors import DatabaseUnavailable, InvalidRequest
from context_chat_backend.indexing.status import IndexingStatus
from context_chat_backend.store.overview import SlowSource
from context_chat_backend.store.standing import Standing

STANDING = Standing(
    {"indexed": 12_000, "waiting": 300, "in_work": 16, "delayed": 4}, 7200.0, 5 << 20, 90_000, 2, 0, 3 << 30
)
INDEX = IndexingStatus({}, {}, {"disk_full": 4}, {}, 8.0, 40.0, (SlowSource("files__default: 7", "[b]plan", 900, 20),))
VIEW = View(STANDING, INDEX, EmbeddingStatus("minilm", True), 50 << 30)


def shown(view: View) -> str:
    console = Console(file=io.StringIO(), width=100, force_terminal=True, color_system=None)
    console.print(picture(view, datetime(2026, 1, 1, 12, 30)))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_it_shows_states_pace_reasons_and_sizes() -> None:
    text = shown(VIEW)

    for told in (
        "12,000  indexed", "300  due", "16  in work", "4  wait after a failed attempt", "8.0 a second",
        "1 min left", "disk_full", "[b]plan", "read 900 ms", "minilm answers", "90,000 chunks",
        "database 3.0 GiB", "50.0 GiB", "due for 2 h 0 min", "5 MiB wait", "2 in work", "12:30:00",
    ):  # fmt: skip
        assert told in text, text


def test_what_is_not_there_takes_no_room() -> None:
    text = shown(replace(VIEW, standing=Standing({"indexed": 3}, 0.0, 0, 9, 0, 0, 1 << 20), index=replace(
        INDEX, failing={}, slowest=(), sources_per_second=None, seconds_left=None)))  # fmt: skip

    assert "nothing waits" in text
    for told in ("slowest", "tried again", "tasks of Nextcloud", "rejected", "has been due"):
        assert told not in text


def test_many_reasons_are_summed_up() -> None:
    text = shown(replace(VIEW, index=replace(INDEX, rejected={f"reason{n}": n for n in range(1, 12)})))

    assert "reason11" in text
    assert "reason1 " not in text
    assert "6   for other reasons" in text


class Backend:
    """Its database is gone."""

    class Database:
        def transaction(self) -> Any:
            raise DatabaseUnavailable("the database does not answer")

    database = Database()


async def test_without_a_database_it_says_so_and_goes_on_until_it_is_interrupted() -> None:
    console = Console(file=io.StringIO(), width=100, force_terminal=True, color_system=None)
    watching = asyncio.create_task(watch(Backend(), console))  # type: ignore[arg-type]
    while "does not answer" not in console.file.getvalue():  # type: ignore[attr-defined]
        await asyncio.sleep(0.01)
    assert not watching.done()
    watching.cancel()
    await watching  # Ctrl-C is how people leave: no error


async def test_without_a_terminal_it_says_what_to_use() -> None:
    with pytest.raises(InvalidRequest, match="status --json"):
        await watch(Backend(), Console(file=io.StringIO()))  # type: ignore[arg-type]
