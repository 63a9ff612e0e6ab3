# SPDX-License-Identifier: AGPL-3.0-or-later
"""One message of a conversation about plans: answered at once, or as events while it is worked on."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Any

from fastapi import Request
from fastapi.responses import StreamingResponse

from context_chat_backend.answering.planner.architect import Notify
from context_chat_backend.answering.planner.model_help import Spent
from context_chat_backend.domain import Scope
from context_chat_backend.store.planning import Turn
from context_chat_backend.store.uses import Use
from context_chat_backend.web.account import book
from context_chat_backend.web.callers import Caller
from context_chat_backend.web.envelope import CANCELLED
from context_chat_backend.web.guarding import guarded_work, still_allowed
from context_chat_backend.web.planner_route import PlannerRoute, owner_of
from context_chat_backend.web.sse import Event, event_stream
from context_chat_backend.wiring import Backend

_MOST_BEFORE = 30
SURFACE = "planner"
"""As uses are booked."""


@dataclass(frozen=True)
class Said:
    """A message to be answered."""

    request: Request
    caller: Caller
    scope: Scope
    """Its documents are found within."""
    conversation: uuid.UUID
    text: str


async def answered(backend: Backend, said: Said, notify: Notify | None = None) -> dict[str, Any]:
    """The answer, once it is kept; messages of one conversation are answered one after the other.

    `notify` is told how far it is, and tells the caller; without one he hears nothing before the whole answer.
    What it took is booked, however it ends. Raises ConversationGone, ConversationBusy, DatabaseUnavailable, and
    ApiError (401, 404) when the caller may not have it any more.
    """
    begun, status, spent = time.monotonic(), CANCELLED, Spent()
    first_ms: int | None = None

    def tell(kind: str, about: dict[str, Any]) -> None:
        nonlocal first_ms
        if notify is not None:
            first_ms = _milliseconds_since(begun) if first_ms is None else first_ms
            notify(kind, about)

    try:
        look = still_allowed(backend, said.caller, said.scope)
        body = await guarded_work(_in_turn(backend, said, tell, spent), look)
        status = 200
    except Exception as error:
        status = PlannerRoute.told(error).status_code
        raise
    finally:
        total_ms = _milliseconds_since(begun)
        if status == 200 and first_ms is None:
            first_ms = total_ms
        used = Use(
            said.caller.key_id,
            said.caller.asker,
            SURFACE,
            spent.model,
            spent.prompt_tokens,
            spent.answer_tokens,
            first_ms,
            total_ms,
            status,
            cancelled=status == CANCELLED,
        )
        book(said.request, used)
    return body


def _milliseconds_since(moment: float) -> int:
    return round(1000 * (time.monotonic() - moment))


async def _in_turn(backend: Backend, said: Said, notify: Notify, spent: Spent) -> dict[str, Any]:
    owner, settings = owner_of(said.caller), backend.config.planner
    turn = await backend.planning.hold(
        owner, said.conversation, patience=settings.wait_seconds, lease=settings.turn_seconds
    )
    try:
        return await _answered(backend, said, turn, notify, spent)
    except BaseException:
        # Also when the caller has left: the next message must not wait until the lease ends.
        await asyncio.shield(backend.planning.release(owner, turn))
        raise


async def _answered(backend: Backend, said: Said, turn: Turn, notify: Notify, spent: Spent) -> dict[str, Any]:
    owner = owner_of(said.caller)
    before: list[str] = []
    if backend.planner.uses_model:
        kept = await backend.planning.messages(owner, turn.conversation)
        before = [one.text for one in kept if one.role == "user" and one.text is not None][-_MOST_BEFORE:]
    reply = await backend.planner.reply(owner.asker, said.scope, said.text, turn.state, before, notify, spent)
    metadata = {
        "response_type": reply.kind,
        "questions": list(reply.questions),
        "deployment_plan": reply.plan,
        "workload_spec": reply.workload,
    }
    message_id = await backend.planning.add(
        owner, turn, said.text, reply.text, metadata=metadata, state=reply.state, refs=reply.sources
    )
    return {
        "conversation_id": str(turn.conversation),
        "response": reply.text,
        "message_id": str(message_id),
        **metadata,
    }


def streamed(backend: Backend, said: Said) -> StreamingResponse:
    """The answer as events: status, tool_call, tool_result, delta, result (the whole), done."""
    return event_stream(_events(backend, said), named=True)


async def _events(backend: Backend, said: Said) -> AsyncGenerator[Event, None]:
    waiting: asyncio.Queue[Event | None] = asyncio.Queue()

    def notify(kind: str, about: dict[str, Any]) -> None:
        waiting.put_nowait({"event": kind, "data": about})

    answering = asyncio.create_task(answered(backend, said, notify))
    answering.add_done_callback(lambda _task: waiting.put_nowait(None))
    try:
        while (event := await waiting.get()) is not None:
            yield event
        try:
            body = answering.result()
        except Exception as error:
            told = PlannerRoute.told(error)
            yield {"event": "error", "data": {"code": told.code, "message": told.detail}}
        else:
            for line in body["response"].splitlines(keepends=True):
                yield {"event": "delta", "data": {"text": line}}
            yield {"event": "result", "data": body}
        yield {"event": "done", "data": {}}
    finally:
        answering.cancel()
        await asyncio.gather(answering, return_exceptions=True)
