# SPDX-License-Identifier: AGPL-3.0-or-later
"""Tasks that were handed to us, kept until Nextcloud has their results: it waits for them for ever otherwise."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from psycopg.types.json import Jsonb

from context_chat_backend.store.database import Database, statement

Result = Mapping[str, Any]
_LEASE = timedelta(seconds=30)


class HeldTasks:
    """The tasks of one process. All methods raise DatabaseUnavailable."""

    def __init__(self, database: Database, holder: str) -> None:
        """`holder` names this process and no other."""
        self._database = database
        self._holder = holder

    async def take(self, task_id: int) -> None:
        """Note that this process has a task in work."""
        await self._send("take", id=task_id, lease=_LEASE)

    async def prolong(self) -> None:
        """Say that this process lives; to be said at least every 20 seconds."""
        await self._send("prolong", lease=_LEASE)

    async def end(self, task_id: int, result: Result) -> None:
        """Keep what Nextcloud is to be told."""
        await self._send("end", id=task_id, result=Jsonb(result))

    async def forget(self, task_id: int) -> None:
        """Nextcloud knows the result, or nobody wants it."""
        await self._send("forget", id=task_id)

    async def adopt_orphans(self, result: Result) -> None:
        """Take over the tasks of processes that are no more; those in work end with `result`."""
        await self._send("orphans", result=Jsonb(result), lease=_LEASE)
        await self._send("forget_old")

    async def ended(self, limit: int = 100) -> list[tuple[int, Result]]:
        """Ids and results this process has still to tell."""
        async with self._database.transaction() as connection:
            rows = await connection.execute(statement("tasks", "ended"), {"holder": self._holder, "limit": limit})
            return [(id_, result) for id_, result in await rows.fetchall()]

    async def _send(self, name: str, **parameters: object) -> None:
        async with self._database.transaction() as connection:
            await connection.execute(statement("tasks", name), parameters | {"holder": self._holder})
