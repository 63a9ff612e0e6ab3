# SPDX-License-Identifier: AGPL-3.0-or-later
"""Retrieval alone: `python -m benchmarks.search --chunks 100000 [--json] [--storage FOLDER]`.

Fills a database of its own (benchmarks/corpus.py), asks as the program asks (pool, one statement, fusion, texts;
without embedding the question), and prints for each reader and scope p50 and p95, one at a time and ten at a time,
recall@30 of the vector stage against the exact order, pages read, and which indexes served. In the same run a user of
full rights asks the way the reference does: all visible ids are fetched, sent back in lists of 50 000 and scanned.

`--storage` keeps the filled database for the next run.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import shutil
import statistics
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import psycopg
from pgvector import HalfVector
from psycopg import sql

from benchmarks import reference
from benchmarks.corpus import CHUNKS_PER_SOURCE, PROVIDERS, READERS, SPACE, Asked, Corpus, fill
from benchmarks.percentiles import percentile
from context_chat_backend.domain import EVERYTHING, Passage, Principal, Question, Realm, Scope, SourceRef
from context_chat_backend.hardware import usable_cores, usable_memory
from context_chat_backend.store.database import Database
from context_chat_backend.store.embedded import EmbeddedPostgres
from context_chat_backend.store.history import install_schema
from context_chat_backend.store.indexes import SearchIndexes
from context_chat_backend.store.search import Search, Weights
from context_chat_backend.store.spaces import Spaces, StoredSpace
from context_chat_backend.store.words import WordSample
from tests.conftest import open_folder

_LIMIT = 30
_AT_ONCE = 10
_PROBED = 50
_OTHERS = 2000
_REFERENCE_QUESTIONS = 3
_MEANING_ALONE = Weights(words=0.0)


@dataclass(frozen=True)
class Case:
    """Who asks, and within which scope."""

    name: str
    asker: Principal
    scope: Scope = EVERYTHING


def main() -> None:
    """Fill, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--chunks", type=int, default=100_000)
    parser.add_argument("--questions", type=int, default=200)
    parser.add_argument("--storage", type=Path)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    storage = arguments.storage or open_folder()
    try:
        found = asyncio.run(run(storage, Corpus(arguments.chunks // CHUNKS_PER_SOURCE), arguments.questions))
    finally:
        if arguments.storage is None:
            shutil.rmtree(storage)
    print(json.dumps(found) if arguments.json else table(found))


async def run(storage: Path, corpus: Corpus, count: int) -> dict[str, Any]:
    """All figures of one size."""
    server = EmbeddedPostgres(storage)
    url = await server.start()
    try:
        await install_schema(url)
        database = Database(url)
        await database.open()
        space = await Spaces(database).ensure(SPACE)
        loading = await load(url, database, corpus, space)
        bench = Bench(url, Search(database), space, list(corpus.questions(count)))
        await bench.warm_up(islice(corpus.questions(count + _OTHERS), count, None), cases(corpus))
        rows = [await bench.measured(case) for case in cases(corpus)]
        reference_ms = await asyncio.to_thread(reference.milliseconds, url, corpus, bench.asked[:_REFERENCE_QUESTIONS])
        sizes = bytes_per_chunk(url, corpus)
        await database.close()
    finally:
        await server.stop()
    return {
        "chunks": corpus.chunks,
        "ratio_to_reference": round(reference_ms / rows[0]["p50_ms"], 1),
        "recall_at_30": min(row["recall_at_30"] for row in rows),
        "p95_ms": max(row["p95_ms"] for row in rows),
        "p95_ms_ten_at_once": max(row["p95_ms_ten_at_once"] for row in rows),
        "reference_ms": round(reference_ms, 1),
        "loading_seconds": loading,
        "bytes_per_chunk": sizes,
        "rows": rows,
    }


async def load(url: str, database: Database, corpus: Corpus, space: StoredSpace) -> dict[str, float]:
    """Bulk load: indexes dropped, tables filled, indexes built with what the machine has; nothing when it is done."""
    with psycopg.connect(url, autocommit=True) as connection:
        if connection.execute("SELECT count(*) FROM source").fetchone() == (corpus.sources,):
            return {}
    indexes = SearchIndexes(database, space)
    await indexes.drop()
    seconds = {}
    started = time.perf_counter()
    await asyncio.to_thread(fill, url, corpus, space.table)
    seconds["fill"] = time.perf_counter() - started
    started = time.perf_counter()
    for name in await indexes.missing():
        await indexes.build(name, memory=usable_memory() // 4, workers=usable_cores() - 1)
    seconds["indexes"] = time.perf_counter() - started
    await WordSample(database).renew()
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("VACUUM ANALYZE")
    return {name: round(value, 1) for name, value in seconds.items()}


def cases(corpus: Corpus) -> list[Case]:
    """The rows of the table; full rights first."""
    askers = {name: Principal(Realm.NEXTCLOUD, name) for name in READERS}
    step = max(1, corpus.sources // 500)
    some = tuple(SourceRef(f"files__p{n % PROVIDERS}", str(n)) for n in islice(range(0, corpus.sources, step), 500))
    return [
        *(Case(name, asker) for name, asker in askers.items()),
        Case("all, one provider", askers["all"], Scope(providers=("files__p3",))),
        Case("all, 500 sources", askers["all"], Scope(sources=some)),
    ]


class Bench:
    """Asks and measures."""

    def __init__(self, url: str, search: Search, space: StoredSpace, asked: Sequence[Asked]) -> None:
        self.url, self.search, self.space, self.asked = url, search, space, asked

    async def ask(self, case: Case, asked: Asked, weights: Weights | None = None) -> list[Passage]:
        """One question, as the program asks it."""
        question = Question(asked.text, case.asker, case.scope, _LIMIT)
        return await self.search.passages(question, asked.vector, self.space, weights or Weights())

    async def warm_up(self, others: Iterable[Asked], cases: Sequence[Case]) -> None:
        """Other questions first: a database that has just been started reads its indexes from the disk."""
        for number, asked in enumerate(others):
            await self.ask(cases[number % len(cases)] if number % 2 else cases[0], asked)

    async def measured(self, case: Case) -> dict[str, Any]:
        """The figures of one row."""
        for asked in self.asked[:_AT_ONCE]:  # plans, caches
            await self.ask(case, asked)
        one = [await self._milliseconds(case, asked) for asked in self.asked]
        ten: list[float] = []
        queue = iter(self.asked)

        async def asker() -> None:
            for asked in queue:
                ten.append(await self._milliseconds(case, asked))

        await asyncio.gather(*(asker() for _ in range(_AT_ONCE)))
        pages, served = self._looked_into(case)
        return {
            "case": case.name,
            "p50_ms": round(statistics.median(one), 1),
            "p95_ms": round(percentile(one, 95), 1),
            "p50_ms_ten_at_once": round(statistics.median(ten), 1),
            "p95_ms_ten_at_once": round(percentile(ten, 95), 1),
            "recall_at_30": await self._recall(case),
            "pages": pages,
            "served_by": served,
        }

    async def _milliseconds(self, case: Case, asked: Asked) -> float:
        started = time.perf_counter()
        await self.ask(case, asked)
        return (time.perf_counter() - started) * 1000

    async def _recall(self, case: Case) -> float:
        """Of the vector stage before fusion, within what is visible."""
        found = wanted = 0
        for asked in self.asked[:_PROBED]:
            passages = await self.ask(case, asked, _MEANING_ALONE)
            nearest = await asyncio.to_thread(self._nearest, case, asked)
            found += len({passage.chunk_id for passage in passages} & nearest)
            wanted += len(nearest)
        return round(found / wanted, 4)

    def _nearest(self, case: Case, asked: Asked) -> set[int]:
        query = sql.SQL(
            "SELECT chunk_id FROM {} AS embedding JOIN source ON source.id = source_id "
            "JOIN access_member USING (access_set_id) JOIN principal ON principal.id = principal_id "
            "WHERE name = %s "
            "AND (%s::text[] IS NULL OR provider = ANY (%s)) AND (%s::text[] IS NULL OR ref = ANY (%s)) "
            "ORDER BY (v <#> %s::halfvec) + 0 LIMIT %s"
        ).format(self.space.table)
        providers = None if case.scope.providers is None else list(case.scope.providers)
        refs = None if case.scope.sources is None else [str(ref) for ref in case.scope.sources]
        vector = str(HalfVector(asked.vector).to_list())
        with psycopg.connect(self.url) as connection:
            rows = connection.execute(query, (case.asker.name, providers, providers, refs, refs, vector, _LIMIT))
            return {row[0] for row in rows.fetchall()}

    def _looked_into(self, case: Case) -> tuple[int, str]:
        """Pages one search reads, and which of the two large indexes served."""
        asked = self.asked[0]
        query = (
            "EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) SELECT * FROM {}('nextcloud', %s, 'nextcloud', "
            "%s::text[], %s::text[], "
            "NULL, NULL, NULL, NULL, %s::halfvec, %s, '{{}}', 1, 1, 30)"
        )
        providers = None if case.scope.providers is None else list(case.scope.providers)
        refs = None if case.scope.sources is None else [str(ref) for ref in case.scope.sources]
        vector = str(HalfVector(asked.vector).to_list())
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute("SELECT '[1]'::halfvec")
            before = self._scans(connection)
            parameters = (case.asker.name, providers, refs, vector, asked.text)
            row = connection.execute(sql.SQL(query).format(self.space.function), parameters).fetchone()
            connection.execute("SELECT pg_stat_force_next_flush()")
            after = self._scans(connection)
        assert row is not None
        plan = row[0][0]["Plan"]
        served = [kind for kind in after if after[kind] > before[kind]]
        return plan["Shared Hit Blocks"] + plan["Shared Read Blocks"], " + ".join(served) or "exact"

    def _scans(self, connection: psycopg.Connection) -> dict[str, int]:
        rows = connection.execute(
            "SELECT CASE indexrelname WHEN %s THEN 'hnsw' ELSE 'rare words' END, idx_scan FROM pg_stat_user_indexes "
            "WHERE indexrelname IN (%s, 'words_by_key')",
            (self.space.index, self.space.index),
        )
        return dict(rows.fetchall())


def bytes_per_chunk(url: str, corpus: Corpus) -> dict[str, int]:
    """What a chunk takes on disk, by part."""
    parts = {
        "vector": ["embedding_1", "embedding_1_pkey", "embedding_1_by_source"],
        "vector index": ["embedding_1_by_meaning"],
        "text": ["chunk_text", "chunk_text_pkey"],
        "words": ["words", "words_pkey", "words_by_source"],
        "word index": ["words_by_key"],
        "chunk": ["chunk", "chunk_pkey", "chunk_source_id_ordinal_key", "chunk_by_content"],
    }
    with psycopg.connect(url) as connection:
        sizes = {}
        for part, names in parts.items():
            row = connection.execute(
                "SELECT sum(pg_relation_size(name::regclass)) FROM unnest(%s::text[]) AS name", (names,)
            )
            (total,) = row.fetchone() or (0,)
            sizes[part] = round(float(total) / corpus.chunks)
    return sizes | {"all": sum(sizes.values())}


def table(found: dict[str, Any]) -> str:
    """The figures for people."""
    lines = [
        f"{found['chunks']} chunks; milliseconds; loading {found['loading_seconds']}; "
        f"bytes per chunk {found['bytes_per_chunk']}",
        f"{'reader':>18} {'p50':>6} {'p95':>6} {'p50x10':>7} {'p95x10':>7} {'recall':>7} {'pages':>7}  served by",
    ]
    lines += [
        f"{row['case']:>18} {row['p50_ms']:>6} {row['p95_ms']:>6} {row['p50_ms_ten_at_once']:>7} "
        f"{row['p95_ms_ten_at_once']:>7} {row['recall_at_30']:>7} {row['pages']:>7}  {row['served_by']}"
        for row in found["rows"]
    ]
    return "\n".join([
        *lines,
        f"the reference's way, full rights: {found['reference_ms']} ms, {found['ratio_to_reference']} times ours",
    ])  # fmt: skip


if __name__ == "__main__":
    main()
