# SPDX-License-Identifier: AGPL-3.0-or-later
"""Server-sent events as OpenAI's clients read them: `data:` lines of JSON, comments in silence, `[DONE]` at the end."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping
from contextlib import aclosing
from typing import Any, TypeVar

from fastapi import Request
from fastapi.responses import StreamingResponse

from context_chat_backend.web.envelope import api_error, envelope
from context_chat_backend.web.program_route import while_listening

Event = Mapping[str, Any]
T = TypeVar("T")
PING_SECONDS = 15.0
"""So long a connection is silent at most: proxies close those that are."""

_PING = b": ping\n\n"
_DONE = b"data: [DONE]\n\n"
_HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}


def event_stream(
    events: AsyncGenerator[Event, None],
    *,
    ping_seconds: float = PING_SECONDS,
    named: bool = False,
    says_done: bool = True,
) -> StreamingResponse:
    """The answer that sends `events`, which raise nothing, as they come; a caller that leaves closes the generator.

    Those that are `named` hold `event` and `data`. They, and those of who is not to be told by `says_done`, say
    themselves which is the last.
    """
    headers = _HEADERS if says_done else _HEADERS | {"Cache-Control": "no-cache"}
    stream = encoded(events, ping_seconds, named, says_done=says_done)
    return StreamingResponse(stream, media_type="text/event-stream", headers=headers)


async def encoded(
    events: AsyncGenerator[Event, None], ping_seconds: float, named: bool = False, *, says_done: bool = True
) -> AsyncGenerator[bytes, None]:
    """The bytes of a stream. Closing it closes `events`, a moment later."""
    waiting: asyncio.Queue[Event | None] = asyncio.Queue(maxsize=1)
    # A task of its own: when the caller leaves, whoever awaits here is cancelled, and could not close anything.
    reading = asyncio.create_task(_read(events, waiting))
    try:
        while True:
            try:
                async with asyncio.timeout(ping_seconds):
                    event = await waiting.get()
            except TimeoutError:
                yield _PING
                continue
            if event is None:
                break
            yield _frame(event, named)
        if says_done and not named:
            yield _DONE
    finally:
        reading.cancel()


async def begun(request: Request, events: AsyncGenerator[T, None]) -> AsyncGenerator[T, None]:
    """`events`, of which the first is there: what happens before has a status of its own, and is raised.

    Raises ApiError (499) when the caller leaves meanwhile.
    """
    return _all(await while_listening(request, anext(events)), events)


async def errors_last(
    pieces: AsyncGenerator[Event, None], told: Callable[[Exception], Iterable[Event]]
) -> AsyncGenerator[Event, None]:
    """`pieces`, and at the end what is `told` of that which fails on the way: the status is sent already."""
    async with aclosing(pieces):
        try:
            async for piece in pieces:
                yield piece
        except Exception as error:
            for piece in told(error):
                yield piece


def as_envelope(request: Request) -> Callable[[Exception], Iterable[Event]]:
    """What OpenAI's clients are told of an error in a stream."""
    return lambda error: [envelope(api_error(error), request.state.request_id)]


async def _all(first: T, events: AsyncGenerator[T, None]) -> AsyncGenerator[T, None]:
    async with aclosing(events):
        yield first
        async for event in events:
            yield event


def _frame(event: Event, named: bool) -> bytes:
    data = event["data"] if named else event
    name = f"event: {event['event']}\n" if named else ""
    return f"{name}data: {json.dumps(data, ensure_ascii=False, separators=(',', ':'))}\n\n".encode()


async def _read(events: AsyncGenerator[Event, None], waiting: asyncio.Queue[Event | None]) -> None:
    async with aclosing(events):
        async for event in events:
            await waiting.put(event)
    await waiting.put(None)
