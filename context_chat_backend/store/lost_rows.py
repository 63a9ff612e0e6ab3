# SPDX-License-Identifier: AGPL-3.0-or-later
"""Whether rows may be locked in Nextcloud that never reached us: an answer was lost, or we died before it was kept.

They come back after a day. Until then what they say may be older than anything that is read meanwhile.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from psycopg.types.json import Jsonb

from context_chat_backend.store.database import Database, statement

_ASKED = "rows_asked_for"
_LOST = "rows_lost_at"


class LostRows:
    """Remembers for all processes and the next start. All here raises DatabaseUnavailable."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def ask(self) -> timedelta | None:
        """Rows are about to be asked for; how long ago some may have been lost last, None where none are missing.

        Whoever asked before and has not said `arrived` has lost what he asked for.
        """
        async with self._database.transaction() as connection:
            rows = await connection.execute(statement("lost_rows", "read"), {"asked": _ASKED, "lost": _LOST})
            found: dict[str, object] = dict(await rows.fetchall())
            now = await (await connection.execute(statement("queued", "now"))).fetchone()
            assert now is not None
            at: datetime = now[0]
            if _ASKED in found:
                found[_LOST] = at.isoformat()
                await connection.execute(
                    statement("database", "set_setting"), {"name": _LOST, "value": Jsonb(at.isoformat())}
                )
            await connection.execute(statement("database", "set_setting"), {"name": _ASKED, "value": Jsonb(True)})
        lost = found.get(_LOST)
        return at - datetime.fromisoformat(lost) if isinstance(lost, str) else None

    async def lost(self) -> None:
        """What was asked for has come too late to be kept."""
        async with self._database.transaction() as connection:
            now = await (await connection.execute(statement("queued", "now"))).fetchone()
            assert now is not None
            await connection.execute(
                statement("database", "set_setting"), {"name": _LOST, "value": Jsonb(now[0].isoformat())}
            )

    async def arrived(self) -> None:
        """All that was asked for has been kept, or nothing was given."""
        await self._forget(_ASKED)

    async def all_came_back(self) -> None:
        """Nothing that was lost is missing any more."""
        await self._forget(_LOST)

    async def _forget(self, name: str) -> None:
        async with self._database.transaction() as connection:
            await connection.execute(statement("lost_rows", "forget"), {"name": name})
