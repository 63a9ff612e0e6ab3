# SPDX-License-Identifier: AGPL-3.0-or-later
"""A synthetic corpus of any size, written straight into the store: clustered vectors, Zipf words, ten chunks a source.

Everything follows from one seed. Topics are points of a latent space, sources lie around topics and chunks around
sources; the latent space is laid into 384 dimensions, so that neighbours are near as those of real texts are. Words
follow the law of Zipf and Mandelbrot; a topic prefers some of them. Readers: `all` may read everything, `tenth`,
`hundredth` and `thousandth` may read that share of the sources, taken at random, `expert` a hundredth that belongs to
few topics.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import pairwise
from uuid import uuid4

import numpy as np
import psycopg
from numpy.typing import NDArray
from psycopg import sql

from context_chat_backend.domain import EmbeddingSpace

DIMENSION = 384
CHUNKS_PER_SOURCE = 10
PROVIDERS = 10
SPACE = EmbeddingSpace("benchmark", DIMENSION)
READERS = ("all", "tenth", "hundredth", "thousandth", "expert")

_LATENT = 64
_SOURCES_PER_TOPIC = 50
_VOCABULARY = 200_000
_WORDS_PER_CHUNK = 100
_TOPIC_WORDS = 40
_BATCH = 1000
_GUARDED = ("chunk", "chunk_text")
_SETS_PER_COMBINATION = 8
_SYLLABLES = ["ba", "ke", "li", "mo", "nu", "ra", "se", "ti", "vo", "wu", "dan", "fel", "gir", "hos", "jun", "pak"]


@dataclass(frozen=True)
class Asked:
    """A question: text, its vector of length 1, and what kind it is."""

    kind: str
    text: str
    vector: NDArray[np.float32]


@dataclass
class Corpus:
    """What the seed says about `sources` sources; nothing is kept of the texts themselves."""

    sources: int
    seed: int = 7
    words: list[str] = field(init=False)

    def __post_init__(self) -> None:
        random = np.random.default_rng(self.seed)
        self.topics = max(10, self.sources // _SOURCES_PER_TOPIC)
        self._projection = random.standard_normal((_LATENT, DIMENSION)).astype(np.float32) / np.sqrt(_LATENT)
        self._centres = random.standard_normal((self.topics, _LATENT)).astype(np.float32)
        self.topic_of = random.integers(0, self.topics, self.sources)
        self.words = [_word(rank) for rank in range(_VOCABULARY)]
        weights = 1.0 / (np.arange(_VOCABULARY) + 20.0) ** 1.05
        self._cumulated = np.cumsum(weights / weights.sum())
        self._topic_words = random.integers(200, _VOCABULARY, (self.topics, _TOPIC_WORDS))

    @property
    def chunks(self) -> int:
        """How many chunks there are."""
        return self.sources * CHUNKS_PER_SOURCE

    def vectors(self, source: int) -> NDArray[np.float32]:
        """The vectors of a source's chunks, shape (10, 384), each of length 1."""
        random = np.random.default_rng((self.seed, 1, source))
        centre = self._centres[self.topic_of[source]] + 0.7 * random.standard_normal(_LATENT, dtype=np.float32)
        latent = centre + 0.6 * random.standard_normal((CHUNKS_PER_SOURCE, _LATENT), dtype=np.float32)
        return self._laid_out(latent)

    def texts(self, source: int) -> list[str]:
        """The texts of a source's chunks, some 1000 characters each."""
        random = np.random.default_rng((self.seed, 2, source))
        shape = (CHUNKS_PER_SOURCE, _WORDS_PER_CHUNK)
        ranks = np.searchsorted(self._cumulated, random.random(shape))
        own = random.random(shape) < 0.1
        ranks[own] = random.choice(self._topic_words[self.topic_of[source]], int(own.sum()))
        return [" ".join([self.words[min(rank, _VOCABULARY - 1)] for rank in row]) for row in ranks]

    def readers(self, source: int) -> tuple[str, ...]:
        """Who may read a source: it depends on nothing but its number and its topic."""
        readers = ["all"]
        if source % 10 == 0:
            readers.append("tenth")
        if source % 100 == 50:
            readers.append("hundredth")
        if source % 1000 == 500:
            readers.append("thousandth")
        if self.topic_of[source] % 100 == 7:
            readers.append("expert")
        return tuple(readers)

    def questions(self, count: int) -> Iterator[Asked]:
        """Questions about random chunks: `natural` ones of six of its words, `common` ones of four frequent words."""
        for number in range(count):
            random = np.random.default_rng((self.seed, 3, number))
            source, ordinal = int(random.integers(self.sources)), int(random.integers(CHUNKS_PER_SOURCE))
            vector = (
                self.vectors(source)[ordinal]
                + 0.25 * self._laid_out(random.standard_normal((1, _LATENT), dtype=np.float32))[0]
            )
            if number % 4 == 3:
                kind, text = "common", " ".join(self.words[rank] for rank in random.choice(200, 4, replace=False))
            else:
                kind = "natural"
                text = " ".join(random.choice(sorted(set(self.texts(source)[ordinal].split())), 6, replace=False))
            yield Asked(kind, text, vector / np.linalg.norm(vector))

    def _laid_out(self, latent: NDArray[np.float32]) -> NDArray[np.float32]:
        vectors = latent @ self._projection
        laid_out: NDArray[np.float32] = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
        return laid_out


