# SPDX-License-Identifier: AGPL-3.0-or-later
"""Records reach Elasticsearch from the files, however long it is away, and in little memory."""

from __future__ import annotations

import asyncio
import json
import tracemalloc
from contextlib import suppress
from pathlib import Path

import pytest

from context_chat_backend.chat_log import ChatLog
from context_chat_backend.shipping import Shipping
from tests.model_double.client import running_double
from tests.ports import free_port
from tests.waiting import soon

LINES = 7200
"""Two a second for an hour, of 2 kB each, in many files."""
MOST_MEMORY = 8_000_000
"""Half of what is written; a bulk is held several times over while it is made and answered."""


def written(folder: Path, first: int, last: int) -> ChatLog:
    log = ChatLog(folder / "chat", max_bytes=1_000_000, retention_days=14)
    for number in range(first, last):
        log.write({"query": str(number), "response": "x" * 2000, "ip": {"address": "192.0.2.1", "type": "ipv4"}})
    return log


async def shipped(shipping: Shipping, seconds: float) -> None:
    """Let it work for a while."""
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await shipping.run()
    await shipping.close()


async def sent_all(shipping: Shipping, folder: Path) -> None:
    """Let it work until it has noted the end of the newest file."""

    async def is_at_the_end() -> bool:
        newest = max(folder.glob("chat-*.log"), key=lambda file: file.stat().st_mtime_ns)
        place = json.loads((folder / ".shipped.json").read_text(encoding="utf-8"))
        return (place.get("file"), place.get("offset")) == (newest.name, newest.stat().st_size)

    sending = asyncio.create_task(shipping.run())
    await soon(is_at_the_end)
    sending.cancel()
    await asyncio.wait([sending])
    await shipping.close()


@pytest.mark.slow
async def test_what_waits_takes_no_memory_and_is_sent_once_in_its_order(storage: Path) -> None:
    log = written(storage, 0, LINES)
    port = free_port()
    tracemalloc.start()
    away = Shipping(log, f"http://127.0.0.1:{port}", "chat-logs", ("u", "p"), retry_seconds=0.05)
    await shipped(away, 1)
    _, peak_while_away = tracemalloc.get_traced_memory()

    assert away.status == "unavailable"
    assert peak_while_away < MOST_MEMORY
    with running_double(port) as double:
        double.index({"status": 503}, {"rejects": [3], "item_status": 429})
        for _ in range(3):  # each goes on where the one before was stopped
            await shipped(Shipping(log, double.root, "chat-logs", ("u", "p"), retry_seconds=0.05), 4)
        log = written(storage, LINES, LINES + 10)
        await sent_all(Shipping(log, double.root, "chat-logs", ("u", "p"), retry_seconds=0.05), log.folder)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        told = double.indexed

    documents = told["documents"]
    assert {one["query"] for one in documents} == {str(number) for number in range(LINES + 10)}
    assert len({one["_id"] for one in documents}) == LINES + 10
    assert max(told["bulks"]) <= 200
    assert peak < MOST_MEMORY
    assert away.status == "enabled"


async def test_two_processes_do_not_send_the_same(storage: Path) -> None:
    log = written(storage, 0, 300)
    with running_double() as double:
        both = [Shipping(log, double.root, "chat-logs", ("u", "p")) for _ in range(2)]
        await asyncio.gather(*(shipped(one, 3) for one in both))
        documents = double.indexed["documents"]

    assert [one["query"] for one in documents] == [str(number) for number in range(300)]
