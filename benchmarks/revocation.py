# SPDX-License-Identifier: AGPL-3.0-or-later
"""How long an answer may still hold what was taken away: `python -m benchmarks.revocation [--trials 10000] [--json]`.

The real program under load: four users' searches without a pause, and new versions of documents. In each trial a
source is taken from the asker; printed is the time from the acknowledgement of that action to the end of the last
answer that held the source, which only a search that began before it may give. One that began after it is a leak.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import shutil
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import httpx

from tests.conftest import open_folder
from tests.program import BOUNDARY, Program, headers, part

_SOURCES = 100
_ASKERS = 4
_ACTING = 8
"""Actions that are sent at once."""
_ASKER = "asker"
_PROVIDER = "mail__messages"
_SHOWN_SECONDS = 30.0
_LOG_CHARACTERS = 4000


@dataclass
class Measured:
    """What is known so far."""

    lags: list[float] = field(default_factory=list)
    leaks: int = 0
    searches: list[float] = field(default_factory=list)
    delivered: int = 0
    acknowledged: dict[str, float] = field(default_factory=dict)
    """When the loss of a source was acknowledged, while answers are watched for it."""
    last_seen: dict[str, float] = field(default_factory=dict)
    shown: set[str] = field(default_factory=set)
    """What the latest answer held."""
    begun: list[float] = field(default_factory=lambda: [0.0] * _ASKERS)
    """When the latest search that has ended began, by asker."""

    def all_began_after(self, at: float) -> bool:
        """Whether every asker has had an answer to a search that began after that time."""
        return min(self.begun) > at


def main() -> None:
    """Run the trials, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=10_000)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    row = run(arguments.trials)
    print(json.dumps(row) if arguments.json else "\n".join(f"{name:>28} {value}" for name, value in row.items()))
    sys.exit(row["leaks"] > 0)


def run(trials: int) -> dict[str, Any]:
    """So many trials on an installation of its own."""
    storage = open_folder()
    try:
        (storage / "config.yaml").write_text("embedding:\n  hashing:\nllm:\n  extractive:\n", encoding="utf-8")
        with Program(storage) as program:
            _fill(program)
            try:
                measured = asyncio.run(_trials(str(program.client.base_url), trials))
            except BaseException:  # why, its log tells
                print(program.output()[-_LOG_CHARACTERS:], file=sys.stderr)
                raise
    finally:
        shutil.rmtree(storage)
    lags = sorted(measured.lags)
    return {
        "trials": len(lags),
        "leaks": measured.leaks,
        "lag_p50_ms": _milliseconds(statistics.median(lags)),
        "lag_p99_ms": _milliseconds(lags[int(len(lags) * 0.99)]),
        "lag_longest_ms": _milliseconds(lags[-1]),
        "searches": len(measured.searches),
        "search_p50_ms": _milliseconds(statistics.median(measured.searches)),
        "search_p95_ms": _milliseconds(sorted(measured.searches)[int(len(measured.searches) * 0.95)]),
        "documents_delivered": measured.delivered,
    }


def _milliseconds(seconds: float) -> float:
    return round(seconds * 1000, 1)


def _refs() -> list[str]:
    return [f"{_PROVIDER}: {number}" for number in range(_SOURCES)]


def _fill(program: Program) -> None:
    program.load([part(ref, b"the garden", users=f"{_ASKER},owner") for ref in _refs()]).raise_for_status()
    program.wait_for_indexed(_SOURCES)


async def _trials(url: str, trials: int) -> Measured:
    measured = Measured()
    async with (
        _client(url, _ACTING) as client,
        _client(url, _ASKERS + 1) as others,
        asyncio.TaskGroup() as group,  # what goes wrong with any of them ends the run
    ):
        load = [group.create_task(_ask(others, measured, number)) for number in range(_ASKERS)]
        load.append(group.create_task(_deliver(others, measured)))
        while (left := trials - len(measured.lags)) > 0:
            await _give_back(client, measured)
            await asyncio.gather(*(_take_away(client, measured, ref) for ref in _refs()[:left]))
        for task in load:
            task.cancel()
    return measured


def _client(url: str, connections: int) -> httpx.AsyncClient:
    limits = httpx.Limits(max_connections=connections)
    return httpx.AsyncClient(base_url=url, headers=headers(), timeout=60, limits=limits)


async def _give_back(client: httpx.AsyncClient, measured: Measured) -> None:
    """All sources at once, and until they are shown."""
    given = {"op": "allow", "userIds": [_ASKER], "providerId": _PROVIDER}
    (await client.post("/updateAccessProvider", json=given)).raise_for_status()
    await _until(lambda: len(measured.shown) == _SOURCES)


async def _take_away(client: httpx.AsyncClient, measured: Measured, ref: str) -> None:
    """Take a source away, and watch until no search under way began before that."""
    taken = {"op": "deny", "userIds": [_ASKER], "sourceId": ref}
    (await client.post("/updateAccess", json=taken)).raise_for_status()
    at = measured.acknowledged[ref] = time.perf_counter()
    await _until(partial(measured.all_began_after, at))
    del measured.acknowledged[ref]
    measured.lags.append(max(0.0, measured.last_seen.pop(ref, at) - at))


async def _ask(client: httpx.AsyncClient, measured: Measured, number: int) -> None:
    while True:
        began = time.perf_counter()
        answer = await client.post("/docSearch", json={"query": "garden", "userId": _ASKER, "ctxLimit": 500})
        ended = time.perf_counter()
        found = {source["source_id"] for source in answer.raise_for_status().json()}
        for ref, at in measured.acknowledged.items():
            if ref in found:
                measured.leaks += began > at
                measured.last_seen[ref] = ended
        measured.shown = found
        measured.begun[number] = began
        measured.searches.append(ended - began)


async def _deliver(client: httpx.AsyncClient, measured: Measured) -> None:
    """Other documents arrive in ever newer versions, which nobody here is shown."""
    kind = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}
    while True:
        parts = [
            part(f"files__default: {n}", f"the garden, {measured.delivered}".encode(), users="owner",
                 modified=str(1_718_000_000 + measured.delivered)) for n in range(5)
        ]  # fmt: skip
        body = b"".join(parts) + f"--{BOUNDARY}--\r\n".encode()
        (await client.put("/loadSources", content=body, headers=kind)).raise_for_status()
        measured.delivered += len(parts)
        await asyncio.sleep(0.05)


async def _until(is_so: Callable[[], bool]) -> None:
    deadline = time.perf_counter() + _SHOWN_SECONDS
    while not is_so():
        if time.perf_counter() > deadline:
            raise TimeoutError("what was given back is not shown")
        await asyncio.sleep(0.002)


if __name__ == "__main__":
    main()
