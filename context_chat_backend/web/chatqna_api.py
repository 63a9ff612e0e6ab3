# SPDX-License-Identifier: AGPL-3.0-or-later
"""Front ends ask as they ask OPEA's ChatQnA: POST /v1/chatqna, and whether it is there: GET /health.

Who asks: the token in `meta`, else the headers; what is sent and does not hold is refused, whatever else is sent.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from fastapi import APIRouter, Request

from context_chat_backend.answering.followups import by_rule
from context_chat_backend.domain import KeyScope, Question
from context_chat_backend.web.booking import booked
from context_chat_backend.web.callers import (
    Caller,
    acting_for,
    caller_by_headers,
    caller_by_text,
    count,
    may_use,
    nobody,
)
from context_chat_backend.web.chat_wire import Retrieval
from context_chat_backend.web.chatqna_wire import ChatQnaRequest
from context_chat_backend.web.completion import Completion
from context_chat_backend.web.envelope import ApiError, api_error
from context_chat_backend.web.openai_api import model_named
from context_chat_backend.web.places import take_place
from context_chat_backend.web.program_route import ProgramRoute, Ready, in_scope
from context_chat_backend.web.scopes import scope_of
from context_chat_backend.wiring import Backend

NAME = "chatqna"
"""What answers say they were written by, as OPEA's do."""


class _ChatQnaRoute(ProgramRoute):
    async def admit(self, backend: Backend, request: Request) -> None:
        """Whoever asks: the token may stand in the body. Raises ApiError (401)."""
        request.state.caller = await caller_by_headers(backend, request)

    @staticmethod
    def told(error: Exception) -> ApiError:
        """As everywhere, but that what is wrong in a body has the code of the specification."""
        told = api_error(error)
        if told.code == "invalid_value":
            told.code = "validation_error"
        return told


router = APIRouter(route_class=_ChatQnaRoute)


@router.post("/v1/chatqna", response_model=None)
async def chatqna(request: Request, body: ChatQnaRequest, backend: Ready) -> Any:
    """An answer from passages the caller brings and those he may read, at once or as it is written."""
    caller = in_scope(await _caller(request, backend, body.meta.token), KeyScope.CHAT)
    take_place(request, caller.key_id or caller.asker)
    await count(backend, caller)
    settings = backend.config.programs.chatqna
    name = "" if body.model == NAME else model_named(backend, body.model)
    may_use(caller, name or backend.language_models[0])
    question = Question(
        body.question,
        caller.asker,
        instructions=body.instructions,
        turns=body.turns,
        sampling=body.sampling,
        model=name,
        limit=body.top_n,
        searches=bool(body.retrieval),
        choice=body.choice,
        given=body.given,
        template=body.chat_template or "",
        alone="" if settings.rewrite_query else by_rule(body.question, body.asked_before),
        answers_alone=not settings.strict_grounding,
    )
    if body.retrieval:
        names = body.retrieval.collections if isinstance(body.retrieval, Retrieval) else None
        question = replace(question, scope=await scope_of(backend, caller, names))
    completion = Completion(NAME, names=body.names)
    events = booked(backend.stream_answer(question), question, request, caller, NAME)
    if not body.stream:
        return await completion.at_once(request, events)
    return await completion.streamed(request, events, wants_usage=body.wants_usage)


async def _caller(request: Request, backend: Backend, token: str) -> Caller:
    """Raises ApiError (401, 429)."""
    service: Caller | None = request.state.caller
    if token:
        return acting_for(await caller_by_text(backend, token), service)
    settings = backend.config.programs
    return service or nobody(allowed=settings.environment == "development" or settings.chatqna.allow_anonymous)
