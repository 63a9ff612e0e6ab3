# SPDX-License-Identifier: AGPL-3.0-or-later
"""The word index: what is written of a chunk, and the sample that tells how rare a word is.

Counters that every writer keeps exact would make writers wait for each other (ruling 8). A sample of the index, taken
again whenever it has grown or shrunk by a fifth, is as good for ranking: of 50 000 chunks it knows the share of a word
that one chunk in a hundred holds within a twentieth. Rarer words are counted when they are asked for.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from context_chat_backend.store.database import Connection, Database, statement
from context_chat_backend.store.impacts import impacts
from context_chat_backend.store.terms import TermMemory, Terms
from context_chat_backend.words import found_in

_LEAST_CHUNKS = 1000
"""Below this, counting at each question costs less than a sample is worth."""
_SAMPLED_CHUNKS = 50_000
_LOCK = 5_004_000_004


@dataclass(frozen=True, slots=True)
class WrittenChunk:
    """A chunk as the word index sees it."""

    title: str
    """Of its source."""
    language: str
    heading: str | None
    text: str


@dataclass(frozen=True, slots=True)
class ChunkWords:
    """What the word index holds of a chunk."""

    language: str
    impacts: bytes
    """As PostgreSQL reads a sparsevec."""


_memory = TermMemory()
"""One for the process: what a word's term is depends on the database's stemmers alone."""


def forget_words() -> None:
    """Look words up anew: they are taken apart in another way from now on."""
    _memory.clear()


async def find_words(connection: Connection, chunks: Sequence[WrittenChunk]) -> list[ChunkWords]:
    """The words of title, heading and text of these chunks."""
    names, pairs = await asyncio.to_thread(_names, chunks)
    terms = [(of, await _memory.of_names(connection, language, of.numbers)) for language, of in names.items()]
    terms.append((pairs, await _memory.of_pairs(connection, pairs.numbers)))
    found = await asyncio.to_thread(_impacts, terms, len(chunks))
    return [ChunkWords(chunk.language, one) for chunk, one in zip(chunks, found, strict=True)]


async def put_words(
    connection: Connection, ids: Sequence[int], source_ids: Sequence[int], words: Sequence[ChunkWords]
) -> None:
    """Index the words of the chunks with these ids, which are not in the index."""
    languages = {"languages": sorted({one.language for one in words})}
    await connection.execute(statement("words", "insert_languages"), languages)
    rows = await connection.execute(statement("words", "languages"), languages)
    numbers: dict[str, int] = dict(await rows.fetchall())
    async with connection.cursor() as cursor, cursor.copy(statement("words", "copy")) as copy:
        copy.set_types(["int8", "int8", "oid", "bytea"])
        for id_, source_id, one in zip(ids, source_ids, words, strict=True):
            await copy.write_row((id_, source_id, numbers[one.language], one.impacts))


async def retitle_words(connection: Connection, source_id: int) -> None:
    """Index the words of a source's chunks once more, for its title has changed."""
    rows = await (await connection.execute(statement("words", "chunks_of"), {"source_id": source_id})).fetchall()
    if not rows:
        return
    words = await find_words(connection, [WrittenChunk(*row[1:]) for row in rows])
    await connection.execute(statement("words", "forget"), {"source_id": source_id})
    await put_words(connection, [row[0] for row in rows], [source_id] * len(rows), words)


def _names(chunks: Sequence[WrittenChunk]) -> tuple[Mapping[str, _Names], _Names]:
    """What is written in chunks: names by language, and pairs of characters."""
    names: defaultdict[str, _Names] = defaultdict(_Names)
    pairs = _Names()
    titles = {title: found_in(title) for title in {chunk.title for chunk in chunks}}
    for number, chunk in enumerate(chunks):
        for found in (titles[chunk.title], found_in(f"{chunk.heading or ''}\n{chunk.text}")):
            names[chunk.language].add(number, found.names)
            pairs.add(number, found.pairs)
    return names, pairs


def _impacts(terms: Sequence[tuple[_Names, Terms]], chunks: int) -> Sequence[bytes]:
    parts = [of.terms(of_names) for of, of_names in terms]
    return impacts(np.concatenate([found for found, _ in parts]), np.concatenate([of for _, of in parts]), chunks)


class _Names:
    """Names of one language in chunks, each numbered once."""

    def __init__(self) -> None:
        self.numbers = defaultdict[str, int]()
        self.numbers.default_factory = self.numbers.__len__
        self._occurring: list[int] = []
        self._chunks: list[int] = []
        self._counts: list[int] = []

    def add(self, chunk: int, names: Sequence[str]) -> None:
        """Names of a chunk, as often as they occur."""
        self._occurring += [self.numbers[name] for name in names]
        self._chunks.append(chunk)
        self._counts.append(len(names))

    def terms(self, of_names: Terms) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The terms of all chunks, as often as they occur, and the chunk of each."""
        each = [of_names[name] for name in self.numbers]
        counts = np.fromiter(map(len, each), np.int64)
        flat = np.fromiter(chain.from_iterable(each), np.int64)
        occurring = np.array(self._occurring, np.int64)
        lengths = counts[occurring]
        begins = (np.cumsum(counts) - counts)[occurring] - (np.cumsum(lengths) - lengths)
        chunks = np.repeat(np.array(self._chunks, np.int64), self._counts)
        return flat[np.repeat(begins, lengths) + np.arange(lengths.sum())], np.repeat(chunks, lengths)


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
