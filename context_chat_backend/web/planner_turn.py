# SPDX-License-Identifier: AGPL-3.0-or-later
"""One message of a conversation about plans: answered at once, or as events while it is worked on."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncGenerator
from typing import Any

from fastapi.responses import StreamingResponse

from context_chat_backend.answering.planner.architect import Notify
from context_chat_backend.domain import Scope
from context_chat_backend.logs import get_logger
from context_chat_backend.store.conversations import Owner
from context_chat_backend.store.planning import Turn
from context_chat_backend.web.planner_route import PlannerRoute
from context_chat_backend.web.sse import Event, event_stream
from context_chat_backend.wiring import Backend

_PATIENCE_SECONDS = 60.0
_MOST_BEFORE = 30
_log = get_logger(__name__)


async def answered(
    backend: Backend,
    owner: Owner,
    scope: Scope,
    id_: uuid.UUID,
    message: str,
    notify: Notify = lambda _kind, _about: None,
) -> dict[str, Any]:
    """The answer, once it is kept; messages of one conversation are answered one after the other.

    Its documents are found within `scope`.

    Raises ConversationGone, ConversationBusy, DatabaseUnavailable.
    """
    turn = await backend.planning.hold(owner, id_, patience=_PATIENCE_SECONDS)
    try:
        return await _answered(backend, owner, scope, turn, message, notify)
    except BaseException:
        # Also when the caller has left: the next message must not wait until the lease ends.
        await asyncio.shield(backend.planning.release(owner, turn))
        raise


async def _answered(
    backend: Backend, owner: Owner, scope: Scope, turn: Turn, message: str, notify: Notify
) -> dict[str, Any]:
    before: list[str] = []
    if backend.planner.uses_model:
        kept = await backend.planning.messages(owner, turn.conversation)
        before = [one.text for one in kept if one.role == "user" and one.text is not None][-_MOST_BEFORE:]
    reply = await backend.planner.reply(owner.asker, scope, message, turn.state, before, notify)
    metadata = {
        "response_type": reply.kind,
        "questions": list(reply.questions),
        "deployment_plan": reply.plan,
        "workload_spec": reply.workload,
    }
    message_id = await backend.planning.add(
        owner, turn, message, reply.text, metadata=metadata, state=reply.state, refs=reply.sources
    )
    _log.info("planner_answered", kind=reply.kind, asker_realm=owner.asker.realm)
    return {
        "conversation_id": str(turn.conversation),
        "response": reply.text,
        "message_id": str(message_id),
        **metadata,
    }


def streamed(backend: Backend, owner: Owner, scope: Scope, id_: uuid.UUID, message: str) -> StreamingResponse:
    """The answer as events: status, tool_call, tool_result, delta, result (the whole), done."""
    return event_stream(_events(backend, owner, scope, id_, message), named=True)


async def _events(
    backend: Backend, owner: Owner, scope: Scope, id_: uuid.UUID, message: str
) -> AsyncGenerator[Event, None]:
    told: asyncio.Queue[Event | None] = asyncio.Queue()

    def notify(kind: str, about: dict[str, Any]) -> None:
        told.put_nowait({"event": kind, "data": about})

    answering = asyncio.create_task(answered(backend, owner, scope, id_, message, notify))
    answering.add_done_callback(lambda _task: told.put_nowait(None))
    try:
        while (event := await told.get()) is not None:
            yield event
        try:
            body = answering.result()
        except Exception as error:
            said = PlannerRoute.told(error)
            yield {"event": "error", "data": {"code": said.code, "message": said.detail}}
        else:
            for line in body["response"].splitlines(keepends=True):
                yield {"event": "delta", "data": {"text": line}}
            yield {"event": "result", "data": body}
        yield {"event": "done", "data": {}}
    finally:
        answering.cancel()
        await asyncio.gather(answering, return_exceptions=True)