WORD_IMPACTS = """
CREATE OR REPLACE FUNCTION word_impacts(language regconfig, written text) RETURNS sparsevec
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$
    SELECT coalesce('{' || string_agg(term || ':' || round(
            2200 * frequency / (frequency + 0.3 + 0.9 * length / 80)) / 1000, ',') || '}/1000000000',
        '{}/1000000000')::sparsevec
    FROM (SELECT term, sum(frequency)::float8 AS frequency, count(*) OVER () AS length
          FROM (SELECT term_id(lexeme) AS term, cardinality(positions) AS frequency
                FROM unnest(to_tsvector(language, written))) AS found
          GROUP BY term) AS counted
$$
"""
"""What store/impacts.py makes of plain words, for texts that are in the database already."""


def fill(url: str, corpus: Corpus, table: sql.Identifier, *, connections: int = 2) -> None:
    """Write the corpus into the empty tables of a store, best before its indexes on words and vectors are made."""
    with psycopg.connect(url, autocommit=True) as connection:
        _write_readers(connection, corpus)
        for name in _GUARDED:  # COPY does not know row-level security
            connection.execute(sql.SQL("ALTER TABLE {} NO FORCE ROW LEVEL SECURITY").format(sql.Identifier(name)))
        connection.execute("INSERT INTO word_language VALUES ('english')")
        connection.execute(WORD_IMPACTS)
    bounds = np.linspace(0, corpus.sources, connections + 1).astype(int)
    with ThreadPoolExecutor(connections) as pool:
        jobs = [
            pool.submit(_write_sources, url, corpus, table, int(first), int(last)) for first, last in pairwise(bounds)
        ]
        for job in jobs:
            job.result()
    with psycopg.connect(url, autocommit=True) as connection:
        for name in _GUARDED:
            connection.execute(sql.SQL("ALTER TABLE {} FORCE ROW LEVEL SECURITY").format(sql.Identifier(name)))


def _word(rank: int) -> str:
    """A word that can be spoken, short for frequent ones, different for every rank."""
    number, syllables = rank, []
    while True:
        number, rest = divmod(number, len(_SYLLABLES))
        syllables.append(_SYLLABLES[rest])
        if number == 0:
            return "".join(syllables) + "n"
        number -= 1


def _write_readers(connection: psycopg.Connection, corpus: Corpus) -> None:
    """Principals, and for each combination of readers sets with some colleagues, as if made by many shares."""
    combinations = sorted({corpus.readers(source) for source in range(corpus.sources)})
    for combination in combinations:
        for copy in range(_SETS_PER_COMBINATION):
            names = [*combination, *(f"colleague{copy}-{number}" for number in range(20))]
            connection.execute(
                "INSERT INTO principal (realm, name, hash) "
                "SELECT 'nextcloud', name, hashtextextended(name, 0)::numeric + 1e20 FROM unnest(%s::text[]) AS name "
                "ON CONFLICT DO NOTHING",
                (names,),
            )
            connection.execute(
                "WITH members AS (SELECT id, hash FROM principal WHERE name = ANY (%s)), "
                "made AS (INSERT INTO access_set (digest) SELECT sum(hash) FROM members RETURNING id) "
                "INSERT INTO access_member SELECT made.id, members.id FROM made, members",
                (names,),
            )


