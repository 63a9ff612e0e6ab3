# SPDX-License-Identifier: AGPL-3.0-or-later
"""Put: chunks of versions of sources, their words and vectors, in the transaction that settles them."""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import repeat
from typing import Any
from uuid import UUID

import numpy as np
from numpy.typing import NDArray
from pgvector import HalfVector
from psycopg import sql

from context_chat_backend.domain import Chunk, ClaimedSource, Location
from context_chat_backend.store.database import Connection, Database, statement
from context_chat_backend.store.spaces import StoredSpace, in_space, note_missing, storing_vectors
from context_chat_backend.store.words import ChunkWords, WrittenChunk, find_words, put_words, retitle_words

Embed = Callable[[Sequence[tuple[str, Chunk]]], Awaitable[NDArray[np.float32]]]
"""Vectors of chunks, each with the title of its source."""

WordsOfSources = Mapping[tuple[int, int], Sequence[ChunkWords]]
"""The words of the chunks of sources, by id and version of the source."""


@dataclass(frozen=True, slots=True)
class Embedded:
    """What one step of filling a space did."""

    chunks: int
    last: int
    """The largest id among them."""


@dataclass(frozen=True, slots=True)
class IndexedSource:
    """What was made of one version of a source."""

    source: ClaimedSource
    chunks: Sequence[Chunk]
    vectors: Mapping[StoredSpace, NDArray[np.float32]]
    """For each space an array of shape (len(chunks), dimension), one vector of length 1 for each chunk."""
    content_digest: bytes | None
    """Of the bytes; None where only their text is known."""
    contents: Sequence[UUID] | None = None
    """Of what was embedded of each chunk: see `content_of`. None: not to be reused."""
    parser: str | None = None
    characters: int | None = None
    parse_ms: int | None = None
    embed_ms: int | None = None


def content_of(realm: str, embedded: str) -> UUID:
    """What is equal where the same text is embedded for sources of one realm: vectors cross no realm (ruling 9)."""
    return UUID(bytes=hashlib.sha256(f"{realm}\x00{embedded}".encode()).digest()[:16])


