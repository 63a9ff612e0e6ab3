# SPDX-License-Identifier: AGPL-3.0-or-later
"""What actions cost while searches go on: `python -m benchmarks.actions [--json]`.

Fills a database of its own with three providers (20 000 sources of 10 chunks; 10 000 and 50 000 of one chunk), and
measures each action until it is acknowledged: from then on no search shows what it took away. Rows of deleted sources
are swept afterwards; that time is printed too. Meanwhile a user asks without pause; his slowest search is printed.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import shutil
import time
from collections.abc import Awaitable, Callable
from typing import Any

import numpy as np
import psycopg

from benchmarks.corpus import DIMENSION, SPACE, WORD_IMPACTS
from context_chat_backend.domain import Principal, Question, Realm, SourceRef
from context_chat_backend.store.access import Access
from context_chat_backend.store.database import Database
from context_chat_backend.store.embedded import EmbeddedPostgres
from context_chat_backend.store.history import install_schema
from context_chat_backend.store.search import Search, Weights
from context_chat_backend.store.spaces import Spaces, StoredSpace
from tests.conftest import open_folder

NC = Realm.NEXTCLOUD
_ASKER = Principal(NC, "asker")
_LEAVER = Principal(NC, "leaver")
_TEAM = [Principal(NC, f"team{number}") for number in range(100)]

_FILL = """
SELECT set_config('context_chat.principals', '{0}', false);
INSERT INTO principal (realm, name, hash)
    SELECT 'nextcloud', name, hashtextextended(name, 0)::numeric + 1e20
    FROM (SELECT 'asker' UNION SELECT 'leaver'
          UNION SELECT 'person' || n FROM generate_series(1, 12000) AS n) AS people (name);
-- 500 sets of the asker and twenty others; 500 with the leaver; one of the leaver alone; one with a crowd
INSERT INTO access_set (id, digest) OVERRIDING SYSTEM VALUE SELECT n, n FROM generate_series(1, 1002) AS n;
INSERT INTO access_member SELECT n, id FROM generate_series(1, 1000) AS n, principal WHERE name = 'asker';
INSERT INTO access_member SELECT n, id FROM generate_series(501, 1001) AS n, principal WHERE name = 'leaver';
INSERT INTO access_member SELECT n, id FROM generate_series(1, 1000) AS n
    CROSS JOIN LATERAL (SELECT id FROM principal WHERE name LIKE 'person%' ORDER BY id OFFSET n * 3 LIMIT 20) AS others;
INSERT INTO access_member
    SELECT 1002, id FROM (SELECT id FROM principal WHERE name LIKE 'person%' LIMIT 10000) AS crowd;
UPDATE access_set SET digest = (
    SELECT sum(hash) FROM access_member JOIN principal ON principal.id = principal_id
    WHERE access_set_id = access_set.id);
SELECT setval(pg_get_serial_sequence('access_set', 'id'), 1002);
INSERT INTO source (realm, ref, provider, title, media_type, size, modified_at, access_set_id, state,
        indexed_modified_at, chunk_count)
    SELECT 'nextcloud', provider || ': ' || n, provider, 'files/' || n, 'text/plain', 1, now(),
        CASE provider WHEN 'files__large' THEN 1 + n % 1000 WHEN 'files__team' THEN 1 + n % 500
            ELSE CASE WHEN n % 2 = 0 THEN 1001 ELSE 501 + n % 500 END END,
        'indexed', now(), chunks
    FROM (VALUES ('files__large', 20000, 10), ('files__team', 10000, 1), ('files__leaver', 50000, 1))
        AS p (provider, sources, chunks), generate_series(1, sources) AS n;
INSERT INTO source (realm, ref, provider, title, media_type, size, modified_at, access_set_id, state)
    SELECT 'nextcloud', 'files__crowd: ' || n, 'files__crowd', 'files/' || n, 'text/plain', 1, now(), 1002, 'rejected'
    FROM generate_series(1, 2000) AS n;