def _write_sources(url: str, corpus: Corpus, table: sql.Identifier, first: int, last: int) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        sets = _sets_by_readers(connection)
        for start in range(first, last, _BATCH):
            numbers = range(start, min(start + _BATCH, last))
            with connection.transaction():
                _write_batch(connection, corpus, table, sets, numbers)


def _sets_by_readers(connection: psycopg.Connection) -> dict[tuple[str, ...], list[int]]:
    rows = connection.execute(
        "SELECT access_set_id, array_agg(name) FILTER (WHERE name = ANY (%s)) "
        "FROM access_member JOIN principal ON principal.id = principal_id GROUP BY access_set_id",
        (list(READERS),),
    )
    sets: dict[tuple[str, ...], list[int]] = {}
    for set_id, names in rows.fetchall():
        sets.setdefault(tuple(name for name in READERS if name in names), []).append(set_id)
    return sets


def _write_batch(
    connection: psycopg.Connection,
    corpus: Corpus,
    table: sql.Identifier,
    sets: dict[tuple[str, ...], list[int]],
    numbers: range,
) -> None:
    cursor = connection.cursor()
    with cursor.copy(
        "COPY source (id, realm, ref, provider, title, media_type, size, modified_at, access_set_id, state, "
        "indexed_modified_at, chunk_count) FROM STDIN"
    ) as copy:
        for number in numbers:
            provider, choices = f"files__p{number % PROVIDERS}", sets[corpus.readers(number)]
            copy.write_row((
                number + 1, "nextcloud", f"{provider}: {number}", provider, f"files/{number}.txt", "text/plain", 10_000,
                "2026-01-01", choices[number % len(choices)], "indexed", "2026-01-01", CHUNKS_PER_SOURCE,
            ))  # fmt: skip
    ids = range(numbers.start * CHUNKS_PER_SOURCE + 1, numbers.stop * CHUNKS_PER_SOURCE + 1)
    with cursor.copy("COPY chunk (id, source_id, ordinal, content) FROM STDIN") as copy:
        for id_ in ids:
            copy.write_row((id_, (id_ - 1) // CHUNKS_PER_SOURCE + 1, (id_ - 1) % CHUNKS_PER_SOURCE, uuid4()))
    texts = [text for number in numbers for text in corpus.texts(number)]
    with cursor.copy("COPY chunk_text (chunk_id, text) FROM STDIN") as copy:
        for id_, text in zip(ids, texts, strict=True):
            copy.write_row((id_, text))
    vectors = np.concatenate([corpus.vectors(number) for number in numbers])
    with cursor.copy(sql.SQL("COPY {} (chunk_id, source_id, v) FROM STDIN (FORMAT binary)").format(table)) as copy:
        copy.write(_binary_rows(np.array(ids), vectors))
    cursor.execute(
        "INSERT INTO words (chunk_id, source_id, language, impacts) "
        "SELECT chunk_id, (chunk_id - 1) / %s + 1, 'english', word_impacts('english', text) FROM chunk_text "
        "WHERE chunk_id BETWEEN %s AND %s",
        (CHUNKS_PER_SOURCE, ids[0], ids[-1]),
    )


def _binary_rows(ids: NDArray[np.int64], vectors: NDArray[np.float32]) -> bytes:
    """Rows (chunk_id, source_id, v) as PostgreSQL's binary COPY reads them."""
    row = np.dtype([
        ("fields", ">i2"), ("a", ">i4"), ("chunk_id", ">i8"), ("b", ">i4"), ("source_id", ">i8"),
        ("c", ">i4"), ("dimension", ">i2"), ("unused", ">i2"), ("v", ">f2", (DIMENSION,)),
    ])  # fmt: skip
    rows = np.zeros(len(ids), dtype=row)
    rows["fields"], rows["a"], rows["b"], rows["c"] = 3, 8, 8, 4 + 2 * DIMENSION
    rows["chunk_id"], rows["source_id"] = ids, (ids - 1) // CHUNKS_PER_SOURCE + 1
    rows["dimension"], rows["v"] = DIMENSION, vectors
    return b"PGCOPY\n\xff\r\n\x00" + bytes(8) + rows.tobytes() + b"\xff\xff"
