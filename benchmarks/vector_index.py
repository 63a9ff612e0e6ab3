# SPDX-License-Identifier: AGPL-3.0-or-later
"""What the vector index is worth at each setting: `python -m benchmarks.vector_index --storage FOLDER [--json]`.

Works on a database that `python -m benchmarks.search --chunks N --storage FOLDER` has filled. For each setting and
reader it asks the vector stage of the search alone and prints recall@30 against the exact order, p50 and p95. With
`--build` indexes with other parameters and a binary-quantised one are built on a copy of the vectors, too.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
from pgvector import HalfVector

from benchmarks.corpus import DIMENSION, Asked, Corpus
from benchmarks.percentiles import percentile
from context_chat_backend.hardware import usable_cores, usable_memory
from context_chat_backend.store.embedded import EmbeddedPostgres

_LIMIT = 30
_CANDIDATES = 60
_VISIBLE = (
    "(SELECT true FROM source JOIN access_member USING (access_set_id) "
    "WHERE source.id = embedding.source_id AND principal_id = %(asker)s)"
)
_NEAREST = (
    "SELECT chunk_id FROM (SELECT chunk_id, v <#> %(v)s::halfvec AS distance FROM {table} AS embedding "
    "WHERE "
    + _VISIBLE
    + f" ORDER BY v <#> %(v)s::halfvec LIMIT %(candidates)s) AS found ORDER BY distance LIMIT {_LIMIT}"
)
_BINARY = (
    "SELECT chunk_id FROM (SELECT chunk_id, v FROM {table} AS embedding "
    f"WHERE {_VISIBLE} "
    f"ORDER BY binary_quantize(v)::bit({DIMENSION}) <~> binary_quantize(%(v)s::halfvec)::bit({DIMENSION}) "
    f"LIMIT %(candidates)s) AS found ORDER BY v <#> %(v)s::halfvec LIMIT {_LIMIT}"
)
_EXACT = (
    "SELECT chunk_id FROM {table} AS embedding JOIN source ON source.id = source_id "
    f"JOIN access_member USING (access_set_id) WHERE principal_id = %(asker)s "
    f"ORDER BY (v <#> %(v)s::halfvec) + 0 LIMIT {_LIMIT}"
)


@dataclass(frozen=True)
class Setting:
    """How the index is asked."""

    ef_search: int
    order: str = "relaxed_order"
    query: str = _NEAREST
    candidates: int = _CANDIDATES

    @property
    def name(self) -> str:
        """For the table."""
        kind = "binary, re-ranked" if self.query == _BINARY else self.order.removesuffix("_order")
        return f"{kind}, ef {self.ef_search}, {self.candidates} candidates"


ASKED = (
    *(Setting(ef) for ef in (80, 120, 200, 300, 400, 600, 800, 1000)),
    Setting(200, candidates=120),
    Setting(400, candidates=120),
    Setting(800, candidates=120),
    Setting(120, order="strict_order"),
    Setting(200, order="strict_order"),
)
BINARY = (Setting(400, query=_BINARY, candidates=400), Setting(800, query=_BINARY, candidates=800))
BUILT = ((16, 64), (16, 128), (24, 128), (32, 128))


def main() -> None:
    """Measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--storage", type=Path, required=True)
    parser.add_argument("--questions", type=int, default=100)
    parser.add_argument("--build", action="store_true")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    rows = asyncio.run(run(arguments.storage, arguments.questions, arguments.build))
    print(json.dumps(rows) if arguments.json else "\n".join(map(line, rows)))


async def run(storage: Path, questions: int, build: bool) -> list[dict[str, Any]]:
    """All rows."""
    server = EmbeddedPostgres(storage)
    url = await server.start()
    try:
        return await asyncio.to_thread(lambda: list(measured(url, questions, build)))
    finally:
        await server.stop()


