# SPDX-License-Identifier: AGPL-3.0-or-later
"""Sources that are left out by the administrator's rules, looked for among all that are there."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from psycopg.types.json import Jsonb

from context_chat_backend.domain import Reason
from context_chat_backend.store.database import Database, statement

_NAME = "exclusions"


@dataclass(frozen=True, slots=True)
class ListedSource:
    """What a rule may speak of."""

    id: int
    title: str
    media_type: str
    provider: str
    size: int
    modified_at: datetime


class Excluded:
    """Applies rules to what is there. All methods raise DatabaseUnavailable."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def was_applied(self, digest: str, *, since: datetime | None) -> bool:
        """Whether the rules with this digest were the last that were applied, and not before `since`."""
        async with self._database.transaction() as connection:
            row = await (await connection.execute(statement("database", "setting"), {"name": _NAME})).fetchone()
        if row is None or row[0]["digest"] != digest:
            return False
        return since is None or datetime.fromisoformat(row[0]["at"]) >= since

    async def note_applied(self, digest: str, at: datetime) -> None:
        """The rules with this digest were applied to all sources."""
        value = Jsonb({"digest": digest, "at": at.isoformat()})
        async with self._database.transaction() as connection:
            await connection.execute(statement("database", "set_setting"), {"name": _NAME, "value": value})

    async def some(self, after: int, limit: int) -> list[ListedSource]:
        """Sources that wait or are indexed, by id, from behind `after` on."""
        async with self._database.transaction() as connection:
            rows = await connection.execute(statement("excluded", "some"), {"after": after, "limit": limit})
            return [ListedSource(*row) for row in await rows.fetchall()]

    async def reject(self, ids: list[int], reason: Reason) -> int:
        """Reject them, whatever becomes of a version that is being indexed; returns how many."""
        async with self._database.transaction() as connection:
            rejected = await connection.execute(statement("excluded", "reject"), {"ids": ids, "reason": str(reason)})
            await connection.execute(statement("excluded", "drop"), {"ids": ids})
        return rejected.rowcount
