# SPDX-License-Identifier: AGPL-3.0-or-later
"""The database goes and comes back: whoever waits for it is served, however often the pool had given up."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from urllib.parse import parse_qs, quote, urlsplit

import pytest

from context_chat_backend.store import database as pools
from context_chat_backend.store.database import Database
from tests.conftest import open_folder
from tests.trust.relay import Relay, Wire

_SOCKET = ".s.PGSQL.5432"


@pytest.fixture
def wire(database_url: str) -> Iterator[tuple[Relay, str]]:
    """A wire to the database, and the database's URL through it."""
    folder = open_folder()
    there = parse_qs(urlsplit(database_url).query)["host"][0]
    with Relay(Path(there) / _SOCKET, folder / _SOCKET) as relay:
        yield relay, database_url.replace(quote(there, safe=""), quote(str(folder), safe=""))
    (folder / _SOCKET).unlink(missing_ok=True)
    folder.rmdir()


@pytest.fixture
async def database(wire: tuple[Relay, str], monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Database]:
    """A pool that soon gives up each attempt to connect."""
    monkeypatch.setattr(pools, "_RECONNECT_SECONDS", 0.5)
    database = Database(wire[1], connections=2)
    await database.open()
    yield database
    await database.close()


async def test_whoever_waits_for_a_database_that_was_long_gone_is_served_when_it_is_back(
    wire: tuple[Relay, str], database: Database
) -> None:
    relay = wire[0]
    relay.be(Wire.CUT)

    waiting = asyncio.create_task(database.version())
    await asyncio.sleep(3.0)  # the pool has given up more than once
    assert not waiting.done()
    relay.be(Wire.WHOLE)

    assert "postgresql" in await waiting