def measured(url: str, questions: int, build: bool) -> Iterator[dict[str, Any]]:
    """One row for each index, setting and reader."""
    with psycopg.connect(url, autocommit=True) as connection:
        (sources,) = connection.execute("SELECT count(*) FROM source").fetchone() or (0,)
        asked = list(Corpus(sources).questions(questions))
        askers: dict[str, int] = dict(
            connection.execute("SELECT name, id FROM principal WHERE name IN ('all', 'tenth')").fetchall()
        )
        true = {
            name: [ids(connection, _EXACT.replace("{table}", "embedding_1"), asker, each) for each in asked]
            for name, asker in askers.items()
        }

        def rows(index: str, settings: tuple[Setting, ...], table: str = "tried") -> Iterator[dict[str, Any]]:
            for setting in settings:
                for name, asker in askers.items():
                    query = setting.query.replace("{table}", table)
                    row = {"index": index, "setting": setting.name, "reader": name}
                    yield row | at(connection, setting, query, asker, asked, true[name])

        yield from rows("as the program builds it", ASKED, "embedding_1")
        if build:
            with built(connection, f"((binary_quantize(v)::bit({DIMENSION})) bit_hamming_ops)") as said:
                yield from rows(f"binary, {said}", BINARY)
            for m, ef in BUILT:
                with built(connection, f"(v halfvec_ip_ops) WITH (m = {m}, ef_construction = {ef})") as said:
                    yield from rows(f"m {m}, ef_construction {ef}, {said}", ASKED[1:7])


@contextmanager
def built(connection: psycopg.Connection, how: str) -> Iterator[str]:
    """A copy of the vectors with another index, for as long as it is measured; seconds to build it and its size."""
    connection.execute(f"SET maintenance_work_mem = '{usable_memory() // 4 // 1024}kB'")
    connection.execute(f"SET max_parallel_maintenance_workers = {usable_cores() - 1}")
    connection.execute("CREATE UNLOGGED TABLE tried AS SELECT * FROM embedding_1")
    try:
        started = time.perf_counter()
        connection.execute(f"CREATE INDEX tried_by_meaning ON tried USING hnsw {how}")
        seconds = time.perf_counter() - started
        connection.execute("VACUUM ANALYZE tried")
        row = connection.execute("SELECT pg_relation_size('tried_by_meaning') / count(*) FROM tried").fetchone()
        assert row is not None
        yield f"built in {seconds:.0f} s, {row[0]} bytes each"
    finally:
        connection.execute("DROP TABLE tried")


def at(
    connection: psycopg.Connection, setting: Setting, query: str, asker: int, asked: list[Asked], true: list[list[int]]
) -> dict[str, Any]:
    """Recall and times at one setting."""
    connection.execute("SELECT '[1]'::halfvec")
    connection.execute("SET enable_seqscan = off")
    connection.execute(f"SET hnsw.ef_search = {setting.ef_search}")
    connection.execute(f"SET hnsw.iterative_scan = {setting.order}")

    def ask(each: Asked) -> list[int]:
        return ids(connection, query, asker, each, setting.candidates)

    for each in asked[:10]:
        ask(each)
    times, found = [], 0
    for each, nearest in zip(asked, true, strict=True):
        started = time.perf_counter()
        given = ask(each)
        times.append((time.perf_counter() - started) * 1000)
        found += len(set(given) & set(nearest))
    return {
        "recall_at_30": round(found / sum(map(len, true)), 4),
        "p50_ms": round(statistics.median(times), 1),
        "p95_ms": round(percentile(times, 95), 1),
    }


def ids(
    connection: psycopg.Connection, query: str, asker: int, asked: Asked, candidates: int = _CANDIDATES
) -> list[int]:
    """Chunks, nearest first."""
    parameters = {"asker": asker, "v": str(HalfVector(asked.vector).to_list()), "candidates": candidates}
    return [row[0] for row in connection.execute(query, parameters).fetchall()]


def line(row: dict[str, Any]) -> str:
    """One row for people."""
    return (
        f"{row['index']:>56} {row['setting']:>40} {row['reader']:>6} recall {row['recall_at_30']:.4f} "
        f"p50 {row['p50_ms']:5.1f} p95 {row['p95_ms']:5.1f}"
    )


if __name__ == "__main__":
    main()
