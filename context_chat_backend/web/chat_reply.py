# SPDX-License-Identifier: AGPL-3.0-or-later
"""An answer as clients of the chat server read it: whole, or as events of which each holds all the text so far."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

from fastapi import Request
from fastapi.responses import Response

from context_chat_backend.answering.observing import whole
from context_chat_backend.domain import Answer, AnswerEvent, Delta, Done
from context_chat_backend.web.envelope import api_error
from context_chat_backend.web.program_route import while_listening
from context_chat_backend.web.sources import confident_sources
from context_chat_backend.web.sse import Event, errors_last, event_stream

_HEAD_SECONDS = 10.0
"""After so long a silence a stream begins without its first event: what happens later has no status of its own."""


@dataclass(frozen=True)
class ChatReply:
    """One answer on its way."""

    request_id: str
    session: str | None = None

    async def at_once(self, request: Request, events: AsyncGenerator[AnswerEvent, None]) -> dict[str, Any]:
        """The body of an answer that is not streamed. Raises what the events raise, and ApiError (499)."""
        answer = await while_listening(request, whole(events))
        about = {"session_id": self.session, "request_id": self.request_id}
        return {"response": answer.text} | _about(answer) | about

    async def streamed(self, request: Request, events: AsyncGenerator[AnswerEvent, None]) -> Response:
        """The answer as it is written. Raises what happens before its first words: it has its own status."""
        first = asyncio.ensure_future(_first(events))
        await while_listening(request, _settled(first))
        return event_stream(errors_last(_pieces(first, events), _told), says_done=False)


async def _settled(first: asyncio.Future[AnswerEvent]) -> None:
    """Return when the answer begins, or when that takes long. Raises what happens instead."""
    try:
        await asyncio.wait({first}, timeout=_HEAD_SECONDS)
    except asyncio.CancelledError:
        first.cancel()
        raise
    if first.done():
        first.result()


async def _first(events: AsyncGenerator[AnswerEvent, None]) -> AnswerEvent:
    """The first event that is shown."""
    async for event in events:
        if isinstance(event, Delta | Done):
            return event
    raise AssertionError("an answer ends with Done")


async def _pieces(
    first: asyncio.Future[AnswerEvent], events: AsyncGenerator[AnswerEvent, None]
) -> AsyncGenerator[Event, None]:
    """What is sent."""
    text = ""
    async with aclosing(events):
        try:
            event: AnswerEvent | None = await first
            while event is not None:
                if isinstance(event, Delta):
                    text += event.text
                    yield {"text": text, "delta": event.text, "done": False}
                if isinstance(event, Done):
                    yield {"text": "", "done": True} | _about(event.answer)
                event = await anext(events, None)
        finally:
            first.cancel()


def _told(error: Exception) -> list[Event]:
    return [{"text": "", "error": api_error(error).code, "done": True}]


def _about(answer: Answer) -> dict[str, Any]:
    return {"sources": confident_sources(answer.passages), "blocked": answer.blocked}
