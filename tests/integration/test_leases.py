# SPDX-License-Identifier: AGPL-3.0-or-later
"""Leases that nobody gives back: of a process that died, of one that lost the database, of a clock set back since."""

from __future__ import annotations

from datetime import timedelta

import pytest
from psycopg_pool import PoolClosed

from context_chat_backend.errors import DatabaseUnavailable
from context_chat_backend.store.database import Database
from context_chat_backend.store.leases import Leases
from context_chat_backend.store.tasks import HeldTasks

LEASE = timedelta(seconds=15)


async def test_a_lease_that_a_clock_set_back_would_hold_is_taken(database: Database) -> None:
    async with Leases(database).hold("work", LEASE) as first:
        assert first is not None
        async with Leases(database).hold("work", LEASE) as second:
            assert second is None  # a lease of today holds
        async with database.transaction() as connection:
            await connection.execute("UPDATE lease SET until = until + interval '1 day'")

        async with Leases(database).hold("work", LEASE) as third:
            assert third is not None


async def test_what_could_not_be_given_back_is_taken_again_at_once_and_by_nobody_else(database: Database) -> None:
    ours, theirs = Leases(database), Leases(database)
    holding = ours.hold("work", LEASE)
    held = await holding.__aenter__()
    assert held is not None
    ours._database = Database("postgresql://nobody@127.0.0.1:1/nothing")  # it is gone
    with pytest.raises((DatabaseUnavailable, PoolClosed)):
        await holding.__aexit__(None, None, None)
    ours._database = database

    async with theirs.hold("work", LEASE) as other:
        assert other is None
    async with ours.hold("work", LEASE) as again:
        assert again is not None
        assert not await ours.prolong(held)


async def test_a_task_that_a_clock_set_back_would_hold_is_closed_by_another(database: Database) -> None:
    await HeldTasks(database, "died").take(1)
    lives = HeldTasks(database, "lives")
    await lives.adopt_orphans({"error": "gone"})
    assert await lives.ended() == []  # a lease of today holds
    async with database.transaction() as connection:
        await connection.execute("UPDATE task SET until = until + interval '1 day'")

    await lives.adopt_orphans({"error": "gone"})

    assert await lives.ended() == [(1, {"error": "gone"})]
