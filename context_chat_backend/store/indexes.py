# SPDX-License-Identifier: AGPL-3.0-or-later
"""The two large indexes of search: dropped before a bulk load, built with all the machine has, and looked after."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import psycopg
from psycopg import sql
from psycopg.rows import TupleRow

from context_chat_backend.errors import DatabaseUnavailable
from context_chat_backend.store.database import Connection, Database, statement
from context_chat_backend.store.spaces import StoredSpace

WORDS = "words_by_key"
_CROSSED = (psycopg.errors.DuplicateTable, psycopg.errors.UniqueViolation, psycopg.errors.UndefinedTable)
_PROBES = 10
_PROBED_PERCENT = 1.0


class SearchIndexes:
    """The index on the vectors of one space, and the index on words."""

    def __init__(self, database: Database, space: StoredSpace) -> None:
        self._database = database
        self._space = space

    @property
    def names(self) -> tuple[str, str]:
        """Both names."""
        return self._space.index, WORDS

    async def drop(self) -> None:
        """Drop both: loading many sources is faster without, and searches scan until they are built again."""
        async with self._database.transaction() as connection:
            for name in self.names:
                await connection.execute(sql.SQL(statement("indexes", "drop")).format(index=sql.Identifier(name)))

    async def missing(self) -> list[str]:
        """Names of those that are not there or whose building was cut off. Raises DatabaseUnavailable."""
        async with self._database.transaction() as connection:
            return [name for name in self.names if not await _is_valid(connection, name)]

    async def build(self, name: str, *, memory: int, workers: int) -> None:
        """Build one of `names` (again), while searches and indexing go on.

        `memory` is how many bytes that may take: the graph of a million vectors of 384 dimensions wants 1.3 GB, and
        building it beyond memory takes many times longer. `workers` build beside the first process. Raises
        DatabaseUnavailable, also while another process builds the same one.
        """
        try:
            await self._build(name, memory, workers)
        except DatabaseUnavailable as error:
            if not isinstance(error.__cause__, psycopg.errors.DiskFull):
                raise
            # Workers share their memory in /dev/shm, which containers often keep small.
            await self._build(name, memory, workers=0)

    async def _build(self, name: str, memory: int, workers: int) -> None:
        async with self._preparing(memory, workers) as connection:
            query = statement("indexes", "drop")
            # The server may still build for a process that was killed: whoever stores something must not wait for that.
            await connection.execute(statement("indexes", "patience"), {"patience": "1s"})
            await connection.execute(sql.SQL(query).format(index=sql.Identifier(name)))
            await connection.execute(statement("indexes", "patience"), {"patience": "0"})
            if name == WORDS:
                await connection.execute(sql.SQL(statement("indexes", "build_words")))
            else:
                build = sql.SQL(statement("indexes", "build_vectors"))
                await connection.execute(build.format(index=sql.Identifier(name), embedding=self._space.table))
                fast = sql.SQL(statement("indexes", "insert_fast"))
                await connection.execute(fast.format(index=sql.Identifier(name)))

    @asynccontextmanager
    async def _preparing(self, memory: int, workers: int) -> AsyncIterator[Connection]:
        async with self._database.outside_transactions() as connection:
            await connection.execute(
                statement("indexes", "memory"), {"memory": f"{memory // 1024}kB", "workers": str(workers)}
            )
            try:
                yield connection
            except _CROSSED as error:
                raise DatabaseUnavailable("another process builds this index or drops its table") from error

    async def bloated(self) -> dict[str, int]:
        """Tables with many dead rows, and how many: vacuuming does not keep up. Raises DatabaseUnavailable."""
        async with self._database.transaction() as connection:
            return dict(await (await connection.execute(statement("indexes", "bloat"))).fetchall())

    async def recall(self) -> float | None:
        """The share of true neighbours the index on vectors finds, of some stored vectors; None without any.

        Raises DatabaseUnavailable.
        """
        found = wanted = 0
        async with self._database.transaction() as connection:
            rows = await self._ask(connection, "probes", {"percent": _PROBED_PERCENT, "count": _PROBES})
            for (vector,) in rows or await self._ask(connection, "probes", {"percent": 100.0, "count": _PROBES}):
                ((by_index,),) = await self._ask(connection, "nearest_by_index", {"vector": vector})
                ((truly,),) = await self._ask(connection, "nearest", {"vector": vector})
                found += len(set(by_index) & set(truly))
                wanted += len(truly)
        return found / wanted if wanted else None

    async def _ask(self, connection: Connection, name: str, parameters: dict[str, object]) -> list[TupleRow]:
        query = sql.SQL(statement("indexes", name)).format(embedding=self._space.table)
        return await (await connection.execute(query, parameters)).fetchall()


async def _is_valid(connection: Connection, name: str) -> bool:
    row = await (await connection.execute(statement("indexes", "state"), {"index": name})).fetchone()
    return row is not None and row[0] is True
