# SPDX-License-Identifier: AGPL-3.0-or-later
"""Connections that would never be of use end: slow headers, slow bodies, slow readers, too much, too many."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest
from fastapi import Request
from fastapi.responses import Response

from context_chat_backend.cli.serve import server_for
from context_chat_backend.limits import Limits
from context_chat_backend.web.app import build_app
from tests.fakes import FakeBackend
from tests.program import headers

SECRET = "s3cret-demo"
LARGE = 20_000_000
SIGNED = "".join(f"{name}: {value}\r\n" for name, value in headers(SECRET).items())
HEARTBEAT = b"GET /heartbeat HTTP/1.1\r\nHost: x\r\n\r\n"


@asynccontextmanager
async def listening(folder: Path, **limits: int) -> AsyncIterator[int]:
    """The port of a server with the routes of Nextcloud, and one, /large, that answers with much."""
    backend = FakeBackend(folder)
    backend.config.limits = Limits(**limits)
    app = build_app(backend)  # type: ignore[arg-type]  # in the shape of one

    @app.get("/large")
    async def large() -> Response:
        return Response(bytes(LARGE))

    @app.get("/address")
    async def address(request: Request) -> str:
        assert request.client is not None
        return request.client.host

    listener = socket.create_server(("127.0.0.1", 0))
    server = server_for(app, backend.config.limits)
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    try:
        yield listener.getsockname()[1]
    finally:
        server.should_exit = True
        await serving
        listener.close()


async def said(port: int, *pieces: bytes, pause: float = 0) -> bytes:
    """All that is answered to `pieces`, until the other side closes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    heard = bytearray()

    async def listen() -> None:
        with suppress(ConnectionError):
            while piece := await reader.read(1 << 16):
                heard.extend(piece)

    listening = asyncio.create_task(listen())
    with suppress(ConnectionError):
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
            await asyncio.wait({listening}, timeout=pause)
    await listening
    writer.close()
    return bytes(heard)


def status(answer: bytes) -> int:
    return int(answer.split()[1])


async def test_whoever_says_nothing_is_let_go(tmp_path: Path) -> None:
    async with listening(tmp_path, header_seconds=1) as port:
        assert await said(port) == b""


async def test_slow_headers_are_not_waited_for(tmp_path: Path) -> None:
    async with listening(tmp_path, header_seconds=1) as port:
        assert await said(port, b"GET /heartbeat HTTP/1.1\r\n", *[b"x: y\r\n"] * 50, pause=0.2) == b""


async def test_slow_headers_after_an_answer_end_too(tmp_path: Path) -> None:
    async with listening(tmp_path, header_seconds=1) as port:
        answer = await said(port, HEARTBEAT, *[b"G", b"E", b"T"], *[b" "] * 20, pause=0.3)
    assert (status(answer), answer.count(b"HTTP/1.1 ")) == (200, 1)


@pytest.mark.parametrize(
    ("limits", "head"),
    [
        ({"header_bytes": 2000}, b"GET /heartbeat HTTP/1.1\r\nx: " + b"y" * 3000 + b"\r\n\r\n"),
        ({"header_bytes": 2000}, b"GET /heartbeat?" + b"y" * 3000 + b" HTTP/1.1\r\n\r\n"),
        ({"header_bytes": 2000}, b"GET /heartbeat HTTP/1.1\r\n" + b"x: y\r\n" * 300 + b"\r\n"),
        ({"header_bytes": 2000}, b"GET /heartbeat HTTP/1.1\r\nx: " + b"y" * 30_000),
        ({"header_bytes": 2000}, b"GET /" + b"y" * 30_000),
        ({"headers": 16}, b"GET /heartbeat HTTP/1.1\r\n" + b"x: y\r\n" * 17 + b"\r\n"),
        ({"headers": 16}, HEARTBEAT + b"GET /heartbeat HTTP/1.1\r\n" + b"x: y\r\n" * 17 + b"\r\n"),
    ],
)
async def test_too_much_in_front_of_a_body_ends_in_431(tmp_path: Path, limits: dict[str, int], head: bytes) -> None:
    async with listening(tmp_path, **limits) as port:
        for answer in (
            await said(port, head),
            await said(port, *(head[n : n + 999] for n in range(0, len(head), 999))),
        ):
            assert b"HTTP/1.1 431 " in answer
            assert b"connection: close" in answer


