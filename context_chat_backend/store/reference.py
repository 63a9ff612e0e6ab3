# SPDX-License-Identifier: AGPL-3.0-or-later
"""The tables of the reference, wherever they lie: `docs`, `access_list`, `langchain_pg_embedding` of its 4.x and 5.x.

They are read in one pass, in the shapes both lines share. A chunk no source names is passed over: writes of the
reference are not atomic.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np
from numpy.typing import NDArray
from psycopg import sql

from context_chat_backend.errors import StartError
from context_chat_backend.store.database import Database, statement

_COLUMNS: Mapping[str, frozenset[str]] = {
    "docs": frozenset({"source_id", "provider", "modified", "chunks"}),
    "access_list": frozenset({"uid", "source_id"}),
    "langchain_pg_embedding": frozenset({"id", "embedding", "document", "cmetadata"}),
}
"""What is read of each table; `access_list.id` may be missing (ruling 33)."""
TABLES = tuple(_COLUMNS)
"""Their names."""
_SOURCES_AT_ONCE = 500
_WITH_VECTORS = sql.SQL("l2_normalize(stored.embedding)::halfvec")
_WITHOUT_VECTORS = sql.SQL("NULL::halfvec")


@dataclass(frozen=True, slots=True)
class OldCounts:
    """How much there is to take over."""

    sources: int
    readers: int
    """Pairs of a user and a source."""
    chunks: int
    """Of sources and of none."""
    digest: str
    """Tells this index from others: of its sources and the ids of their chunks, wherever the tables lie."""


@dataclass(frozen=True, slots=True)
class OldSource:
    """One row of `docs`."""

    ref: str
    provider: str
    modified: datetime | None
    """Local time of the container it was written in, without a zone."""
    readers: tuple[str, ...]
    chunks: tuple[str, ...]
    """Ids, in reading order; some may be missing."""


@dataclass(frozen=True, slots=True)
class OldChunk:
    """One row of `langchain_pg_embedding`."""

    text: str
    title: str | None
    media_type: str | None
    vector: NDArray[np.float32] | None
    """Of length 1."""


class Reference:
    """The tables of the reference in one database. All methods raise DatabaseUnavailable."""

    def __init__(self, database: Database) -> None:
        """`database` stays the caller's to close."""
        self._database = database

    async def is_there(self) -> bool:
        """Whether all three tables are there.

        Raises StartError when they are and lack a column that is read.
        """
        async with self._database.transaction() as connection:
            rows = await (await connection.execute(statement("reference", "columns"))).fetchall()
        found = {row[0] for row in rows}
        if not all(any(one.startswith(f"{table}.") for one in found) for table in _COLUMNS):
            return False
        wanted = sorted(f"{table}.{column}" for table, columns in _COLUMNS.items() for column in columns)
        if lacking := [one for one in wanted if one not in found]:
            raise StartError(
                f"the tables of the old index lack {', '.join(lacking)}: they are of a version before 4.0, or not of "
                "context_chat_backend; upgrade with the program that wrote them to 4.x first, or index anew"
            )
        return True

    async def counts(self) -> OldCounts:
        """How much there is."""
        async with self._database.transaction() as connection:
            row = await (await connection.execute(statement("reference", "counts"))).fetchone()
        assert row is not None
        return OldCounts(*row)

    async def samples(self, count: int) -> list[tuple[str, NDArray[np.float32]]]:
        """Texts of up to `count` chunks with their vectors as they were stored, of any length and dimension."""
        async with self._database.transaction() as connection:
            cursor = connection.cursor(binary=True)
            rows = await (await cursor.execute(statement("reference", "samples"), {"count": count})).fetchall()
        return [(text, np.asarray(vector.to_numpy(), dtype=np.float32)) for text, vector in rows]

    async def sources(self) -> AsyncGenerator[list[OldSource], None]:
        """All sources as of now, some hundreds at a time."""
        async with (
            self._database.transaction() as connection,
            connection.cursor(name="old_sources", binary=True) as cursor,
        ):
            await cursor.execute(statement("reference", "sources"))
            while rows := await cursor.fetchmany(_SOURCES_AT_ONCE):
                yield [
                    OldSource(ref, provider or "", modified, tuple(readers), tuple(chunks))
                    for ref, provider, modified, readers, chunks in rows
                ]

    async def chunks(self, sources: Sequence[OldSource], *, vectors: bool) -> list[list[OldChunk]]:
        """The chunks of each of these sources, in reading order, with their vectors where they are wanted."""
        query = sql.SQL(statement("reference", "chunks")).format(vector=_WITH_VECTORS if vectors else _WITHOUT_VECTORS)
        owners = [number for number, source in enumerate(sources) for _ in source.chunks]
        async with self._database.transaction() as connection:
            cursor = connection.cursor(binary=True)
            rows = await cursor.execute(query, {"ids": [id_ for source in sources for id_ in source.chunks]})
            found: list[list[OldChunk]] = [[] for _ in sources]
            for number, text, title, media_type, vector in await rows.fetchall():
                plain = None if vector is None else vector.to_numpy().astype(np.float32)
                found[owners[number - 1]].append(OldChunk(text or "", title, media_type, plain))
        return found

    async def chunk_counts(self, sources: Sequence[OldSource]) -> list[int]:
        """How many of the chunks each of these names are there."""
        named = [(number, id_) for number, source in enumerate(sources) for id_ in source.chunks]
        parameters = {"owners": [number for number, _ in named], "ids": [id_ for _, id_ in named]}
        async with self._database.transaction() as connection:
            rows = await connection.execute(statement("reference", "chunk_counts"), parameters)
            counts: dict[int, int] = dict(await rows.fetchall())
        return [counts.get(number, 0) for number in range(len(sources))]

    async def drop(self) -> None:
        """Drop the tables. What else lies in the database stays."""
        async with self._database.transaction() as connection:
            await connection.execute(statement("reference", "drop"))
