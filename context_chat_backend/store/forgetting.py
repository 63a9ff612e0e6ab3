# SPDX-License-Identifier: AGPL-3.0-or-later
"""What was kept long enough goes."""

from __future__ import annotations

from datetime import timedelta

from context_chat_backend.store.database import Database, statement

_BATCH = 500


class Forgetting:
    """Removes what is older than its owner's administrator wants."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def conversations(self, age: timedelta) -> int:
        """Remove conversations that were not continued for `age`; returns how many. Raises DatabaseUnavailable."""
        removed = 0
        while True:
            async with self._database.transaction() as connection:
                rows = await connection.execute(statement("forgetting", "forget"), {"age": age, "limit": _BATCH})
            removed += rows.rowcount
            if rows.rowcount < _BATCH:
                return removed
