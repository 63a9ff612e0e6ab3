# SPDX-License-Identifier: AGPL-3.0-or-later
"""Conversations about plans: /api/v1/chat."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from context_chat_backend.store.conversations import Conversation
from context_chat_backend.store.planning import PlanMessage
from context_chat_backend.web.chat_wire import Text
from context_chat_backend.web.planner_route import (
    MessagesCaller,
    PlannerCaller,
    PlannerRoute,
    StartCaller,
    conversation_id,
    owner_of,
)
from context_chat_backend.web.planner_turn import Said, answered, streamed
from context_chat_backend.web.program_route import Ready
from context_chat_backend.web.scopes import scope_of

GREETING = "Conversation started. How can I help you deploy your workload?"
_PAGE, _MAX_PAGE = 50, 200
_MAX_TITLE, _MAX_MESSAGE = 200, 8000

router = APIRouter(route_class=PlannerRoute)
Title = Annotated[Text, Field(max_length=_MAX_TITLE)]


def _not_blank(text: str) -> str:
    if not text.strip():
        raise ValueError("it is blank")
    return text


class Start(BaseModel):
    """The body of POST /api/v1/chat/start."""

    model_config = ConfigDict(extra="forbid")

    title: Title = ""


class Renaming(BaseModel):
    """The body of PATCH /api/v1/chat/{id}."""

    model_config = ConfigDict(extra="forbid")

    title: Title


class NewMessage(BaseModel):
    """The body of POST /api/v1/chat/message."""

    model_config = ConfigDict(extra="forbid")

    conversation_id: str
    message: Annotated[Text, Field(min_length=1, max_length=_MAX_MESSAGE), AfterValidator(_not_blank)]


@router.post("/api/v1/chat/start")
async def start(backend: Ready, caller: StartCaller, body: Start | None = None) -> dict[str, Any]:
    """A new conversation of the caller."""
    begun = await backend.planning.begin(owner_of(caller), body.title if body else "")
    return {"conversation_id": str(begun.id), "message": GREETING}


@router.post("/api/v1/chat/message", response_model=None)
async def message(request: Request, backend: Ready, caller: MessagesCaller, body: NewMessage) -> Any:
    """The answer to a message: questions, a plan, or why there is none; as events where they are accepted."""
    id_ = conversation_id(body.conversation_id)
    await backend.planning.one(owner_of(caller), id_)
    said = Said(request, caller, await scope_of(backend, caller, None), id_, body.message)
    if "text/event-stream" in request.headers.get("accept", ""):
        return streamed(backend, said)
    return await answered(backend, said)


@router.get("/api/v1/chat")
async def listed(
    backend: Ready,
    caller: PlannerCaller,
    limit: Annotated[int, Query(ge=1, le=_MAX_PAGE)] = _PAGE,
    before: str | None = None,
) -> dict[str, Any]:
    """The caller's conversations, the latest first, in pages."""
    after = None if before is None else conversation_id(before)
    found = await backend.planning.all(owner_of(caller), limit=limit + 1, before=after)
    page = found[:limit]
    return {
        "conversations": [
            {
                "conversation_id": str(one.id),
                "title": one.title or None,
                "updated_at": one.updated_at.isoformat(),
                "message_count": one.messages,
            }
            for one in page
        ],
        "next": str(page[-1].id) if len(found) > limit else None,
    }


@router.get("/api/v1/chat/{conversation}")
async def whole(backend: Ready, caller: PlannerCaller, conversation: str) -> dict[str, Any]:
    """One conversation with its messages, oldest first."""
    owner, id_ = owner_of(caller), conversation_id(conversation)
    found = await backend.planning.one(owner, id_)
    said = await backend.planning.messages(owner, id_)
    return _described(found) | {"messages": [_as_json(one) for one in said]}


@router.patch("/api/v1/chat/{conversation}")
async def rename(backend: Ready, caller: PlannerCaller, conversation: str, body: Renaming) -> dict[str, Any]:
    """Give a conversation another title."""
    return _described(await backend.planning.rename(owner_of(caller), conversation_id(conversation), body.title))


@router.delete("/api/v1/chat/{conversation}", status_code=204)
async def delete(backend: Ready, caller: PlannerCaller, conversation: str) -> Response:
    """Delete a conversation with its messages."""
    await backend.planning.delete(owner_of(caller), conversation_id(conversation))
    return Response(status_code=204)


def _described(conversation: Conversation) -> dict[str, Any]:
    return {
        "conversation_id": str(conversation.id),
        "title": conversation.title or None,
        "created_at": conversation.created_at.isoformat(),
        "updated_at": conversation.updated_at.isoformat(),
    }


def _as_json(message: PlanMessage) -> dict[str, Any]:
    return {
        "id": str(message.id),
        "role": message.role,
        "content": message.text,
        "created_at": message.created_at.isoformat(),
        "response_type": message.metadata.get("response_type"),
        "deployment_plan": message.metadata.get("deployment_plan"),
    }