INSERT INTO chunk (source_id, ordinal) SELECT id, n FROM source, generate_series(0, chunk_count - 1) AS n;
INSERT INTO chunk_text SELECT id, 'text ' || id || repeat(' some words of a chunk', 40) FROM chunk;
INSERT INTO words
    SELECT id, source_id, 'english', word_impacts('english', 'text ' || id || ' some words') FROM chunk;
INSERT INTO word_language VALUES ('english');
"""


def main() -> None:
    """Fill, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    storage = open_folder()
    try:
        rows = asyncio.run(run(storage))
    finally:
        shutil.rmtree(storage)
    if arguments.json:
        print(json.dumps(rows))
        return
    print(f"{'action':>58} {'seconds':>8} {'slowest search':>15}")
    for row in rows:
        print(f"{row['action']:>58} {row['seconds']:>8.2f} {row['slowest_search_ms']:>12.0f} ms")


async def run(storage: Any) -> list[dict[str, Any]]:
    """All actions on one database, in an order in which none takes what the next one needs."""
    server = EmbeddedPostgres(storage)
    url = await server.start()
    try:
        await install_schema(url)
        database = Database(url)
        await database.open()
        space = await Spaces(database).ensure(SPACE)
        await asyncio.to_thread(fill, url, space)
        access, search = Access(database), Search(database)
        crowd = [SourceRef("files__crowd", str(number)) for number in range(1, 1001)]

        async def single_grants() -> None:
            for number, ref in enumerate(crowd):
                await access.allow(NC, [ref], [_TEAM[number % len(_TEAM)]])

        actions: list[tuple[str, Callable[[], Awaitable[object]]]] = [
            ("grant 100 users to a provider with 10 000 sources", lambda: access.allow(NC, "files__team", _TEAM)),
            ("revoke the same", lambda: access.deny(NC, "files__team", _TEAM)),
            ("1 000 single grants on a set of 10 000 readers", single_grants),
            ("delete a user with 50 000 sources, half of them his alone", lambda: access.delete_user(_LEAVER)),
            ("sweep their rows", access.sweep_sources),
            ("delete a provider with 20 000 sources of 10 chunks", lambda: access.delete_provider(NC, "files__large")),
            ("sweep their rows", access.sweep_sources),
        ]
        rows = [await measured(name, action, search, space) for name, action in actions]
        await database.close()
    finally:
        await server.stop()
    return rows


def fill(url: str, space: StoredSpace) -> None:
    """Sources, sets and chunks; the vectors are random, for nobody looks at the order."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(WORD_IMPACTS)
        connection.execute(_FILL)
        rows = connection.execute("SELECT id, source_id FROM chunk").fetchall()
        directions = np.random.default_rng(7).standard_normal((97, DIMENSION)).astype(np.float32)
        texts = [str((v / np.linalg.norm(v)).round(4).tolist()) for v in directions]
        with connection.cursor() as cursor, cursor.copy(f"COPY embedding_{space.id} FROM STDIN") as copy:
            for id_, source_id in rows:
                copy.write_row((id_, source_id, texts[id_ % len(texts)]))
        connection.execute("VACUUM ANALYZE")


async def measured(
    name: str, action: Callable[[], Awaitable[object]], search: Search, space: StoredSpace
) -> dict[str, Any]:
    """One action, while the asker asks without pause."""
    slowest = 0.0

    async def ask() -> None:
        nonlocal slowest
        vector = np.full(DIMENSION, DIMENSION**-0.5, np.float32)
        while True:
            started = time.perf_counter()
            await search.passages(Question("some words", _ASKER), vector, space, Weights())
            slowest = max(slowest, time.perf_counter() - started)

    asking = asyncio.create_task(ask())
    await asyncio.sleep(0.5)
    slowest = 0.0
    started = time.perf_counter()
    await action()
    seconds = time.perf_counter() - started
    asking.cancel()
    await asyncio.gather(asking, return_exceptions=True)
    return {"action": name, "seconds": round(seconds, 3), "slowest_search_ms": round(slowest * 1000, 1)}


if __name__ == "__main__":
    main()
