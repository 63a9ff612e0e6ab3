# SPDX-License-Identifier: AGPL-3.0-or-later
"""Who may read what, as the store has it."""

from __future__ import annotations

from context_chat_backend.domain import SourceRef
from context_chat_backend.store.database import Database


async def readers_of_all(database: Database) -> dict[SourceRef, set[str]]:
    """The names of the readers of each source that is not deleted."""
    async with database.transaction() as connection:
        rows = await connection.execute(
            "SELECT ref, array_agg(name) FROM source LEFT JOIN access_member USING (access_set_id) "
            "LEFT JOIN principal ON principal.id = principal_id WHERE state <> 'gone' GROUP BY ref"
        )
        return {SourceRef.parse(ref): set(names) for ref, names in await rows.fetchall()}