class Chunks:
    """The chunks of all sources."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def put(self, indexed: Sequence[IndexedSource]) -> set[int]:
        """Replace what is indexed of these sources, drop their spooled bytes, settle them as indexed.

        Vectors in spaces that are not live are passed over; in live ones without vectors the chunks are embedded later.
        The old versions answer until the commit. Returns the ids of the sources that were settled: a version that was
        replaced or deleted meanwhile is none of them, and changes nothing. Raises DatabaseUnavailable.
        """
        for one in indexed:
            _check(one)
        async with self._database.transaction() as connection:  # nobody has to wait for what is looked for here
            words = await words_of(connection, indexed)
        async with self._database.transaction(lasting=False) as connection:
            live = await storing_vectors(connection)
            titles = await _wanted(connection, indexed)
            indexed = [one for one in indexed if one.source.id in titles]
            if indexed:
                await replace_chunks(connection, indexed, words, live)
            for one in indexed:
                if titles[one.source.id] != one.source.title:
                    await retitle_words(connection, one.source.id)
        return set(titles)

    async def known_vectors(self, contents: Sequence[UUID], space: StoredSpace) -> dict[UUID, NDArray[np.float32]]:
        """Vectors in `space` of chunks that say the same; those that are not known are missing.

        Raises SpaceGone, DatabaseUnavailable.
        """
        query = sql.SQL(statement("chunks", "known_vectors")).format(embedding=space.table)
        with in_space():
            async with self._database.transaction() as connection:
                rows = await connection.execute(query, {"contents": list(contents)})
                return {content: vector.to_numpy().astype(np.float32) for content, vector in await rows.fetchall()}

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
        vectors = await embed([_embedded(*row[1:]) for row in rows])
        ids = [row[0] for row in rows]
        async with self._database.transaction() as connection:
            if space.id not in await storing_vectors(connection):
                return None
            query = sql.SQL(statement("chunks", "add_vectors")).format(embedding=space.table)
            await connection.execute(query, {"ids": ids, "vectors": [HalfVector(vector) for vector in vectors]})
        return Embedded(len(rows), ids[-1])


def _embedded(pair: bool, title: str, *rest: Any) -> tuple[str, Chunk]:
    """Title and text by which a chunk is found; a pair is found by its question."""
    *place, text = rest
    return ("", Chunk(0, title)) if pair else (title, Chunk(0, text, Location(*place)))


def _check(one: IndexedSource) -> None:
    count = len(one.chunks)
    for vectors in one.vectors.values():
        if len(vectors) != count:
            raise ValueError(f"{count} chunks need as many vectors, not {len(vectors)}")


async def _wanted(connection: Connection, indexed: Sequence[IndexedSource]) -> dict[int, str]:
    """Titles, which may have changed since the claim, of those whose version is still the one that is wanted."""
    versions = {
        "ids": [one.source.id for one in indexed],
        "versions": [one.source.version for one in indexed],
    }
    rows = await connection.execute(statement("ledger", "settle"), versions)
    return dict(await rows.fetchall())


async def words_of(connection: Connection, indexed: Sequence[IndexedSource]) -> WordsOfSources:
    """The words of the chunks of each source, by its id and version."""
    written = [
        WrittenChunk(one.source.title, chunk.language, chunk.location.heading, chunk.text)
        for one in indexed
        for chunk in one.chunks
    ]
    words = iter(await find_words(connection, written))
    return {(one.source.id, one.source.version): [next(words) for _ in one.chunks] for one in indexed}


async def replace_chunks(
    connection: Connection,
    indexed: Sequence[IndexedSource],
    words: WordsOfSources,
    live: frozenset[int],
    *,
    into_tail: bool = True,
) -> None:
    """Store chunks, words and vectors of sources whose rows are locked, and settle these.

    `words` are what words_of gave, `live` what storing_vectors gave. Without `into_tail` vectors go where the
    index is: for a load after which it is built.
    """
    ids = await _draw_ids(connection, sum(len(one.chunks) for one in indexed))
    await _replace_chunks(connection, indexed, ids)
    await put_words(
        connection,
        ids,
        [one.source.id for one in indexed for _ in one.chunks],
        [word for one in indexed for word in words[one.source.id, one.source.version]],
    )
    for space in {space for one in indexed for space in one.vectors if space.id in live}:
        await _copy_vectors(connection, indexed, ids, space, space.tail if into_tail else space.table)
    for space_id in live:
        if any(space_id not in {space.id for space in one.vectors} for one in indexed):
            await note_missing(connection, space_id)
    await _settle(connection, indexed)


async def _draw_ids(connection: Connection, count: int) -> list[int]:
    rows = await connection.execute(statement("chunks", "draw_ids"), {"count": count})
    return [row[0] for row in await rows.fetchall()]


async def _replace_chunks(connection: Connection, indexed: Sequence[IndexedSource], ids: list[int]) -> None:
    chunks = [chunk for one in indexed for chunk in one.chunks]
    await connection.execute(statement("chunks", "delete"), {"source_ids": [one.source.id for one in indexed]})
    await connection.execute(
        statement("chunks", "insert"),
        {
            "ids": ids,
            "source_ids": [one.source.id for one in indexed for _ in one.chunks],
            "ordinals": [chunk.ordinal for chunk in chunks],
            "pages": [chunk.location.page for chunk in chunks],
            "sheets": [chunk.location.sheet for chunk in chunks],
            "slides": [chunk.location.slide for chunk in chunks],
            "headings": [chunk.location.heading for chunk in chunks],
            "contents": [content for one in indexed for content in one.contents or repeat(None, len(one.chunks))],
        },
    )
    await connection.execute(
        statement("chunks", "insert_texts"), {"ids": ids, "texts": [chunk.text for chunk in chunks]}
    )


async def _copy_vectors(
    connection: Connection,
    indexed: Sequence[IndexedSource],
    ids: list[int],
    space: StoredSpace,
    table: sql.Identifier,
) -> None:
    copy = sql.SQL(statement("chunks", "copy_vectors")).format(tail=table)
    numbers = iter(ids)
    async with connection.cursor() as cursor, cursor.copy(copy) as rows:
        rows.set_types(["int8", "int8", "halfvec"])
        for one in indexed:
            own = [next(numbers) for _ in one.chunks]
            for id_, vector in zip(own, one.vectors.get(space, ()), strict=False):  # none: this source gets them later
                await rows.write_row((id_, one.source.id, HalfVector(vector)))


async def _settle(connection: Connection, indexed: Sequence[IndexedSource]) -> None:
    await connection.execute(
        statement("ledger", "indexed"),
        {
            "ids": [one.source.id for one in indexed],
            "content_digests": [one.content_digest for one in indexed],
            "chunk_counts": [len(one.chunks) for one in indexed],
            "parsers": [one.parser for one in indexed],
            "characters": [one.characters for one in indexed],
            "parse_ms": [one.parse_ms for one in indexed],
            "embed_ms": [one.embed_ms for one in indexed],
        },
    )
    await connection.execute(statement("ledger", "empty_spools"), {"ids": [one.source.id for one in indexed]})
