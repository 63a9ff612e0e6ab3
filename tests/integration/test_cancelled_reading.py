# SPDX-License-Identifier: AGPL-3.0-or-later
"""Whoever searches may hang up at any moment; those who come after him get a connection that is as it should be."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

import pytest

from context_chat_backend.domain import Principal, Realm
from context_chat_backend.store.database import Database

ALICE = Principal(Realm.NEXTCLOUD, "alice")


@pytest.fixture
async def one_connection(database_url: str) -> AsyncIterator[Database]:
    database = Database(database_url, connections=1)
    await database.open()
    yield database
    await database.close()


async def read(database: Database) -> None:
    async with database.reading_as(ALICE) as connection:
        rows = await connection.execute("SELECT count(*) FROM chunk_text")
        assert await rows.fetchone() == (0,)


async def ask(database: Database) -> None:
    assert await database.rows("SELECT 1", {}) == [(1,)]


@pytest.mark.parametrize("work", [read, ask])
@pytest.mark.parametrize("pause", [0, 0.0003])
async def test_a_connection_is_as_before_whenever_its_user_was_cancelled(
    one_connection: Database, work: Callable[[Database], Coroutine[Any, Any, None]], pause: float
) -> None:
    for steps in range(20):
        reading = asyncio.create_task(work(one_connection))
        for _ in range(steps):
            await asyncio.sleep(pause)
        reading.cancel()
        await asyncio.wait([reading])
        async with one_connection.transaction() as connection:
            changed = await connection.execute(
                "INSERT INTO setting (name, value) VALUES ('a', '1') ON CONFLICT (name) DO UPDATE SET value = '2'"
            )
            assert changed.rowcount == 1, steps
