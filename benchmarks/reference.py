# SPDX-License-Identifier: AGPL-3.0-or-later
"""The way context_chat_backend 5.4.0 searches, as plain SQL: the yardstick of benchmarks/search.py.

Its tables (chunks with float32 vectors, text and JSON metadata, ids that are text; an array of chunk ids for each
source; a row for each pair of reader and source; no vector index) and its steps: the ids of all chunks the user may
read are fetched, sent back in lists of 50 000, each list is ordered exactly by cosine distance, and the best of all
lists are kept. What its libraries cost around that is left out, so the real one is slower than this.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator, Sequence
from uuid import UUID

import psycopg

from benchmarks.corpus import CHUNKS_PER_SOURCE, DIMENSION, Asked, Corpus

_LIST = 50_000
_LIMIT = 30
_READER = "all"

_TABLES = f"""
CREATE SCHEMA reference;
CREATE TABLE reference.langchain_pg_embedding (
    id varchar PRIMARY KEY, embedding vector({DIMENSION}), document varchar, cmetadata jsonb);
CREATE TABLE reference.docs (source_id varchar PRIMARY KEY, provider varchar, modified timestamp, chunks uuid[]);
CREATE TABLE reference.access_list (
    id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY, uid varchar, source_id varchar REFERENCES reference.docs,
    UNIQUE (uid, source_id));
"""


def milliseconds(url: str, corpus: Corpus, asked: Sequence[Asked]) -> float:
    """The median time of one search with full rights; its tables are filled when they are not there."""
    with psycopg.connect(url, autocommit=True) as connection:
        if connection.execute("SELECT to_regnamespace('reference')").fetchone() == (None,):
            _fill(connection, corpus)
        _search(connection, asked[0])
        taken = []
        for question in asked:
            started = time.perf_counter()
            _search(connection, question)
            taken.append((time.perf_counter() - started) * 1000)
    return statistics.median(taken)


def _search(connection: psycopg.Connection, asked: Asked) -> list[tuple[float, str, str]]:
    rows = connection.execute(
        "SELECT docs.chunks FROM reference.docs JOIN reference.access_list USING (source_id) WHERE uid = %s", (_READER,)
    )
    ids = [str(id_) for (chunks,) in rows.fetchall() for id_ in chunks]
    best: list[tuple[float, str, str]] = []
    for first in range(0, len(ids), _LIST):
        listed = ids[first : first + _LIST]
        places = ", ".join(["%s"] * len(listed))
        found = connection.execute(
            f"SELECT embedding <=> %s::vector AS distance, id, document, cmetadata "
            f"FROM reference.langchain_pg_embedding WHERE id IN ({places}) ORDER BY distance LIMIT %s",
            (str(asked.vector.tolist()), *listed, _LIMIT),
        )
        best += [(distance, id_, document) for distance, id_, document, _ in found.fetchall()]
    return sorted(best)[:_LIMIT]


def _fill(connection: psycopg.Connection, corpus: Corpus) -> None:
    connection.execute(_TABLES)
    with connection.cursor() as cursor:
        with cursor.copy("COPY reference.langchain_pg_embedding FROM STDIN") as copy:
            for source in range(corpus.sources):
                metadata = f'{{"source": "files__default: {source}", "title": "files/{source}.txt", "start_index": 0}}'
                vectors, texts = corpus.vectors(source), corpus.texts(source)
                for id_, vector, text in zip(_ids(source), vectors, texts, strict=True):
                    copy.write_row((str(id_), str(vector.tolist()), text, metadata))
        with cursor.copy("COPY reference.docs FROM STDIN") as copy:
            for source in range(corpus.sources):
                ids = "{" + ",".join(map(str, _ids(source))) + "}"
                copy.write_row((f"files__default: {source}", "files__default", "2026-01-01", ids))
    connection.execute(
        "INSERT INTO reference.access_list (uid, source_id) SELECT %s, source_id FROM reference.docs", (_READER,)
    )
    connection.execute("VACUUM ANALYZE reference.langchain_pg_embedding")
    connection.execute("VACUUM ANALYZE reference.docs")
    connection.execute("VACUUM ANALYZE reference.access_list")


def _ids(source: int) -> Iterator[UUID]:
    for ordinal in range(CHUNKS_PER_SOURCE):
        # As random as those of the reference, and the same in every run.
        yield UUID(
            int=((source * CHUNKS_PER_SOURCE + ordinal) * 0x9E3779B97F4A7C15F39CC0605CEDC835) % 2**128, version=4
        )
