# SPDX-License-Identifier: AGPL-3.0-or-later
"""A clock that was ahead has written times that lie far away now that it is right: nobody waits for them."""

from __future__ import annotations

from datetime import timedelta

from context_chat_backend.store.database import Database
from context_chat_backend.store.leases import Leases
from context_chat_backend.store.tasks import HeldTasks

LEASE = timedelta(seconds=15)


async def test_a_lease_of_a_process_that_died_is_taken(database: Database) -> None:
    async with Leases(database).hold("work", LEASE) as first:
        assert first is not None
        async with Leases(database).hold("work", LEASE) as second:
            assert second is None  # a lease of today holds
        async with database.transaction() as connection:
            await connection.execute("UPDATE lease SET until = until + interval '1 day'")

        async with Leases(database).hold("work", LEASE) as third:
            assert third is not None


async def test_a_task_of_a_process_that_died_is_closed_by_another(database: Database) -> None:
    await HeldTasks(database, "died").take(1)
    lives = HeldTasks(database, "lives")
    await lives.adopt_orphans({"error": "gone"})
    assert await lives.ended() == []  # a lease of today holds
    async with database.transaction() as connection:
        await connection.execute("UPDATE task SET until = until + interval '1 day'")

    await lives.adopt_orphans({"error": "gone"})

    assert await lives.ended() == [(1, {"error": "gone"})]
