# SPDX-License-Identifier: AGPL-3.0-or-later
"""Leases whose answer comes late or not at all: whether rows may have been locked for nobody (contract pull-5x 2)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress

import pytest

from context_chat_backend.errors import NextcloudUnavailable
from context_chat_backend.nextcloud.queues import Queues
from tests.listening import listening, speaking_to

ROW = b'{"ocs":{"meta":{"status":"ok","statuscode":200},"data":{"actions":{"9":{"id":9,"type":"x","payload":null}}}}}'


class Nextcloud:
    """Answers with one action, after a while, or with a status alone."""

    def __init__(self) -> None:
        self.port = 0
        self.seconds = 0.0
        self.status = 200

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            await reader.readuntil(b"\r\n\r\n")
            await asyncio.sleep(self.seconds)
            body = ROW if self.status == 200 else b""
            writer.write(b"HTTP/1.1 %d x\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % (self.status, len(body)))
            writer.write(body)
            await writer.drain()
        writer.close()


@pytest.fixture
async def nextcloud() -> AsyncIterator[Nextcloud]:
    running = Nextcloud()
    async with listening(running.answer) as running.port:
        yield running


async def lease(port: int, seconds: float = 5.0) -> list[int]:
    async with speaking_to(port) as client:
        return [row.id for row in await Queues(client, lease_seconds=seconds).lease_actions(10)]


async def test_a_list_that_takes_long_is_waited_for(nextcloud: Nextcloud) -> None:
    nextcloud.seconds = 0.5

    assert await lease(nextcloud.port) == [9]


async def test_after_an_answer_that_did_not_come_in_time_rows_may_be_lost(nextcloud: Nextcloud) -> None:
    nextcloud.seconds = 30

    with pytest.raises(NextcloudUnavailable) as failure:
        await lease(nextcloud.port, seconds=0.2)

    assert failure.value.may_have_acted


@pytest.mark.parametrize(
    ("status", "may_be_lost"), [(500, True), (502, True), (504, True), (503, False), (429, False), (412, False)]
)
async def test_whether_rows_may_be_lost_is_told_by_the_status(
    nextcloud: Nextcloud, status: int, may_be_lost: bool
) -> None:
    nextcloud.status = status

    with pytest.raises(NextcloudUnavailable) as failure:
        await lease(nextcloud.port)

    assert failure.value.may_have_acted is may_be_lost


async def test_where_nobody_listens_no_row_is_lost(nextcloud: Nextcloud, unused_tcp_port: int) -> None:
    with pytest.raises(NextcloudUnavailable) as failure:
        await lease(unused_tcp_port)

    assert not failure.value.may_have_acted