async def test_what_is_just_small_enough_is_answered(tmp_path: Path) -> None:
    async with listening(tmp_path, header_bytes=2000, headers=16, header_seconds=1) as port:
        head = (
            b"GET /heartbeat HTTP/1.1\r\nconnection: close\r\nx: " + b"y" * 1900 + b"\r\n" + b"z: 1\r\n" * 5 + b"\r\n"
        )
        assert status(await said(port, head)) == 200
        assert (await said(port, HEARTBEAT * 200)).count(b"HTTP/1.1 200 OK") == 200


async def test_nobody_is_believed_about_his_address_who_is_no_trusted_proxy(tmp_path: Path) -> None:
    async with listening(tmp_path) as port:
        asked = b"GET /address HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: 192.0.2.7\r\nConnection: close\r\n\r\n"
        assert (await said(port, asked)).endswith(b'"127.0.0.1"')


async def test_slow_bodies_end_in_503_which_nextcloud_tries_again(tmp_path: Path) -> None:
    head = f"POST /docSearch HTTP/1.1\r\n{SIGNED}content-type: application/json\r\ncontent-length: 100000\r\n\r\n"
    async with listening(tmp_path, body_seconds=1) as port:
        silent = await said(port, head.encode())
        trickling = await said(port, head.encode(), *[b" "] * 50, pause=0.2)
    for answer in (silent, trickling):
        assert status(answer) == 503
        assert json.loads(answer.partition(b"\r\n\r\n")[2]) == {"error": "the body of the request came too slowly"}


async def test_whoever_takes_nothing_of_an_answer_is_cut_off(tmp_path: Path) -> None:
    async with listening(tmp_path, reader_seconds=1) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1024)
        writer.write(b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n")
        await asyncio.sleep(3.5)
        taken = 0
        with suppress(ConnectionError):
            while piece := await reader.read(1 << 16):
                taken += len(piece)
        writer.close()
    assert taken < LARGE


async def test_whoever_takes_an_answer_slowly_but_surely_gets_it(tmp_path: Path) -> None:
    async with listening(tmp_path, reader_seconds=4) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1024)
        writer.write(b"GET /large HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        taken = 0
        while piece := await reader.read(2_000_000 if taken > 4_000_000 else 300_000):
            taken += len(piece)
            await asyncio.sleep(0.35 if taken < 4_000_000 else 0)
        writer.close()
    assert taken > LARGE


async def test_a_connection_too_many_is_told_to_come_back(tmp_path: Path) -> None:
    async with listening(tmp_path, connections=2) as port:
        held = [await asyncio.open_connection("127.0.0.1", port) for _ in range(2)]
        refused = await said(port)
        for _, writer in held:
            writer.close()
            await writer.wait_closed()
        again = await said(port, HEARTBEAT.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
    assert status(refused) == 503
    assert b"retry-after: 5" in refused
    assert status(again) == 200


@pytest.mark.parametrize(
    "nonsense",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", b"GET / HTTP/9.9\r\n\r\n", b"GET /\xff HTTP/1.1\r\n\r\n",
        b"POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
        b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
        b"GET / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", b"GET  HTTP/1.1\r\n\r\n",
        b"GET http:// HTTP/1.1\r\n\r\n", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"CONNECT x HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nConnection: close\r\n\r\n",
    ],
)  # fmt: skip
async def test_what_is_no_http_is_answered_in_400_at_most(tmp_path: Path, nonsense: bytes) -> None:
    async with listening(tmp_path, header_seconds=1, body_seconds=1) as port:
        answer = await said(port, nonsense)
        assert b"Traceback" not in answer
        assert not answer or 400 <= status(answer) < 500
        assert status(await said(port, HEARTBEAT.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))) == 200
