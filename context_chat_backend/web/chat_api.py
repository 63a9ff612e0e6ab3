# SPDX-License-Identifier: AGPL-3.0-or-later
"""Widgets and client libraries ask the documents of the collection of their key: POST /chat, and what belongs to it."""

from __future__ import annotations

import hashlib
import uuid
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Header, Path, Request, Response
from pydantic import BaseModel, ConfigDict, Field, StrictStr, StringConstraints

from context_chat_backend.answering.memory import Place
from context_chat_backend.domain import Choice, Question
from context_chat_backend.web.booking import booked
from context_chat_backend.web.callers import Caller
from context_chat_backend.web.chat_reply import ChatReply
from context_chat_backend.web.chat_route import ChatRoute
from context_chat_backend.web.chat_wire import Text
from context_chat_backend.web.conversation_wire import said_in
from context_chat_backend.web.conversations_api import owner_of
from context_chat_backend.web.envelope import ApiError
from context_chat_backend.web.program_route import ChatCaller, Ready
from context_chat_backend.web.scopes import scope_of

MAX_MESSAGE_CHARACTERS = 8000
_SESSION = r"^[A-Za-z0-9._:-]{1,128}$"
_REQUEST = r"^[A-Za-z0-9._-]{1,128}$"

router = APIRouter(route_class=ChatRoute)

Session = Annotated[str, StringConstraints(pattern=_SESSION)]
Trimmed = StringConstraints(strip_whitespace=True, min_length=1, max_length=MAX_MESSAGE_CHARACTERS)


class ChatMessage(BaseModel):
    """The body of POST /chat; members we do not know are passed over."""

    model_config = ConfigDict(json_schema_extra={"example": {"message": "When is the office open?", "stream": False}})

    message: Annotated[StrictStr, Trimmed, *Text.__metadata__]
    stream: bool = True
    session_id: Session | None = None
    top_k: Annotated[int, Field(ge=1, le=20)] | None = None


class Stop(BaseModel):
    """The body of POST /chat/stop."""

    request_id: Annotated[str, StringConstraints(pattern=_REQUEST)]


class Feedback(BaseModel):
    """The body of POST /chat/feedback."""

    request_id: Annotated[str, StringConstraints(pattern=_REQUEST)]
    rating: Literal["up", "down"]
    comment: Annotated[Text, Field(max_length=4000)] = ""


@router.post("/chat", response_model=None)
async def chat(
    request: Request,
    body: ChatMessage,
    backend: Ready,
    caller: ChatCaller,
    x_session_id: Annotated[Session | None, Header()] = None,
) -> Any:
    """An answer from the collection of the key, as it is written or, where that is not wanted, at once."""
    settings = backend.config.chat
    request.state.session_id = x_session_id or body.session_id
    # Who asks without a key shares one name with all others who do: nothing is kept for them.
    session = None if caller.key_id is None else request.state.session_id
    looked_at = max(settings.candidates, body.top_k or 0)
    question = Question(
        body.message,
        caller.asker,
        scope=await scope_of(backend, caller, None),
        limit=body.top_k or settings.return_results,
        choice=Choice(
            count=looked_at,
            looked_at=looked_at,
            least_similarity=settings.relevance_threshold,
            nearest_first=True,
        ),
        nothing=settings.no_results,
        direct_from=settings.confidence_threshold if settings.direct_answer else None,
    )
    place = None
    if session is not None and backend.keeps_conversations:
        place = _place(caller, session)
        await backend.conversations.ensure(place.owner, place.id)
    events = booked(backend.stream_answer(question, place=place), question, request, caller, "chat")
    reply = ChatReply(request.state.request_id, session)
    if body.stream or "text/event-stream" in request.headers.get("accept", ""):
        return await reply.streamed(request, events)
    return await reply.at_once(request, events)


@router.post("/chat/stop", status_code=204, response_class=Response)
async def stop(body: Stop, backend: Ready, caller: ChatCaller) -> None:
    """Let an answer to this key end, by the id of its request, within a second."""
    if caller.key_id is not None:
        await backend.uses.stop(body.request_id, caller.key_id)


@router.post("/chat/feedback", status_code=204, response_class=Response)
async def feedback(body: Feedback, backend: Ready, caller: ChatCaller) -> None:
    """Remember what was thought of an answer, by the id of its request."""
    if caller.key_id is None:
        raise _no_key("feedback")
    await backend.feedback.give(body.request_id, caller.key_id, up=body.rating == "up", comment=body.comment)


@router.get("/chat/sessions/{session_id}")
async def session(session_id: Annotated[Session, Path()], backend: Ready, caller: ChatCaller) -> dict[str, Any]:
    """What was said in a session of this key."""
    place = _place(caller, session_id)
    if await backend.conversations.one(place.owner, place.id) is None:
        raise _no_session()
    return {"session_id": session_id, "messages": said_in(await backend.conversations.messages(place.owner, place.id))}


@router.delete("/chat/sessions/{session_id}", status_code=204, response_class=Response)
async def forget_session(session_id: Annotated[Session, Path()], backend: Ready, caller: ChatCaller) -> None:
    """Forget what was said in a session of this key."""
    place = _place(caller, session_id)
    if not await backend.conversations.delete(place.owner, place.id):
        raise _no_session()


def _place(caller: Caller, session: str) -> Place:
    """The conversation of a session. Its id is made of the key and the client's name for it: nobody else's is met.

    Raises ApiError (403) for who has no key.
    """
    if caller.key_id is None:
        raise _no_key("sessions")
    owner = owner_of(caller)
    digest = hashlib.sha256(f"{caller.key_id}\0{caller.asker}\0{session}".encode()).digest()
    return Place(owner, uuid.UUID(bytes=digest[:16]))


def _no_key(what: str) -> ApiError:
    return ApiError(403, "scope_not_allowed", f"who asks without a key has no {what} of his own")


def _no_session() -> ApiError:
    return ApiError(404, "session_not_found", "there is no such session of this key")
