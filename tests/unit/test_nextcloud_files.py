# SPDX-License-Identifier: AGPL-3.0-or-later
"""Downloads from a Nextcloud whose files are not what their listing says, or break off: contract pull-5x 4."""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import re
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import pytest

from context_chat_backend.domain import Reason
from context_chat_backend.errors import FileUnreadable, FileUnseen, SourceRejected
from context_chat_backend.nextcloud.client import NextcloudClient
from context_chat_backend.nextcloud.files import Files
from tests.listening import listening, speaking_to

MOST = 1_000_000
TEXT = bytes(range(256)) * 100


class Server:
    """A Nextcloud that sends one file, in one of several ways."""

    def __init__(self) -> None:
        self.port = 0
        self.grows = False
        self.cuts = 0
        """So many downloads break off in the middle."""
        self.knows_ranges = False
        self.total = len(TEXT)
        """How long it says the file is."""
        self.seen_by: str | None = None
        """The only user who sees it; None: all do."""
        self.asked: list[str] = []
        self.sent = 0

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            await self._answer((await reader.readuntil(b"\r\n\r\n")).decode(), writer)
            await writer.drain()
        writer.close()

    async def _answer(self, request: str, writer: asyncio.StreamWriter) -> None:
        user = re.search(r"userId=([^& ]*)", request)
        assert user is not None
        self.asked.append(user[1])
        if self.seen_by not in (None, user[1]):
            writer.write(b"HTTP/1.1 404 Not Found\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
            return
        if self.grows:
            writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")
            for _ in range(1024):
                writer.write(bytes(65536))
                await writer.drain()
            return
        wanted = re.search(r"(?i)range: bytes=(\d+)-", request)
        start = int(wanted[1]) if wanted and self.knows_ranges else 0
        status = f"206 Partial\r\nContent-Range: bytes {start}-{self.total - 1}/{self.total}" if start else "200 OK"
        body = TEXT[start:]
        writer.write(f"HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: {len(body)}\r\n\r\n".encode())
        if self.cuts:
            self.cuts -= 1
            body = body[: len(body) // 2]
        self.sent += len(body)
        writer.write(body)


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    running = Server()
    async with listening(running.answer) as running.port:
        yield running


@pytest.fixture
async def client(server: Server) -> AsyncIterator[NextcloudClient]:
    async with speaking_to(server.port) as speaking:
        yield speaking


async def named(*users: str) -> AsyncIterator[str]:
    for user in users:
        yield user


async def test_a_file_that_grows_past_the_cap_is_left_in_the_middle(
    server: Server, client: NextcloudClient, tmp_path: Path
) -> None:
    server.grows = True
    to = tmp_path / "file"

    with pytest.raises(SourceRejected) as rejection:
        await Files(client, MOST).fetch("7", named("alice"), 10, to)

    assert rejection.value.reason is Reason.TOO_LARGE
    assert to.stat().st_size <= MOST


@pytest.mark.parametrize(("knows_ranges", "sent"), [(True, 1.0), (False, 1.5)])
async def test_after_a_cut_the_rest_is_asked_for_and_the_whole_taken_where_that_is_sent(
    server: Server, client: NextcloudClient, tmp_path: Path, knows_ranges: bool, sent: float
) -> None:
    server.cuts, server.knows_ranges = 1, knows_ranges
    to = tmp_path / "file"

    digest = await Files(client, MOST).fetch("7", named("alice"), len(TEXT), to)

    assert to.read_bytes() == TEXT
    assert digest == hashlib.sha256(TEXT).digest()
    assert server.sent == sent * len(TEXT)


async def test_the_rest_of_a_file_that_has_another_length_by_now_is_not_put_behind_the_old_beginning(
    server: Server, client: NextcloudClient, tmp_path: Path
) -> None:
    server.cuts, server.knows_ranges = 1, True
    to = tmp_path / "file"

    digest = await Files(client, MOST).fetch("7", named("alice"), len(TEXT) - 5, to)

    assert digest == hashlib.sha256(TEXT).digest()
    assert server.sent == 2 * len(TEXT)


async def test_every_reader_is_asked_until_one_sees_the_file(
    server: Server, client: NextcloudClient, tmp_path: Path
) -> None:
    users = [f"user{n}" for n in range(250)]
    server.seen_by = users[-1]

    digest = await Files(client, MOST).fetch("7", named(*users), len(TEXT), tmp_path / "file")

    assert digest == hashlib.sha256(TEXT).digest()
    assert server.asked == users


async def test_a_file_nobody_sees_is_told_with_those_who_were_asked(
    server: Server, client: NextcloudClient, tmp_path: Path
) -> None:
    server.seen_by = "carol"

    with pytest.raises(FileUnseen) as unseen:
        await Files(client, MOST).fetch("7", named("alice", "bob"), len(TEXT), tmp_path / "file")

    assert unseen.value.users == {"alice", "bob"}


async def test_readers_who_could_not_be_asked_in_time_are_asked_at_another_try(
    server: Server, client: NextcloudClient, tmp_path: Path
) -> None:
    server.seen_by = "carol"
    minutes = itertools.count(step=60)

    with pytest.raises(FileUnreadable):
        await Files(client, MOST, clock=lambda: next(minutes)).fetch(
            "7", named(*(f"user{n}" for n in range(50))), len(TEXT), tmp_path / "file"
        )

    assert len(server.asked) == 10
