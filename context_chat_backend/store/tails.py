# SPDX-License-Identifier: AGPL-3.0-or-later
"""The tail of an embedding space: vectors that came a moment ago, found at once and indexed later (ruling 11).

The index of nearest neighbours takes a vector ten times more slowly than a table does. So new vectors go into a table
that inherits from that of the space: a search reads both, the tail one by one. In the background they move over.
"""

from __future__ import annotations

from psycopg import sql

from context_chat_backend.store.database import Database, statement
from context_chat_backend.store.spaces import StoredSpace, in_space


class Tails:
    """The tails of all spaces. All methods raise SpaceGone, DatabaseUnavailable."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def size(self, stored: StoredSpace) -> int:
        """How many vectors are searched one by one."""
        query = sql.SQL(statement("tails", "size")).format(tail=stored.tail)
        with in_space():
            async with self._database.transaction() as connection:
                row = await (await connection.execute(query)).fetchone()
        assert row is not None
        return int(row[0])

    async def index(self, stored: StoredSpace, limit: int) -> int:
        """Index up to `limit` of them, oldest first; returns how many. Those being deleted are passed over."""
        query = sql.SQL(statement("tails", "index")).format(tail=stored.tail, embedding=stored.table)
        with in_space():
            async with self._database.transaction() as connection:
                return (await connection.execute(query, {"limit": limit})).rowcount
