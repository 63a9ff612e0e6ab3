# SPDX-License-Identifier: AGPL-3.0-or-later
"""Server-sent events as OpenAI's clients read them: `data:` lines of JSON, comments in silence, `[DONE]` at the end."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Mapping
from contextlib import suppress
from typing import Any

from fastapi.responses import StreamingResponse

PING_SECONDS = 15.0
"""So long a connection is silent at most: proxies close those that are."""

_PING = b": ping\n\n"
_DONE = b"data: [DONE]\n\n"
_HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}


def event_stream(events: AsyncGenerator[Mapping[str, Any], None], *, ping_seconds: float = PING_SECONDS) -> Any:
    """The answer that sends `events` as they come; a caller that leaves closes the generator."""
    return StreamingResponse(encoded(events, ping_seconds), media_type="text/event-stream", headers=_HEADERS)


async def encoded(events: AsyncGenerator[Mapping[str, Any], None], ping_seconds: float) -> AsyncGenerator[bytes, None]:
    """The bytes of a stream."""
    following: asyncio.Future[Mapping[str, Any]] | None = None
    try:
        while True:
            following = asyncio.ensure_future(anext(events))
            while not (await asyncio.wait({following}, timeout=ping_seconds))[0]:
                yield _PING
            try:
                event = following.result()
            except StopAsyncIteration:
                break
            yield f"data: {json.dumps(event, ensure_ascii=False, separators=(',', ':'))}\n\n".encode()
        yield _DONE
    finally:
        if following is not None and not following.done():
            following.cancel()
            with suppress(asyncio.CancelledError, StopAsyncIteration):
                await following
        await events.aclose()
