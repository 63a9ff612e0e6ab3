# SPDX-License-Identifier: AGPL-3.0-or-later
"""Whether Nextcloud has enabled the app: one row, so that all processes and the next start know."""

from __future__ import annotations

from psycopg.types.json import Jsonb

from context_chat_backend.store.database import Database, statement

_NAME = "enabled"


class Switch:
    """The enabled state."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def is_enabled(self) -> bool:
        """The last state Nextcloud set; disabled until it has set one. Raises DatabaseUnavailable."""
        async with self._database.transaction() as connection:
            row = await (await connection.execute(statement("database", "setting"), {"name": _NAME})).fetchone()
        return row is not None and row[0] is True

    async def set_enabled(self, enabled: bool) -> None:
        """Keep the state for all processes. Raises DatabaseUnavailable."""
        async with self._database.transaction() as connection:
            await connection.execute(statement("database", "set_setting"), {"name": _NAME, "value": Jsonb(enabled)})
