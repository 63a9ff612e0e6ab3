# SPDX-License-Identifier: AGPL-3.0-or-later
"""Put: the chunks of one version of one source, their words and vectors, in the transaction that settles it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pgvector import HalfVector
from psycopg import sql

from context_chat_backend.domain import Chunk, ClaimedSource, Location
from context_chat_backend.store.database import Connection, Database, statement
from context_chat_backend.store.spaces import StoredSpace, note_missing, storing_vectors
from context_chat_backend.store.words import WrittenChunk, put_words

Embed = Callable[[Sequence[tuple[str, Chunk]]], Awaitable[NDArray[np.float32]]]
"""Vectors of chunks, each with the title of its source."""


@dataclass(frozen=True, slots=True)
class Embedded:
    """What one step of filling a space did."""

    chunks: int
    last: int
    """The largest id among them."""


class Chunks:
    """The chunks of all sources."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def put(
        self,
        source: ClaimedSource,
        chunks: Sequence[Chunk],
        vectors: Mapping[StoredSpace, NDArray[np.float32]],
        *,
        content_digest: bytes,
    ) -> bool:
        """Replace what is indexed of `source` by `chunks`, drop its spooled bytes, settle it as indexed.

        `vectors` has for each space an array of shape (len(chunks), dimension), one vector of length 1 for each chunk;
        spaces that are not live are passed over, and in live ones without vectors the chunks are embedded later. The
        old version answers until the commit. Returns False, and changes nothing, when the version was replaced or
        deleted meanwhile. Raises DatabaseUnavailable.
        """
        async with self._database.transaction() as connection:
            live = await storing_vectors(connection)
            version = {"id": source.id, "version": source.version}
            settled = await (await connection.execute(statement("ledger", "settle"), version)).fetchone()
            if settled is None:
                return False
            await connection.execute(statement("chunks", "delete"), {"source_id": source.id})
            ids = await _insert_chunks(connection, source.id, chunks)
            written = [
                WrittenChunk(id_, chunk.language, chunk.location.heading, chunk.text)
                for id_, chunk in zip(ids, chunks, strict=True)
            ]
            await put_words(connection, source.id, settled[0], written)  # the title may have changed since the claim
            for space, rows in vectors.items():
                if space.id in live:
                    await _copy_vectors(connection, source.id, ids, rows, space)
            for space_id in live - {space.id for space in vectors}:
                await note_missing(connection, space_id)
            await connection.execute(
                statement("ledger", "indexed"),
                {
                    "id": source.id,
                    "content_digest": content_digest,
                    "chunk_count": len(chunks),
                },
            )
            await connection.execute(statement("ledger", "empty_spool"), {"id": source.id})
        return True

    async def embed_missing(self, space: StoredSpace, embed: Embed, *, after: int, limit: int) -> Embedded | None:
        """Give the next chunks without a vector in `space` one: up to `limit` of those with an id above `after`.

        `embed` is asked for vectors of shape (chunks, dimension) while no transaction is open; what it is given goes
        nowhere else. Chunks that are deleted or replaced meanwhile are passed over. Returns None when the space is not
        live any more. Raises DatabaseUnavailable, and what `embed` raises.
        """
        async with self._database.transaction() as connection:
            if space.id not in await storing_vectors(connection):
                return None
            query = sql.SQL(statement("chunks", "without_vector")).format(embedding=space.table)
            rows = await (await connection.execute(query, {"after": after, "limit": limit})).fetchall()
        if not rows:
            return Embedded(0, after)
        vectors = await embed([(title, Chunk(0, text, Location(*place))) for _, title, *place, text in rows])
        ids = [row[0] for row in rows]
        async with self._database.transaction() as connection:
            if space.id not in await storing_vectors(connection):
                return None
            query = sql.SQL(statement("chunks", "add_vectors")).format(embedding=space.table)
            await connection.execute(query, {"ids": ids, "vectors": [HalfVector(vector) for vector in vectors]})
        return Embedded(len(rows), ids[-1])


async def _insert_chunks(connection: Connection, source_id: int, chunks: Sequence[Chunk]) -> list[int]:
    rows = await connection.execute(
        statement("chunks", "insert"),
        {
            "source_id": source_id,
            "ordinals": [chunk.ordinal for chunk in chunks],
            "pages": [chunk.location.page for chunk in chunks],
            "sheets": [chunk.location.sheet for chunk in chunks],
            "slides": [chunk.location.slide for chunk in chunks],
            "headings": [chunk.location.heading for chunk in chunks],
        },
    )
    by_ordinal = {ordinal: id_ for id_, ordinal in await rows.fetchall()}
    ids = [by_ordinal[chunk.ordinal] for chunk in chunks]
    await connection.execute(
        statement("chunks", "insert_texts"), {"ids": ids, "texts": [chunk.text for chunk in chunks]}
    )
    return ids


async def _copy_vectors(
    connection: Connection, source_id: int, ids: list[int], vectors: NDArray[np.float32], space: StoredSpace
) -> None:
    copy = sql.SQL(statement("chunks", "copy_vectors")).format(embedding=space.table)
    async with connection.cursor() as cursor, cursor.copy(copy) as rows:
        rows.set_types(["int8", "int8", "halfvec"])
        for id_, vector in zip(ids, vectors, strict=True):
            await rows.write_row((id_, source_id, HalfVector(vector)))
