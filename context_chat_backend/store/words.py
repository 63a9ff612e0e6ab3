# SPDX-License-Identifier: AGPL-3.0-or-later
"""The word index: what is written of a chunk, and the sample that tells how rare a word is.

Counters that every writer keeps exact would make writers wait for each other (ruling 8). A sample of the index, taken
again whenever it has grown or shrunk by a fifth, is as good for ranking: of 50 000 chunks it knows the share of a word
that one chunk in a hundred holds within a twentieth. Rarer words are counted when they are asked for.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from context_chat_backend.store.database import Connection, Database, statement
from context_chat_backend.words import words_of

_LEAST_CHUNKS = 1000
"""Below this, counting at each question costs less than a sample is worth."""
_SAMPLED_CHUNKS = 50_000
_LOCK = 5_004_000_004


@dataclass(frozen=True, slots=True)
class WrittenChunk:
    """A chunk as the word index sees it."""

    id: int
    source_id: int
    title: str
    """Of its source."""
    language: str
    heading: str | None
    text: str


async def put_words(connection: Connection, chunks: Sequence[WrittenChunk]) -> None:
    """Index the words of title, heading and text of these chunks, in place of what was indexed of them."""
    titles = {
        (title, language): words_of(title, language)
        for title, language in {(chunk.title, chunk.language) for chunk in chunks}
    }
    about = [titles[chunk.title, chunk.language] for chunk in chunks]
    found = [words_of(f"{chunk.heading or ''}\n{chunk.text}", chunk.language) for chunk in chunks]
    await connection.execute(
        statement("words", "insert_languages"), {"languages": sorted({chunk.language for chunk in chunks})}
    )
    await connection.execute(
        statement("words", "put"),
        {
            "ids": [chunk.id for chunk in chunks],
            "source_ids": [chunk.source_id for chunk in chunks],
            "languages": [chunk.language for chunk in chunks],
            "written": [f"{title.written}\n{words.written}" for title, words in zip(about, found, strict=True)],
            "names": ["\n".join((*title.names, *words.names)) for title, words in zip(about, found, strict=True)],
        },
    )


async def retitle_words(connection: Connection, source_id: int) -> None:
    """Index the words of a source's chunks once more, for its title has changed."""
    rows = await (await connection.execute(statement("words", "chunks_of"), {"source_id": source_id})).fetchall()
    if rows:
        await put_words(connection, [WrittenChunk(row[0], source_id, *row[1:]) for row in rows])


class WordSample:
    """How rare words are."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def renew(self) -> bool:
        """Take a new sample when the index is not what it was; returns whether. Raises DatabaseUnavailable."""
        async with self._database.transaction() as connection:
            due = await connection.execute(statement("words", "sample_due"), {"least": _LEAST_CHUNKS, "lock": _LOCK})
            row = await due.fetchone()
            if row is None:
                return False
            await connection.execute(statement("words", "forget_shares"))
            percent = min(100.0, 100.0 * _SAMPLED_CHUNKS / row[0])
            await connection.execute(statement("words", "sample_shares"), {"percent": percent})
            await connection.execute(statement("words", "note_sample"), {"chunks": row[0]})
        return True
