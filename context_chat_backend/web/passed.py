# SPDX-License-Identifier: AGPL-3.0-or-later
"""A request that is passed on to a model: guarded while it is answered, and booked when it ends, however it ends."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Any

from fastapi import Request

from context_chat_backend.completing.models import ServedModel
from context_chat_backend.domain import Answer, Passage, Question, Scope, Usage
from context_chat_backend.ports import Exchange
from context_chat_backend.web.account import Account
from context_chat_backend.web.callers import Caller
from context_chat_backend.web.guarding import guarded, still_allowed
from context_chat_backend.wiring import Backend

Event = dict[str, Any]
Heard = tuple[Event, Account]
Check = Callable[[Event], Awaitable[None]]
"""Raises ApiError when what came last, the whole of an answer that comes at once, may not be given."""


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
    question: Question | None = None
    """What is asked, where the exchange is written down."""
    passages: tuple[Passage, ...] = ()

    async def events(self, body: Mapping[str, Any], check: Check | None = None) -> AsyncGenerator[Heard, None]:
        """What the model answers to `body`, piece by piece, with what it took so far, and a `check` at its end.

        An answer that does not pass it is booked and written down as refused. Raises ApiError.
        """
        backend: Backend = self.request.app.state.backend
        answer = Answer("", passages=self.passages, model=self.model.name)
        account = Account(self.request, self.caller, self.surface, _bytes_read(body), self.question, answer)
        look = still_allowed(backend, self.caller, self.scope, self.request.state.request_id)
        self.request.state.model_used = self.model.name
        event: Event = {"choices": []}
        with account.kept():
            events = backend.passing.passed(self.model, self.exchange, body)
            async with aclosing(guarded(events, look)) as coming:
                async for event in coming:
                    _hear(account, event)
                    yield event, account
            if check is not None:
                await check(event)
            account.status = 200

    async def whole(self, body: Mapping[str, Any], check: Check) -> Heard:
        """The answer at once, when it passes the `check`. Raises ApiError."""
        async with aclosing(self.events(body, check)) as events:
            async for heard in events:
                found = heard
        return found


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


def _hear(account: Account, event: Event) -> None:
    account.hear()
    for place, choice in enumerate(event["choices"]):
        is_first = place == 0 and (not isinstance(choice, dict) or choice.get("index") in (None, 0))
        account.hear(said_in(choice), shown=is_first)
    used = event.get("usage")
    if isinstance(used, dict) and (read := _count(used.get("prompt_tokens"))):
        account.answer = replace(account.answer, usage=Usage(read, _count(used.get("completion_tokens"))))


def _count(told: Any) -> int:
    return told if type(told) is int and told > 0 else 0


def _bytes_read(body: Mapping[str, Any]) -> int:
    prompt = body.get("prompt")
    return len((prompt if isinstance(prompt, str) else json.dumps(body.get("messages", ""))).encode())
