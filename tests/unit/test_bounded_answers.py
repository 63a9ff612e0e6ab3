# SPDX-License-Identifier: AGPL-3.0-or-later
"""A server that answers without end, or little that unpacks to much, is one that fails: nobody reads it to its end."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import pytest

from context_chat_backend.bounded_answers import BOUNDED_ELSEWHERE, AnswerPacked, AnswerTooLarge, bound
from context_chat_backend.domain import Message, Prompt
from context_chat_backend.errors import ModelUnavailable, NextcloudUnavailable
from context_chat_backend.inference.embedding import build_embedder
from context_chat_backend.inference.language import build_language_model
from context_chat_backend.inference.moderation import RemoteModerator
from context_chat_backend.inference.reranking import build_reranker
from context_chat_backend.nextcloud.client import NextcloudClient

MOST = 100_000
HERE = Path("/nowhere")
PROMPT = Prompt((Message("user", "x"),), "x", ())
EVENT = b"data: " + b'{"choices": [{"index": 0, "delta": {"content": "a"}}]}' + b"\n\n"
ENDLESS = {
    "events": (b"Content-Type: text/event-stream\r\n", EVENT * 100),
    "text": (b"Content-Type: application/json\r\n", b'{"data": [' + b" " * 10_000),
    "a long one": (b"Content-Type: application/json\r\nContent-Length: 99999999\r\n", b" " * 10_000),
    "a packed one": (
        b"Content-Type: application/json\r\nContent-Encoding: gzip\r\n", gzip.compress(b" " * 10_000_000)
    ),
}  # fmt: skip


class Flood:
    """A server that answers whatever is asked with more than anybody wants."""

    def __init__(self, head: bytes, piece: bytes) -> None:
        self._head = head
        self._piece = piece
        self.read_to_the_end = 0
        self.wanted: list[bytes] = []

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, asyncio.IncompleteReadError):
            self.wanted.append(await reader.readuntil(b"\r\n\r\n"))
            writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\n" + self._head + b"\r\n")
            for _ in range(1000 * MOST // len(self._piece)):
                writer.write(self._piece)
                await writer.drain()
            self.read_to_the_end += 1
        with suppress(OSError):
            writer.close()


@asynccontextmanager
async def flooding(kind: str) -> AsyncIterator[tuple[Flood, str]]:
    flood = Flood(*ENDLESS[kind])
    server = await asyncio.start_server(flood.answer, "127.0.0.1")
    async with server:
        yield flood, f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


async def _embedded(url: str) -> Any:
    options = {"base_url": url, "model_name": "m", "dimension": 2, "answer_bytes": MOST, "request_timeout": 60}
    embedder = build_embedder("openai", options, models=HERE, threads=1)
    try:
        return await embedder.embed_question("x")
    finally:
        await embedder.close()


async def _written(url: str) -> Any:
    options = {"base_url": url, "model": "m", "answer_bytes": MOST, "context_tokens": 1000}
    model = build_language_model("openai", options, models=HERE, threads=1)
    try:
        return [piece async for piece in model.stream(PROMPT)]
    finally:
        await model.close()


async def _reranked(url: str) -> Any:
    reranker = build_reranker("remote", {"base_url": url, "answer_bytes": MOST}, models=HERE, threads=1)
    try:
        return await reranker.scores("x", ["a"])
    finally:
        await reranker.close()


async def _judged(url: str) -> Any:
    judge = RemoteModerator(url, model="", api_key=None, timeout_seconds=60, answer_bytes=MOST)
    try:
        return await judge.allows("x")
    finally:
        await judge.close()


async def _called(url: str) -> Any:
    client = NextcloudClient(url, "context_chat_backend", "5.4.0", "secret", answer_bytes=MOST)
    try:
        return await client.call("GET", "/ocs/v2.php/x")
    finally:
        await client.close()


ASKED: dict[str, tuple[Callable[[str], Awaitable[Any]], type[Exception]]] = {
    "embedding": (_embedded, ModelUnavailable),
    "language": (_written, ModelUnavailable),
    "reranker": (_reranked, ModelUnavailable),
    "moderation": (_judged, ModelUnavailable),
    "nextcloud": (_called, NextcloudUnavailable),
}


@pytest.mark.parametrize("kind", ENDLESS)
@pytest.mark.parametrize("asked", ASKED)
async def test_who_answers_too_much_is_not_read_to_the_end(
    monkeypatch: pytest.MonkeyPatch, asked: str, kind: str
) -> None:
    async def at_once(_seconds: float) -> None:
        """What is tried again is tried without a pause."""

    for module in ("inference.openai_http", "inference.embedding.openai", "inference.reranking.remote"):
        monkeypatch.setattr(f"context_chat_backend.{module}.asyncio.sleep", at_once)
    ask, failure = ASKED[asked]
    async with flooding(kind) as (flood, url):
        with pytest.raises(failure):
            await ask(url)

    assert all(b"accept-encoding: identity" in headers.lower() for headers in flood.wanted)
    assert flood.wanted
    assert flood.read_to_the_end == 0


async def test_an_answer_may_be_as_long_as_it_may_be_and_files_are_counted_by_who_reads_them() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        size = int(request.url.path[1:])
        packed = {"Content-Encoding": "gzip"} if "packed" in str(request.url) else {}
        return httpx.Response(200, stream=Blanks(size), headers=packed)

    async with bound(httpx.AsyncClient(transport=httpx.MockTransport(answer), base_url="http://x"), 1000) as client:
        assert len((await client.get("/1000")).content) == 1000
        with pytest.raises(AnswerTooLarge):
            await client.get("/1001")
        with pytest.raises(AnswerPacked):
            await client.get("/5?packed")
        async with client.stream("GET", "/5000", extensions=BOUNDED_ELSEWHERE) as file:
            assert len(await file.aread()) == 5000


class Blanks(httpx.AsyncByteStream):
    def __init__(self, size: int) -> None:
        self._size = size

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for _ in range(self._size):
            yield b" "
