# SPDX-License-Identifier: AGPL-3.0-or-later
"""Warnings and errors go to Nextcloud, a few at a time, and nothing goes wrong when it does not listen."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import cast

import pytest

from context_chat_backend import logs
from context_chat_backend.errors import NextcloudUnavailable
from context_chat_backend.exapp.log_forwarding import LINES_PER_MINUTE, LogForwarding
from context_chat_backend.nextcloud.client import NextcloudClient

SECONDS = 0.02


class Listener:
    """What Nextcloud's log has, in the shape of the client."""

    def __init__(self) -> None:
        self.lines: list[tuple[int, str]] = []
        self.deaf = False

    async def log(self, level: int, message: str) -> None:
        if self.deaf:
            raise NextcloudUnavailable("Nextcloud does not answer")
        self.lines.append((level, message))

    async def has(self, count: int) -> None:
        async with asyncio.timeout(60):
            while len(self.lines) < count:
                await asyncio.sleep(0.005)


@pytest.fixture
def listener(tmp_path: Path) -> Listener:
    logs.configure("info", tmp_path)
    return Listener()


@asynccontextmanager
async def forwarding(listener: Listener) -> AsyncIterator[None]:
    running = asyncio.create_task(LogForwarding(cast(NextcloudClient, listener), seconds=SECONDS).run())
    await asyncio.sleep(0)
    yield
    running.cancel()
    await asyncio.wait([running])


async def test_warnings_and_errors_of_ours_are_forwarded_with_their_level(listener: Listener) -> None:
    async with forwarding(listener):
        log = logs.get_logger("context_chat_backend.exapp.intake")
        log.info("nothing_of_note")
        logging.getLogger("some.library").warning("what it says")
        log.warning("intake_waits", row=7)
        log.error("loop_failed")
        await listener.has(2)

    levels, texts = zip(*listener.lines, strict=True)
    assert levels == (2, 3)
    assert [json.loads(text)["event"] for text in texts] == ["intake_waits", "loop_failed"]
    assert json.loads(texts[0])["row"] == 7


async def test_of_many_lines_a_few_are_sent_and_the_rest_is_counted(listener: Listener) -> None:
    async with forwarding(listener):
        log = logs.get_logger("context_chat_backend.exapp.intake")
        for _ in range(500):
            log.warning("intake_waits")
        await listener.has(LINES_PER_MINUTE + 1)

    assert len(listener.lines) == LINES_PER_MINUTE + 1
    assert listener.lines[-1] == (2, f"{500 - LINES_PER_MINUTE} more lines are in the log of the app")


async def test_a_deaf_nextcloud_costs_the_lines_and_no_more(listener: Listener) -> None:
    listener.deaf = True
    async with forwarding(listener):
        log = logs.get_logger("context_chat_backend.exapp.intake")
        log.warning("first")
        await asyncio.sleep(5 * SECONDS)
        listener.deaf = False
        log.warning("second")
        await listener.has(1)

    assert [json.loads(text)["event"] for _, text in listener.lines] == ["second"]
