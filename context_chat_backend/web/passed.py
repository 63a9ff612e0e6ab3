# SPDX-License-Identifier: AGPL-3.0-or-later
"""A request that is passed on to a model: guarded while it is answered, and booked when it ends, however it ends."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any

from fastapi import Request

from context_chat_backend.completing.models import ServedModel
from context_chat_backend.domain import Scope, Usage
from context_chat_backend.ports import Exchange
from context_chat_backend.store.uses import Use
from context_chat_backend.web.booking import book
from context_chat_backend.web.callers import Caller
from context_chat_backend.web.envelope import api_error, envelope
from context_chat_backend.web.guarding import guarded, still_allowed
from context_chat_backend.wiring import Backend

_CANCELLED = 499
_BYTES_PER_TOKEN = 4
Event = dict[str, Any]


@dataclass
class Tally:
    """What an answer took so far."""

    read: int
    """Bytes of the prompt."""
    written: int = 0
    """Bytes of the answer."""
    told: Usage | None = None
    """What the model says of it."""
    begun: float = field(default_factory=time.monotonic)
    first: float | None = None
    status: int = _CANCELLED

    def hear(self, event: Mapping[str, Any]) -> None:
        """Count one event."""
        self.first = self.first or time.monotonic()
        self.written += sum(len(said_in(choice).encode()) for choice in event["choices"])
        used = event.get("usage")
        if isinstance(used, dict) and type(used.get("prompt_tokens")) is int and used["prompt_tokens"]:
            self.told = Usage(used["prompt_tokens"], int(used.get("completion_tokens") or 0))

    @property
    def usage(self) -> Usage:
        """As the model counts; our estimate where it does not."""
        return self.told or Usage(-(-self.read // _BYTES_PER_TOKEN), -(-self.written // _BYTES_PER_TOKEN), True)


@dataclass(frozen=True)
class Passed:
    """Who asks which model."""

    request: Request
    caller: Caller
    surface: str
    model: ServedModel
    exchange: Exchange
    scope: Scope | None = None
    """Where passages were looked for."""

    async def events(self, body: Mapping[str, Any]) -> AsyncGenerator[tuple[Event, Tally], None]:
        """What the model answers to `body`, piece by piece, with what it took so far. Raises ApiError."""
        backend: Backend = self.request.app.state.backend
        tally = Tally(_bytes_read(body))
        events = backend.passing.passed(self.model, self.exchange, body)
        try:
            async with aclosing(guarded(events, still_allowed(backend, self.caller, self.scope))) as coming:
                async for event in coming:
                    tally.hear(event)
                    yield event, tally
            tally.status = 200
        except Exception as error:
            told = api_error(error)
            tally.status = told.status_code
            raise told from None
        finally:
            self._book(tally)

    async def whole(self, body: Mapping[str, Any]) -> tuple[Event, Tally]:
        """The answer at once. Raises ApiError."""
        async with aclosing(self.events(body)) as events:
            async for event, tally in events:
                found = event, tally
        return found

    def _book(self, tally: Tally) -> None:
        usage = tally.usage if tally.first is not None or tally.status in (200, _CANCELLED) else Usage(0, 0)
        first = None if tally.first is None else round(1000 * (tally.first - tally.begun))
        total = round(1000 * (time.monotonic() - tally.begun))
        tokens = (usage.prompt_tokens, usage.answer_tokens)
        left = tally.status == _CANCELLED
        caller, name = self.caller, self.model.name
        use = Use(caller.key_id, caller.asker, self.surface, name, *tokens, first, total, tally.status, left)
        book(self.request, use)


async def with_errors_told(
    pieces: AsyncGenerator[Event, None], request_id: str
) -> AsyncGenerator[Mapping[str, Any], None]:
    """`pieces`, and what fails on the way as the last: the status is sent already."""
    async with aclosing(pieces):
        try:
            async for piece in pieces:
                yield piece
        except Exception as error:
            yield envelope(api_error(error), request_id)


def said_in(choice: Any) -> str:
    """The text of a choice, whatever kind of object it stands in."""
    if not isinstance(choice, dict):
        return ""
    message = choice.get("delta") or choice.get("message") or {}
    text = choice.get("text", message.get("content") if isinstance(message, dict) else None)
    return text if isinstance(text, str) else ""


def finish_in(choice: Any) -> str | None:
    """Why a choice ends, where it does."""
    reason = choice.get("finish_reason") if isinstance(choice, dict) else None
    return reason if isinstance(reason, str) else None


def _bytes_read(body: Mapping[str, Any]) -> int:
    prompt = body.get("prompt")
    return len((prompt if isinstance(prompt, str) else json.dumps(body.get("messages", ""))).encode())
