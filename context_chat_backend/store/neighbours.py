# SPDX-License-Identifier: AGPL-3.0-or-later
"""What stands before and after the chunks that were found, for whoever may read them."""

from __future__ import annotations

from collections.abc import Collection

from context_chat_backend.domain import Location, Neighbour, Principal, SourceRef
from context_chat_backend.store.database import Database, statement


class Neighbours:
    """Chunks by their place in their source."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def around(self, asker: Principal, chunk_ids: Collection[int], *, before: int, after: int) -> list[Neighbour]:
        """These chunks, and up to `before` and `after` chunks around each, by source and place, each once.

        What `asker` may not read (any more) is left out. Raises DatabaseUnavailable.
        """
        parameters = {
            "asker_realm": asker.realm,
            "realm": asker.sources_realm,
            "name": asker.name,
            "chunk_ids": list(chunk_ids),
            "before": before,
            "after": after,
        }
        async with self._database.reading_as(asker) as connection:
            cursor = await connection.execute(statement("neighbours", "around"), parameters)
            rows = await cursor.fetchall()
        return [
            Neighbour(SourceRef.parse(ref), chunk_id, ordinal, Location(page, sheet, slide, heading), text)
            for chunk_id, ref, ordinal, page, sheet, slide, heading, text in rows
        ]
