# SPDX-License-Identifier: AGPL-3.0-or-later
"""Texts that Nextcloud writes: contract taskprocessing 5 and 7."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import aclosing, suppress
from typing import Any

import pytest

from context_chat_backend.domain import Ended, Message, Principal, Prompt, Realm
from context_chat_backend.errors import WritingRefused
from context_chat_backend.nextcloud.client import NextcloudClient
from context_chat_backend.nextcloud.text2text import NextcloudWriter
from tests.listening import listening, speaking_to

ALICE = Principal(Realm.NEXTCLOUD, "alice")
PROMPT = Prompt((Message("user", "How deep is the pond?"),), "How deep is the pond?", (), ALICE)


class Nextcloud:
    """Writes one text; each look at the task sees the next of `states`, the last one for ever."""

    def __init__(self) -> None:
        self.port = 0
        self.states: list[dict[str, Any]] = [{"status": "STATUS_RUNNING", "output": None}]
        self.scheduling_seconds = 0.0
        self.limited = False
        self.calls: list[str] = []
        self.scheduled: list[dict[str, Any]] = []
        self.called = asyncio.Event()

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
            length = next((int(line[15:]) for line in head.splitlines() if line.startswith("content-length:")), 0)
            body = await reader.readexactly(length)
            status, task = await self._act(head.split()[1].partition("?")[0], body)
            meta = {"status": "ok", "statuscode": 100}
            answer = json.dumps({"ocs": {"meta": meta, "data": {"task": task}}}).encode() if task else b""
            writer.write(f"HTTP/1.1 {status} x\r\nConnection: close\r\nContent-Length: {len(answer)}\r\n\r\n".encode())
            writer.write(answer)
            await writer.drain()
        writer.close()

    async def _act(self, path: str, body: bytes) -> tuple[int, dict[str, Any] | None]:
        self.calls.append(path.rpartition("taskprocessing/")[2])
        self.called.set()
        if path.endswith("/schedule"):
            if self.limited:
                return 429, None
            self.scheduled.append(json.loads(body))
            await asyncio.sleep(self.scheduling_seconds)
            return 200, {"id": 7, "status": "STATUS_SCHEDULED"}
        if path.endswith("/cancel"):
            return 200, {"id": 7, "status": "STATUS_CANCELLED"}
        return 200, {"id": 7} | (self.states.pop(0) if len(self.states) > 1 else self.states[0])


def state(status: str, text: str | None = None) -> dict[str, Any]:
    return {"status": f"STATUS_{status}", "output": None if text is None else {"output": text, "parts": [1]}}


@pytest.fixture
async def nextcloud() -> AsyncIterator[Nextcloud]:
    running = Nextcloud()
    async with listening(running.answer) as running.port:
        yield running


@pytest.fixture
async def client(nextcloud: Nextcloud) -> AsyncIterator[NextcloudClient]:
    async with speaking_to(nextcloud.port) as speaking:
        yield speaking


async def read(writer: NextcloudWriter) -> list[str | Ended]:
    async with aclosing(writer.stream(PROMPT)) as pieces:
        return [piece async for piece in pieces]


async def given_up(nextcloud: Nextcloud, client: NextcloudClient, *, after: str) -> None:
    """Begin to read, and stop when that was called."""
    reading = asyncio.create_task(read(NextcloudWriter(client)))
    while after not in nextcloud.calls:
        nextcloud.called.clear()
        await nextcloud.called.wait()
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading


async def test_what_is_written_is_given_out_while_it_is(nextcloud: Nextcloud, client: NextcloudClient) -> None:
    nextcloud.states = [
        state("RUNNING"),
        state("RUNNING", "Two"),
        state("RUNNING", "Two"),
        state("SUCCESSFUL", "Two m."),
    ]

    pieces = await read(NextcloudWriter(client))

    assert [piece for piece in pieces if isinstance(piece, str)] == ["Two", " m."]
    assert isinstance(pieces[-1], Ended)
    assert nextcloud.scheduled[0]["preferStreaming"] is True
    assert "tasks/7/cancel" not in nextcloud.calls


async def test_a_text_that_was_taken_back_is_an_error_for_the_user(
    nextcloud: Nextcloud, client: NextcloudClient
) -> None:
    nextcloud.states = [state("RUNNING", "Two"), state("SUCCESSFUL", "Three")]

    with pytest.raises(WritingRefused, match="ask again"):
        await read(NextcloudWriter(client))


async def test_a_text_that_takes_too_long_is_given_up_and_its_task_cancelled(
    nextcloud: Nextcloud, client: NextcloudClient
) -> None:
    with pytest.raises(WritingRefused, match="took longer than 0 minutes"):
        await read(NextcloudWriter(client, writing_seconds=0.3))

    assert nextcloud.calls[-1] == "tasks/7/cancel"


async def test_nobody_writes_on_for_somebody_who_has_stopped_reading(
    nextcloud: Nextcloud, client: NextcloudClient
) -> None:
    nextcloud.states = [state("RUNNING", "Two")]

    async with aclosing(NextcloudWriter(client).stream(PROMPT)) as pieces:
        assert await anext(pieces) == "Two"

    assert nextcloud.calls[-1] == "tasks/7/cancel"


async def test_a_task_is_cancelled_while_it_is_waited_for(nextcloud: Nextcloud, client: NextcloudClient) -> None:
    await given_up(nextcloud, client, after="task/7")

    assert nextcloud.calls[-1] == "tasks/7/cancel"


async def test_a_task_that_was_scheduled_for_nobody_any_more_is_cancelled(
    nextcloud: Nextcloud, client: NextcloudClient
) -> None:
    nextcloud.scheduling_seconds = 0.3

    await given_up(nextcloud, client, after="schedule")

    assert nextcloud.calls == ["schedule", "tasks/7/cancel"]


async def test_nothing_is_scheduled_for_somebody_who_gave_up_while_the_rate_limit_was_waited_for(
    nextcloud: Nextcloud, client: NextcloudClient
) -> None:
    nextcloud.limited = True

    await given_up(nextcloud, client, after="schedule")

    assert nextcloud.calls == ["schedule"]
