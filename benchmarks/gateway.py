# SPDX-License-Identifier: AGPL-3.0-or-later
"""What the gateway adds to the time of a model server: the real program before a double, asked in turn with it.

`python -m benchmarks.gateway [--calls 400] [--parallel 50]`. The goals: 5 ms at the 95th percentile, one call after the
other; 5 ms in the middle and 25 ms at the 99th percentile with many under way; a first streamed byte 20 ms later at
most. Many are under way at a model that takes two seconds for each, and once more at one that takes none.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import httpx

from benchmarks.percentiles import percentile
from tests.gateway import Gateway, running_gateway

_BODY = {"prompt": "def hello():", "model": "stub-fixed", "max_tokens": 20}
_UNLIMITED = "chatqna: {requests_per_minute: 100000000}\n"
_WARM = 50
_WRITING = {"fault": "drip", "words": 4, "seconds": 0.5}
_WRITING_SECONDS = 2.0


async def _seconds(client: httpx.AsyncClient, url: str, *, stream: bool = False, whole: bool = False) -> float:
    """Until the whole answer, or the first byte of a stream that is not wanted `whole`."""
    begun = time.perf_counter()
    async with client.stream("POST", f"{url}/v1/completions", json=_BODY | {"stream": stream}) as answer:
        answer.raise_for_status()
        async for _ in answer.aiter_bytes():
            if stream and not whole:
                return time.perf_counter() - begun
    return time.perf_counter() - begun


async def _in_turn(gateway: Gateway, calls: int, *, stream: bool = False) -> tuple[list[float], list[float]]:
    """Seconds at the server itself and through the gateway, one call after the other."""
    direct: list[float] = []
    through: list[float] = []
    async with httpx.AsyncClient(timeout=30) as client, httpx.AsyncClient(timeout=30) as other:
        for number in range(calls + _WARM):
            one = await _seconds(client, gateway.double.root, stream=stream)
            another = await _seconds(other, gateway.url, stream=stream)
            if number >= _WARM:
                direct.append(one)
                through.append(another)
    return direct, through


async def _at_once(url: str, calls: int, parallel: int, *, writing: bool = False) -> list[float]:
    """Seconds of calls of which `parallel` are under way; those of a model that is `writing` begin one by one."""
    took: list[float] = []
    left = iter(range(calls))
    limits = httpx.Limits(max_connections=parallel, max_keepalive_connections=parallel)
    async with httpx.AsyncClient(timeout=60, limits=limits) as client:

        async def work(number: int) -> None:
            await asyncio.sleep(number * _WRITING_SECONDS / parallel if writing else 0)
            for _ in left:
                took.append(await _seconds(client, url, stream=writing, whole=writing))

        await asyncio.gather(*(work(number) for number in range(parallel)))
    return took


def _added(direct: Sequence[float], through: Sequence[float]) -> Mapping[str, float]:
    """Milliseconds at some percentiles, and what the gateway adds there."""
    told: dict[str, float] = {}
    for percent in (50, 95, 99):
        alone, both = percentile(direct, percent), percentile(through, percent)
        told[f"server_p{percent}_ms"] = round(1000 * alone, 2)
        told[f"gateway_p{percent}_ms"] = round(1000 * both, 2)
        told[f"added_p{percent}_ms"] = round(1000 * (both - alone), 2)
    return told


def main() -> None:
    """Measure, and print JSON."""
    parser = argparse.ArgumentParser(description="what the gateway adds to the time of a model server")
    parser.add_argument("--calls", type=int, default=400)
    parser.add_argument("--parallel", type=int, default=50)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        with running_gateway(Path(folder), "", environment="development", more=_UNLIMITED) as gateway:
            told = {
                "one_after_the_other": _added(*asyncio.run(_in_turn(gateway, given.calls))),
                "first_byte": _added(*asyncio.run(_in_turn(gateway, given.calls, stream=True))),
                f"{given.parallel}_at_once": _added(
                    asyncio.run(_at_once(gateway.double.root, given.calls, given.parallel)),
                    asyncio.run(_at_once(gateway.url, given.calls, given.parallel)),
                ),
            }
            gateway.double.script(_WRITING)
            calls = 4 * given.parallel
            told[f"{given.parallel}_under_way"] = _added(
                asyncio.run(_at_once(gateway.double.root, calls, given.parallel, writing=True)),
                asyncio.run(_at_once(gateway.url, calls, given.parallel, writing=True)),
            )
    json.dump(told, sys.stdout, indent=2)
    print()


if __name__ == "__main__":
    main()
