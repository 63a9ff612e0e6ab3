# SPDX-License-Identifier: AGPL-3.0-or-later
"""How everything stands, in numbers for monitoring: without names, titles or ids."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from context_chat_backend.store.database import Database, statement


@dataclass(frozen=True, slots=True)
class Standing:
    """One look at the ledger, the tasks and the disk of the database."""

    sources: Mapping[str, int]
    """By state; of those that wait 'waiting' (they are due), 'in_work' and 'delayed' (after a failed attempt)."""
    oldest_due_seconds: float
    waiting_bytes: int
    """Of sources in the spool; files that are fetched later take no room yet."""
    chunks: int
    tasks_in_work: int
    tasks_to_tell: int
    """Ended, and Nextcloud has not taken their results yet."""
    database_bytes: int


async def look(database: Database) -> Standing:
    """How it stands now; a million sources take about a second. Raises DatabaseUnavailable."""
    async with database.transaction() as connection:
        rows = await (await connection.execute(statement("standing", "sources"))).fetchall()
        rest = await (await connection.execute(statement("standing", "rest"))).fetchone()
    assert rest is not None
    return Standing(
        {state: count for state, count, *_ in rows},
        next((max(0.0, oldest) for state, _, oldest, *_ in rows if state == "waiting"), 0.0),
        sum(size for *_, size, _ in rows),
        sum(chunks for *_, chunks in rows),
        *rest,
    )
