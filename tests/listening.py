# SPDX-License-Identifier: AGPL-3.0-or-later
"""A small server of a test on a free port, and our client of Nextcloud that speaks to it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from context_chat_backend.nextcloud.client import NextcloudClient

Answering = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def listening(answer: Answering) -> AsyncIterator[int]:
    """The port at which `answer` is asked."""
    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        yield int(server.sockets[0].getsockname()[1])


@asynccontextmanager
async def speaking_to(port: int) -> AsyncIterator[NextcloudClient]:
    """The client, closed at the end."""
    client = NextcloudClient(f"http://127.0.0.1:{port}", "context_chat_backend", "5.4.0", "secret")
    try:
        yield client
    finally:
        await client.close()
