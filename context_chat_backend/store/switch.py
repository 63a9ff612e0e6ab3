# SPDX-License-Identifier: AGPL-3.0-or-later
"""What all processes and the next start must know: whether Nextcloud has enabled the app, how it hands work over."""

from __future__ import annotations

from datetime import UTC, datetime

from psycopg.types.json import Jsonb

from context_chat_backend.store.database import Database, statement

_ENABLED = "enabled"
_PULLS = "pulls"
_CONTENT_EMPTY = "content_read_empty_at"


class Switch:
    """The enabled state."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def is_enabled(self) -> bool:
        """The last state Nextcloud set; disabled until it has set one. Raises DatabaseUnavailable, as all here."""
        return await self._read(_ENABLED) is True

    async def set_enabled(self, enabled: bool) -> None:
        """Keep the state for all processes."""
        await self._write(_ENABLED, enabled)

    async def pulls(self) -> bool | None:
        """Whether work is pulled from Nextcloud's queues, as found last; None: nobody knows yet."""
        found = await self._read(_PULLS)
        return found if isinstance(found, bool) else None

    async def set_pulls(self, pulls: bool) -> None:
        """Keep what was found."""
        await self._write(_PULLS, pulls)

    async def content_read_empty_at(self) -> datetime:
        """When the queue of content was last seen to hold nothing more: what is read later was submitted later."""
        found = await self._read(_CONTENT_EMPTY)
        return datetime.fromisoformat(found) if isinstance(found, str) else datetime.fromtimestamp(0, UTC)

    async def set_content_read_empty_at(self, at: datetime) -> None:
        """Keep the time before the request whose answer held all there was."""
        await self._write(_CONTENT_EMPTY, at.isoformat())

    async def _read(self, name: str) -> object:
        async with self._database.transaction() as connection:
            row = await (await connection.execute(statement("database", "setting"), {"name": name})).fetchone()
        return None if row is None else row[0]

    async def _write(self, name: str, value: object) -> None:
        async with self._database.transaction() as connection:
            await connection.execute(statement("database", "set_setting"), {"name": name, "value": Jsonb(value)})
