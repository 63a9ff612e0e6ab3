# SPDX-License-Identifier: AGPL-3.0-or-later
"""The whole program under a mixed load: `python -m benchmarks.load [--minutes 10] [--rate N] [--cores 2] [--json]`.

Searches (60 of 100), questions to the extractive model (15), pushes (15) and actions (10) arrive at random moments,
whether or not earlier ones were answered. First searches are measured alone and beside a backlog that is indexed; then
the highest rate is sought at which 95 of 100 searches take less than 250 ms, nothing fails, and what is pushed is
indexed as fast as it comes; then it is held for so many minutes. At last more is asked than can be answered, and it is
seen how that is refused and how long it takes to recover.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import shutil
import time
from collections import Counter, defaultdict
from collections.abc import Coroutine
from typing import Any

import httpx

from benchmarks.indexing import text
from benchmarks.percentiles import percentile
from tests.conftest import open_folder
from tests.memory import descendants, used_bytes
from tests.program import BOUNDARY, Program, headers, part

SHARES = {"search": 60, "question": 15, "push": 15, "action": 10}
BOUND_MS = 250.0
_STEP = 1.25
_FIRST_RATE = 4.0
_BESIDE_RATE = 10.0
"""Searches a second beside a backlog: more than there are batches of passages."""
_USERS = tuple(f"user{number}" for number in range(20))
_BODY_BYTES = 6000
_BACKLOG = 400
_ON_THE_WAY = 8
"""Sources that wait at any moment, though all are indexed as fast as they come."""
_EVERY_SECONDS = 10.0
_MULTIPART = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}


class Load:
    """What is asked of a program, and how that went."""

    def __init__(self, program: Program, sources: int, seed: int) -> None:
        self._program = program
        self._chance = random.Random(seed)
        random.seed(seed)  # of the texts
        self._sources = sources
        self._texts = [text(_BODY_BYTES) for _ in range(200)]
        self._words = b" ".join(self._texts).decode().split()
        self._client = httpx.AsyncClient(
            base_url=program.client.base_url, headers=headers(), timeout=120,
            limits=httpx.Limits(max_connections=None, max_keepalive_connections=50),
        )  # fmt: skip
        self.took: defaultdict[str, list[float]] = defaultdict(list)
        """Milliseconds by kind, of what succeeded."""
        self.failed = Counter[str]()
        self.without_wait = 0
        """Refusals that do not say when to come again."""
        self._going: set[asyncio.Task[None]] = set()

    async def close(self) -> None:
        """Wait for the last answers."""
        await self.settled()
        await self._client.aclose()

    async def settled(self) -> None:
        """Wait until nothing is asked."""
        await asyncio.gather(*self._going, return_exceptions=True)

    def forget(self) -> None:
        """Measure anew."""
        self.took.clear()
        self.failed.clear()
        self.without_wait = 0

    async def fill(self) -> None:
        """The first sources, indexed."""
        for start in range(1, self._sources + 1, 25):
            await self._push(range(start, min(start + 25, self._sources + 1)))
        await asyncio.to_thread(self._program.wait_for_indexed, self._sources, 3600)

    async def waiting(self) -> int:
        """Sources that are still to be indexed."""
        status = (await self._client.get("/status")).json()
        return int(status["states"].get("waiting", 0))

    async def drained(self) -> None:
        """Wait until all is indexed."""
        while await self.waiting():
            await asyncio.sleep(0.2)

    async def backlog(self) -> None:
        """Push much at once."""
        for start in range(1, min(_BACKLOG, self._sources), 25):
            await self._push(range(start, min(start + 25, self._sources + 1)))

    async def run(self, rate: float, seconds: float, kinds: dict[str, int]) -> None:
        """Ask `rate` times a second, of each kind by its share."""
        until = time.monotonic() + seconds
        due = time.monotonic()
        while due < until:
            due += self._chance.expovariate(rate)
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            (kind,) = self._chance.choices(list(kinds), list(kinds.values()))
            task = asyncio.create_task(self._timed(kind, self._work(kind)))
            self._going.add(task)
            task.add_done_callback(self._going.discard)

    async def watch(self, seconds: float) -> list[dict[str, float]]:
        """Memory and queue, again and again, and how fast the heartbeat is all the while."""
        rows = []
        assert self._program.process is not None
        process = self._program.process.pid
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            await self._timed("heartbeat", self._client.get("/heartbeat"))
            rows.append(
                {
                    "memory_mb": await asyncio.to_thread(lambda: used_bytes(descendants(process)) / 2**20),
                    "waiting": float(await self.waiting()),
                    "in_work": float(len(self._going)),
                }
            )
            await asyncio.sleep(min(_EVERY_SECONDS, max(0.1, seconds / 12)))
        return rows

    def percentile(self, kind: str, percent: int) -> float:
        """Milliseconds; infinite where nothing was answered."""
        return round(percentile(self.took[kind], percent), 1)

    async def _timed(self, kind: str, work: Coroutine[Any, Any, httpx.Response]) -> None:
        started = time.perf_counter()
        try:
            answer = await work
        except httpx.HTTPError as error:
            self.failed[f"{kind}: {type(error).__name__}"] += 1
            return
        if answer.is_success:
            self.took[kind].append((time.perf_counter() - started) * 1000)
            return
        self.failed[f"{kind}: {answer.status_code}"] += 1
        self.without_wait += "retry-after" not in answer.headers

    def _work(self, kind: str) -> Coroutine[Any, Any, httpx.Response]:
        number = self._chance.randint(1, self._sources)
        user = self._chance.choice(_USERS)
        match kind:
            case "push":
                return self._push([number])
            case "action":
                ref = f"files__default: {number}"
                body = {"op": self._chance.choice(("allow", "deny")), "userIds": [user], "sourceId": ref}
                return self._client.post("/updateAccess", json=body)
        question = " ".join(self._chance.sample(self._words, 6))
        path = "/docSearch" if kind == "search" else "/query"
        return self._client.post(path, json={"query": question, "userId": user})

    async def _push(self, numbers: Any) -> httpx.Response:
        users = ",".join(_USERS)
        parts = [
            part(
                f"files__default: {number}",
                self._chance.choice(self._texts) + b" %d" % self._chance.randrange(10**9),
                users=users,
                modified=str(int(time.time())),
            )
            for number in numbers
        ]
        body = b"".join(parts) + f"--{BOUNDARY}--\r\n".encode()
        return await self._client.put("/loadSources", content=body, headers=_MULTIPART)


async def priority(load: Load, seconds: float) -> dict[str, float]:
    """How long searches take alone, and beside a backlog."""
    load.forget()
    await load.run(_BESIDE_RATE, seconds, {"search": 1})
    await load.settled()
    alone = load.percentile("search", 95)
    load.forget()
    await load.backlog()
    before = await load.waiting()
    await load.run(_BESIDE_RATE, seconds, {"search": 1})
    await load.settled()
    busy = load.percentile("search", 95)
    indexed = before - await load.waiting()
    await load.drained()
    return {
        "alone_p95_ms": alone,
        "beside_indexing_p95_ms": busy,
        "ratio": round(busy / alone, 2),
        "indexed_a_second_meanwhile": round(indexed / seconds, 1),
    }


async def highest_rate(load: Load, seconds: float) -> float:
    """The highest of growing rates that keeps the bound, and at which neither requests nor pushes pile up."""
    rate = best = _FIRST_RATE
    while True:
        load.forget()
        await load.run(rate, seconds, SHARES)
        waiting = await load.waiting()
        await load.settled()
        p95, failed = load.percentile("search", 95), sum(load.failed.values())
        behind = waiting > max(_ON_THE_WAY, rate * SHARES["push"] / 100 * seconds / 2)
        print(f"  {rate:6.1f} a second: p95 of searches {p95} ms, {failed} failed, {waiting} sources wait", flush=True)
        await load.drained()
        if p95 > BOUND_MS or failed or behind:
            return round(best * 0.9, 1)  # at the edge itself minutes differ
        best, rate = rate, rate * _STEP


async def overload(load: Load, rate: float, seconds: float) -> dict[str, Any]:
    """Far more than can be answered, and how long it takes until searches keep the bound again."""
    await load.settled()
    load.forget()
    await load.run(rate, seconds, {"search": 1, "question": 1})
    ended = time.monotonic()
    refused, silent = Counter(load.failed), load.without_wait
    while True:
        load.forget()
        await load.run(_FIRST_RATE, 3, {"search": 1})
        await asyncio.sleep(1)
        if load.percentile("search", 95) < BOUND_MS:
            break
    return {
        "rate": rate,
        "refused": dict(refused),
        "refused_without_retry_after": silent,
        "recovered_after_seconds": round(time.monotonic() - ended, 1),
    }


async def measure(program: Program, arguments: argparse.Namespace) -> dict[str, Any]:
    """All figures of a run."""
    load = Load(program, arguments.sources, arguments.seed)
    short = min(20.0, arguments.minutes * 15)
    await load.fill()
    figures: dict[str, Any] = {"sources": arguments.sources, "priority": await priority(load, short)}
    rate = arguments.rate or await highest_rate(load, short)
    load.forget()
    seconds = arguments.minutes * 60
    _, rows = await asyncio.gather(load.run(rate, seconds, SHARES), load.watch(seconds))
    await load.settled()
    figures["rate"] = rate
    figures["kinds"] = {
        kind: {"a_second": round(len(load.took[kind]) / seconds, 2)}
        | {f"p{percent}_ms": load.percentile(kind, percent) for percent in (50, 95, 99)}
        for kind in (*SHARES, "heartbeat")
    }
    figures["errors"] = dict(load.failed)
    figures["over_time"] = [{name: round(value) for name, value in row.items()} for row in rows]
    third = max(1, len(rows) // 3)
    begin, end = (
        sum(row["memory_mb"] for row in part) / len(part) for part in (rows[third : 2 * third], rows[-third:])
    )
    figures["memory_last_third_to_middle"] = round(end / begin, 3)
    figures["overload"] = await overload(load, 8 * rate, short)
    await load.close()
    return figures


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--rate", type=float, help="requests a second; without it the highest is sought")
    parser.add_argument("--sources", type=int, default=1000)
    parser.add_argument("--cores", type=int, default=2)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, cores[: arguments.cores])  # the program inherits them
    folder = open_folder()
    (folder / "config.yaml").write_text("embedding:\n  onnx:\nllm:\n  extractive:\n", encoding="utf-8")
    try:
        with Program(folder) as program:
            os.sched_setaffinity(0, cores[arguments.cores :] or cores)  # whoever asks gets others, where there are any
            figures = asyncio.run(measure(program, arguments))
    finally:
        shutil.rmtree(folder)
    if arguments.json:
        print(json.dumps(figures))
        return
    show(figures)


def show(figures: dict[str, Any]) -> None:
    """Print the figures as tables."""
    told = figures["priority"]
    print(f"{figures['sources']} sources; searches alone: p95 {told['alone_p95_ms']} ms, beside a backlog")
    print(f"  that is indexed: {told['beside_indexing_p95_ms']} ms ({told['ratio']} times), while")
    print(f"  {told['indexed_a_second_meanwhile']} sources a second are indexed")
    print(f"{figures['rate']} requests a second, {sum(figures['errors'].values())} errors {figures['errors'] or ''}")
    print(f"{'':>10} {'a second':>9} {'p50 ms':>9} {'p95 ms':>9} {'p99 ms':>9}")
    for kind, row in figures["kinds"].items():
        print(f"{kind:>10} {row['a_second']:>9} {row['p50_ms']:>9} {row['p95_ms']:>9} {row['p99_ms']:>9}")
    for name in ("memory_mb", "waiting", "in_work"):
        print(f"{name:>10} {' '.join(str(row[name]) for row in figures['over_time'])}")
    print(f"memory of the last third to that of the middle one: {figures['memory_last_third_to_middle']}")
    over = figures["overload"]
    print(f"{over['rate']} a second: refused {over['refused']}, {over['refused_without_retry_after']} of them without")
    print(f"  Retry-After; searches keep the bound again after {over['recovered_after_seconds']} s")


if __name__ == "__main__":
    main()
