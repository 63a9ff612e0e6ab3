# SPDX-License-Identifier: AGPL-3.0-or-later
"""Programs ask as they ask OpenAI: POST /v1/chat/completions and GET /v1/models."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from fastapi import APIRouter, Request

from context_chat_backend.completing.models import Role
from context_chat_backend.domain import Question
from context_chat_backend.web.booking import booked
from context_chat_backend.web.callers import may_use
from context_chat_backend.web.chat_wire import MAX_TOP_K, Retrieval
from context_chat_backend.web.completion import Completion
from context_chat_backend.web.conversations_api import place_of
from context_chat_backend.web.envelope import ApiError
from context_chat_backend.web.openai_wire import ChatRequest
from context_chat_backend.web.program_route import AnyCaller, ChatCaller, Ready
from context_chat_backend.web.rates import RatedRoute
from context_chat_backend.web.relayed_chat import relayed_chat
from context_chat_backend.web.scopes import scope_of
from context_chat_backend.wiring import Backend

WITH_DOCUMENTS = "+docs"
"""What is put behind the name of a model by clients that cannot send `retrieval`."""

router = APIRouter(route_class=RatedRoute)


@router.post("/v1/chat/completions", response_model=None)
async def chat_completions(request: Request, body: ChatRequest, backend: Ready, caller: ChatCaller) -> Any:
    """An answer, at once or as it is written; from what the key may read, where `retrieval` says so."""
    with_documents = body.model.endswith(WITH_DOCUMENTS)
    served = backend.passing.models.named(body.model.removesuffix(WITH_DOCUMENTS), Role.CHAT)
    may_use(caller, served.name)
    retrieves = body.retrieval if body.retrieval is not None else with_documents or caller.collections is not None
    if body.is_passed_on or served.name not in backend.language_models:
        return await relayed_chat(request, body, backend, caller, served, retrieves=bool(retrieves))
    question = Question(
        body.question,
        caller.asker,
        instructions=body.instructions,
        turns=body.turns,
        sampling=body.sampling,
        model=served.name if body.model.removesuffix(WITH_DOCUMENTS) else "",
        searches=bool(retrieves),
        given=body.given,
    )
    place = await place_of(backend, caller, body)
    if retrieves or body.context:
        wanted = body.retrieval if isinstance(body.retrieval, Retrieval) else None
        question = replace(
            question,
            scope=await scope_of(backend, caller, None if wanted is None else wanted.collections),
            limit=MAX_TOP_K if wanted is None else wanted.top_k,
        )
        events = backend.stream_answer(question, place=place)
    else:
        events = backend.stream_chat(question, place)
    completion = Completion(body.model or backend.language_models[0], body.conversation, body.names)
    events = booked(events, question, request, caller, "openai")
    if not body.stream:
        return await completion.at_once(request, events)
    return await completion.streamed(request, events, wants_usage=body.wants_usage)


@router.get("/v1/models")
async def models(backend: Ready, caller: AnyCaller) -> dict[str, object]:
    """The models there are, by what they are for."""
    models = backend.passing.models
    roles = models.roles_of
    data = [_told(one.name, one.context_tokens, [*roles(one.name)]) for one in models.all]
    data.append(_told(backend.embedding_model, None, ["embedding"]))
    return {"object": "list", "data": [one for one in data if not caller.models or one["id"] in caller.models]}


def _told(name: str, context_tokens: int | None, capabilities: list[str]) -> dict[str, object]:
    size = {} if context_tokens is None else {"n_ctx": context_tokens}
    head = {"id": name, "object": "model", "created": 0, "owned_by": "context-chat"}
    return {**head, "capabilities": capabilities, **size}


def model_named(backend: Backend, name: str) -> str:
    """The language model that is meant, '' for the first. Raises ApiError (400)."""
    if name and name not in backend.language_models:
        raise ApiError(
            400, "model_not_found", f"model: there is no model {name[:200]!r}: GET /v1/models", param="model"
        )
    return name
