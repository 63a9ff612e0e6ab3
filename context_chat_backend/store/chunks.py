# SPDX-License-Identifier: AGPL-3.0-or-later
"""Put: the chunks of one version of one source, their words and vectors, in the transaction that settles it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from pgvector import HalfVector
from psycopg import sql

from context_chat_backend.domain import Chunk, ClaimedSource
from context_chat_backend.store.database import Connection, Database, statement
from context_chat_backend.store.spaces import StoredSpace
from context_chat_backend.store.words import WrittenChunk, put_words


class Chunks:
    """The chunks of all sources."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def put(
        self,
        source: ClaimedSource,
        chunks: Sequence[Chunk],
        vectors: NDArray[np.float32],
        space: StoredSpace,
        *,
        content_digest: bytes,
    ) -> bool:
        """Replace what is indexed of `source` by `chunks`, drop its spooled bytes, settle it as indexed.

        `vectors` has shape (len(chunks), space dimension), one vector of length 1 for each chunk. The old version
        answers until the commit. Returns False, and changes nothing, when the version was replaced or deleted
        meanwhile. Raises DatabaseUnavailable.
        """
        async with self._database.transaction() as connection:
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
            await _copy_vectors(connection, source.id, ids, vectors, space)
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
