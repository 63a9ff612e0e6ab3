# SPDX-License-Identifier: AGPL-3.0-or-later
"""Downloads from a Nextcloud whose files are not what their listing says: contract pull-5x 4."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import pytest

from context_chat_backend.domain import Reason
from context_chat_backend.errors import SourceRejected
from context_chat_backend.nextcloud.client import NextcloudClient
from context_chat_backend.nextcloud.files import Files

MOST = 1_000_000


class Growing:
    """Sends a file of 64 MiB without saying so, until the connection is closed."""

    def __init__(self) -> None:
        self.port = 0

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")
        with suppress(ConnectionError):
            for _ in range(1024):
                writer.write(bytes(65536))
                await writer.drain()
        writer.close()


@pytest.fixture
async def growing() -> AsyncIterator[Growing]:
    running = Growing()
    server = await asyncio.start_server(running.answer, "127.0.0.1", 0)
    running.port = server.sockets[0].getsockname()[1]
    async with server:
        yield running


async def named(*users: str) -> AsyncIterator[str]:
    for user in users:
        yield user


async def test_a_file_that_grows_past_the_cap_is_left_in_the_middle(growing: Growing, tmp_path: Path) -> None:
    client = NextcloudClient(f"http://127.0.0.1:{growing.port}", "context_chat_backend", "5.4.0", "secret")
    to = tmp_path / "file"
    try:
        with pytest.raises(SourceRejected) as rejection:
            await Files(client, MOST).fetch("7", named("alice"), 10, to)
    finally:
        await client.close()

    assert rejection.value.reason is Reason.TOO_LARGE
    assert to.stat().st_size <= MOST
