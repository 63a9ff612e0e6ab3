# SPDX-License-Identifier: AGPL-3.0-or-later
"""Programs begin, read, export and delete conversations of their own: /v1/conversations."""

from __future__ import annotations

import uuid
from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field

from context_chat_backend.answering.memory import Place
from context_chat_backend.domain import EVERYBODY
from context_chat_backend.store.conversations import MAX_TITLE_CHARACTERS, Owner
from context_chat_backend.web.callers import Caller, nobody
from context_chat_backend.web.chat_wire import CONVERSATION, Text
from context_chat_backend.web.conversation_wire import MAX_PAGE, described, export, whole
from context_chat_backend.web.envelope import ApiError
from context_chat_backend.web.openai_wire import ChatRequest
from context_chat_backend.web.program_route import ChatCaller, ProgramRoute, Ready
from context_chat_backend.wiring import Backend

_PAGE = 50

router = APIRouter(route_class=ProgramRoute)


class NewConversation(BaseModel):
    """The body of POST /v1/conversations."""

    title: Annotated[Text, Field(max_length=MAX_TITLE_CHARACTERS)] = ""


@router.post("/v1/conversations")
async def begin(backend: Ready, caller: ChatCaller, body: NewConversation | None = None) -> dict[str, Any]:
    """A new conversation; its id is named in chat completions."""
    _require_kept(backend)
    return described(await backend.conversations.begin(owner_of(caller), body.title if body else ""))


@router.get("/v1/conversations")
async def listed(
    backend: Ready,
    caller: ChatCaller,
    limit: Annotated[int, Query(ge=1, le=MAX_PAGE)] = _PAGE,
    after: str | None = None,
) -> dict[str, Any]:
    """The caller's conversations, the latest first, in pages."""
    last = None if after is None else _id(after)
    found = await backend.conversations.all(owner_of(caller), limit=limit + 1, after=last)
    return {"object": "list", "data": [described(one) for one in found[:limit]], "has_more": len(found) > limit}


@router.get("/v1/conversations/export")
async def exported(backend: Ready, caller: ChatCaller) -> dict[str, Any]:
    """All of the caller's conversations with their messages."""
    return {"object": "list", "data": await export(backend, owner_of(caller))}


@router.get("/v1/conversations/{conversation}")
async def read(backend: Ready, caller: ChatCaller, conversation: str) -> dict[str, Any]:
    """One conversation with its messages."""
    id_, owner = _id(conversation), owner_of(caller)
    found = await backend.conversations.one(owner, id_)
    if found is None:
        raise _not_found()
    return whole(found, await backend.conversations.messages(owner, id_))


@router.delete("/v1/conversations/{conversation}")
async def delete(backend: Ready, caller: ChatCaller, conversation: str) -> dict[str, Any]:
    """Delete one conversation."""
    if not await backend.conversations.delete(owner_of(caller), _id(conversation)):
        raise _not_found()
    return {"id": conversation, "object": "conversation.deleted", "deleted": True}


@router.delete("/v1/conversations")
async def delete_all(backend: Ready, caller: ChatCaller) -> dict[str, Any]:
    """Delete all of the caller's conversations."""
    return {"object": "conversations.deleted", "deleted": await backend.conversations.delete_all(owner_of(caller))}


def owner_of(caller: Caller) -> Owner:
    """Whose conversations they are: those of a user; of a key alone, when it is kept to some collections.

    Raises ApiError (401) for who asks without a name.
    """
    if caller.asker == EVERYBODY:
        nobody(allowed=False)
    return Owner(caller.asker, caller.key_id or "" if caller.collections is not None else "")


async def place_of(backend: Backend, caller: Caller, body: ChatRequest) -> Place | None:
    """Where a chat completion belongs; None when it names no conversation. Raises ApiError (400, 404)."""
    if body.conversation is None:
        return None
    _require_kept(backend)
    if body.turns:
        raise ApiError(
            400,
            "invalid_value",
            "messages: in a conversation the new question is sent alone; what was said before is known",
            param="messages",
        )
    owner, id_ = owner_of(caller), _id(body.conversation)
    if await backend.conversations.one(owner, id_) is None:
        raise _not_found("conversation")
    return Place(owner, id_)


def _id(text: str) -> uuid.UUID:
    """Raises ApiError (404) for what is no id of ours."""
    found = CONVERSATION.fullmatch(text)
    if found is None:
        raise _not_found()
    return uuid.UUID(hex=found[1])


def _require_kept(backend: Backend) -> None:
    if not backend.keeps_conversations:
        raise ApiError(
            400,
            "conversations_off",
            "conversation: none are kept here: the administrator has set conversation_days to 0",
            param="conversation",
        )


def _not_found(param: str | None = None) -> ApiError:
    return ApiError(404, "conversation_not_found", "there is no such conversation of yours", param=param)
