# SPDX-License-Identifier: AGPL-3.0-or-later
"""Rows of Nextcloud's queues on their way: leased, admitted, acknowledged; each step is durable (ruling 6)."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime

from context_chat_backend.store.applied import AppliedAction, note_applied
from context_chat_backend.store.database import Connection, Database, statement


@dataclass(frozen=True, slots=True)
class LeasedRow:
    """A row as it was leased."""

    queue: str
    id: int
    payload: str
    """JSON, in ASCII."""
    readers_since: datetime
    """When the readers in it were read at the earliest; of files that is known better when they are admitted."""


class Queued:
    """What was leased and is not acknowledged yet, and how far actions have come."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def now(self) -> datetime:
        """The time of the database. Raises DatabaseUnavailable, as all here."""
        async with self._database.transaction() as connection:
            row = await (await connection.execute(statement("queued", "now"))).fetchone()
        assert row is not None
        return row[0]  # type: ignore[no-any-return]

    async def keep(self, rows: Sequence[LeasedRow]) -> None:
        """Write down what was leased, before anything is done with it."""
        if not rows:
            return
        async with self._database.transaction() as connection:
            for since in {row.readers_since for row in rows}:
                kept = [row for row in rows if row.readers_since == since]
                payloads = {"payloads": [row.payload for row in kept], "readers_since": since}
                named = [(row.queue, row.id) for row in kept]
                await connection.execute(statement("queued", "keep"), _columns(named) | payloads)

    async def kept(self, limit: int) -> list[LeasedRow]:
        """At most `limit` rows that are still to be admitted, in the order in which that is to be done."""
        async with self._database.transaction() as connection:
            rows = await connection.execute(statement("queued", "kept"), {"limit": limit})
            return [LeasedRow(*row) for row in await rows.fetchall()]

    async def settle(self, rows: Collection[tuple[str, int]], applied: Sequence[AppliedAction] = ()) -> None:
        """Mark rows (queue and id) as done: they are to be acknowledged, and what they did is kept."""
        async with self._database.transaction() as connection:
            await connection.execute(statement("queued", "settle"), _columns(rows))
            await note_applied(connection, applied)

    async def unacknowledged(self, limit: int) -> list[tuple[str, int]]:
        """At most `limit` rows that are to be acknowledged."""
        async with self._database.transaction() as connection:
            rows = await connection.execute(statement("queued", "unacknowledged"), {"limit": limit})
            return [(queue, id_) for queue, id_ in await rows.fetchall()]

    async def acknowledged(self, rows: Collection[tuple[str, int]]) -> None:
        """Forget rows that Nextcloud knows of."""
        async with self._database.transaction() as connection:
            await connection.execute(statement("queued", "acknowledged"), _columns(rows))


async def settle_row(connection: Connection, row: tuple[str, int] | None) -> None:
    """Settle a row in the transaction that admits what stands in it."""
    if row is not None:
        await connection.execute(statement("queued", "settle"), _columns([row]))


def _columns(rows: Collection[tuple[str, int]]) -> dict[str, object]:
    return {"queues": [queue for queue, _ in rows], "ids": [id_ for _, id_ in rows]}
