# SPDX-License-Identifier: AGPL-3.0-or-later
"""What it costs to be seen: `python -m benchmarks.monitoring [--sources 100000] [--json]`.

Times one step (counted, and traced too), one request through the middleware that counts it, the text of /metrics, and a
look at a ledger of so many sources. Processor time of this process, but for the look, which the database does.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import shutil
import time
from collections.abc import Callable

import psycopg
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from starlette.types import Message, Receive, Scope, Send

from context_chat_backend import metrics, traces
from context_chat_backend.steps import Step, step
from context_chat_backend.store.database import Database
from context_chat_backend.store.embedded import EmbeddedPostgres
from context_chat_backend.store.history import install_schema
from context_chat_backend.store.standing import look
from context_chat_backend.web.measuring import Measuring
from tests.conftest import open_folder

_TIMES = 20_000
_FILL = """
WITH one AS (INSERT INTO access_set (digest) VALUES (1) RETURNING id)
INSERT INTO source (realm, ref, provider, title, media_type, size, modified_at, access_set_id, state, chunk_count)
SELECT 'nextcloud', 'files__default: ' || n, 'files__default', 'files/' || n, 'text/plain', 10000, now(), one.id,
    (CASE WHEN n %% 10 = 0 THEN 'waiting' ELSE 'indexed' END)::source_state, 16
FROM generate_series(1, %s) AS n, one
"""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sources", type=int, default=100_000)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    told = {"step_us": _microseconds(_step)}
    traces.export_by(SimpleSpanProcessor(InMemorySpanExporter()), "normal")
    told["traced_step_us"] = _microseconds(_step)
    traces.close()
    told["request_us"] = asyncio.run(_request())
    told["exposition_ms"] = _microseconds(lambda: metrics.exposition(), 100) / 1000
    told["exposition_bytes"] = len(metrics.exposition())
    told["look_ms"] = asyncio.run(_look(arguments.sources))
    if arguments.json:
        print(json.dumps({"sources": arguments.sources} | told))
        return
    for name, value in told.items():
        print(f"{name:>18} {value:10.2f}")


def _step() -> None:
    with step(Step.SEARCH):
        pass


def _microseconds(work: Callable[[], object], times: int = _TIMES) -> float:
    work()
    started = time.process_time()
    for _ in range(times):
        work()
    return 1e6 * (time.process_time() - started) / times


async def _request() -> float:
    """What the middleware adds to a request that does nothing."""

    async def nothing(scope: Scope, receive: Receive, send: Send) -> None:
        del scope, receive
        await send({"type": "http.response.start", "status": 200})

    async def receive() -> Message:
        return {}

    async def send(message: Message) -> None:
        del message

    async def spent(app: Callable[..., object]) -> float:
        started = time.process_time()
        for _ in range(_TIMES):
            await app({"type": "http"}, receive, send)  # type: ignore[misc]
        return time.process_time() - started

    return 1e6 * (await spent(Measuring(nothing)) - await spent(nothing)) / _TIMES


async def _look(sources: int) -> float:
    """Median of five looks, in milliseconds."""
    folder = open_folder()
    server = EmbeddedPostgres(folder, settings=("fsync=off",))
    try:
        url = await server.start()
        await install_schema(url)
        async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
            await connection.execute(_FILL, (sources,))
            await connection.execute("VACUUM ANALYZE source")
        database = Database(url)
        await database.open()
        took = []
        for _ in range(5):
            started = time.perf_counter()
            await look(database)
            took.append(1000 * (time.perf_counter() - started))
        await database.close()
        return sorted(took)[2]
    finally:
        await server.stop()
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
