# SPDX-License-Identifier: AGPL-3.0-or-later
"""Programs ask as they ask OpenAI: POST /v1/chat/completions and GET /v1/models."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from fastapi import APIRouter, Request

from context_chat_backend.domain import Question
from context_chat_backend.web.booking import booked
from context_chat_backend.web.chat_wire import MAX_TOP_K, ChatRequest, Retrieval
from context_chat_backend.web.completion import Completion
from context_chat_backend.web.conversations_api import place_of
from context_chat_backend.web.envelope import ApiError
from context_chat_backend.web.program_route import AnyCaller, ChatCaller, ProgramRoute, Ready
from context_chat_backend.web.scopes import scope_of
from context_chat_backend.wiring import Backend

WITH_DOCUMENTS = "+docs"
"""What is put behind the name of a model by clients that cannot send `retrieval`."""

router = APIRouter(route_class=ProgramRoute)


@router.post("/v1/chat/completions", response_model=None)
async def chat_completions(request: Request, body: ChatRequest, backend: Ready, caller: ChatCaller) -> Any:
    """An answer, at once or as it is written; from what the key may read, where `retrieval` says so."""
    with_documents = body.model.endswith(WITH_DOCUMENTS)
    name = model_named(backend, body.model.removesuffix(WITH_DOCUMENTS))
    question = Question(
        body.question,
        caller.asker,
        instructions=body.instructions,
        turns=body.turns,
        sampling=body.sampling,
        model=name,
    )
    place = await place_of(backend, caller, body)
    if body.retrieval if body.retrieval is not None else with_documents or caller.collections is not None:
        wanted = body.retrieval if isinstance(body.retrieval, Retrieval) else None
        question = replace(
            question,
            scope=await scope_of(backend, caller, None if wanted is None else wanted.collections),
            limit=MAX_TOP_K if wanted is None else wanted.top_k,
        )
        events = backend.stream_answer(question, place=place)
    else:
        events = backend.stream_chat(question, place)
    completion = Completion(body.model or backend.language_models[0], body.conversation)
    events = booked(events, question, request, caller, "openai")
    if not body.stream:
        return await completion.at_once(request, events)
    return await completion.streamed(request, events, wants_usage=body.wants_usage)


@router.get("/v1/models")
async def models(backend: Ready, _: AnyCaller) -> dict[str, object]:
    """The models there are, by what they are for."""
    listed = [(name, "chat") for name in backend.language_models] + [(backend.embedding_model, "embedding")]
    data = [
        {"id": name, "object": "model", "created": 0, "owned_by": "context-chat", "capabilities": [capability]}
        for name, capability in dict.fromkeys(listed)
    ]
    return {"object": "list", "data": data}


def model_named(backend: Backend, name: str) -> str:
    """The language model that is meant, '' for the first. Raises ApiError (400)."""
    if name and name not in backend.language_models:
        raise ApiError(
            400, "model_not_found", f"model: there is no model {name[:200]!r}: GET /v1/models", param="model"
        )
    return name
