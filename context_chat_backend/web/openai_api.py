# SPDX-License-Identifier: AGPL-3.0-or-later
"""Programs ask as they ask OpenAI: POST /v1/chat/completions and GET /v1/models."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from dataclasses import replace
from typing import Any

from fastapi import APIRouter, Request

from context_chat_backend.domain import (
    EVERYTHING,
    Answer,
    AnswerEvent,
    ApiKey,
    Collection,
    Delta,
    Done,
    Question,
    Retrieved,
    Scope,
)
from context_chat_backend.web.chat_wire import MAX_TOP_K, ChatRequest, Completion, Retrieval
from context_chat_backend.web.conversations_api import place_of
from context_chat_backend.web.envelope import ApiError, api_error, envelope
from context_chat_backend.web.program_route import AnyKey, ChatKey, ProgramRoute, Ready, while_listening
from context_chat_backend.web.sse import event_stream
from context_chat_backend.wiring import Backend

WITH_DOCUMENTS = "+docs"
"""What is put behind the name of a model by clients that cannot send `retrieval`."""

router = APIRouter(route_class=ProgramRoute)


@router.post("/v1/chat/completions", response_model=None)
async def chat_completions(request: Request, body: ChatRequest, backend: Ready, key: ChatKey) -> Any:
    """An answer, at once or as it is written; from what the key may read, where `retrieval` says so."""
    name, with_documents = _model(backend, body.model)
    question = Question(
        body.question,
        key.asker,
        instructions=body.instructions,
        turns=body.turns,
        sampling=body.sampling,
        model=name,
    )
    place = await place_of(backend, key, body)
    if body.retrieval if body.retrieval is not None else with_documents or bool(key.collections):
        wanted = body.retrieval if isinstance(body.retrieval, Retrieval) else None
        question = replace(
            question,
            scope=await _scope(backend, key, wanted),
            limit=MAX_TOP_K if wanted is None else wanted.top_k,
        )
        events = backend.stream_answer(question, place=place)
    else:
        events = backend.stream_chat(question, place)
    completion = Completion(body.model or backend.language_models[0], body.conversation)
    if not body.stream:
        return completion.whole(await while_listening(request, _whole(events)))
    wants_usage = body.stream_options is not None and body.stream_options.include_usage
    first = await while_listening(request, anext(events))  # what is wrong before it has its own status
    return event_stream(_pieces(completion, first, events, wants_usage, request.state.request_id))


@router.get("/v1/models")
async def models(backend: Ready, _: AnyKey) -> dict[str, object]:
    """The models there are, by what they are for."""
    listed = [(name, "chat") for name in backend.language_models] + [(backend.embedding_model, "embedding")]
    data = [
        {"id": name, "object": "model", "created": 0, "owned_by": "context-chat", "capabilities": [capability]}
        for name, capability in dict.fromkeys(listed)
    ]
    return {"object": "list", "data": data}


def _model(backend: Backend, asked: str) -> tuple[str, bool]:
    """The language model that is meant ('' for the first), and whether documents are. Raises ApiError (400)."""
    name = asked.removesuffix(WITH_DOCUMENTS)
    if name and name not in backend.language_models:
        raise ApiError(
            400, "model_not_found", f"model: there is no model {name[:200]!r}: GET /v1/models", param="model"
        )
    return name, name != asked


async def _scope(backend: Backend, key: ApiKey, wanted: Retrieval | None) -> Scope:
    """What the question may be answered from beside the rights of the key. Raises ApiError (403)."""
    if wanted is None or wanted.collections is None:
        return Scope(providers=tuple(one.provider for one in key.collections)) if key.collections else EVERYTHING
    return Scope(providers=tuple([(await _allowed(backend, key, name)).provider for name in wanted.collections]))


async def _allowed(backend: Backend, key: ApiKey, name: str) -> Collection:
    """The collection, when the key may read it. One that is not there is refused in the same words."""
    try:
        collection = Collection(name)
        found = await backend.collections.readers(collection)
    except ValueError:
        found = None
    is_kept_out = bool(key.collections) and name not in {one.name for one in key.collections}
    if found is None or is_kept_out or key.asker not in found.readers:
        raise ApiError(
            403, "collection_not_allowed", "a collection that was named cannot be read", param="retrieval.collections"
        )
    return collection


async def _whole(events: AsyncGenerator[AnswerEvent, None]) -> Answer:
    async with aclosing(events):
        async for event in events:
            if isinstance(event, Done):
                return event.answer
    raise AssertionError("an answer ends with Done")


async def _pieces(
    completion: Completion,
    first: AnswerEvent,
    events: AsyncGenerator[AnswerEvent, None],
    wants_usage: bool,
    request_id: str,
) -> AsyncGenerator[Mapping[str, Any], None]:
    """The chunks of a stream; what fails on the way is its last."""
    async with aclosing(events):
        yield completion.first()
        try:
            for chunk in _chunks(completion, first, wants_usage):
                yield chunk
            async for event in events:
                for chunk in _chunks(completion, event, wants_usage):
                    yield chunk
        except Exception as error:  # the status is sent already
            yield envelope(api_error(error), request_id)


def _chunks(completion: Completion, event: AnswerEvent, wants_usage: bool) -> list[dict[str, Any]]:
    match event:
        case Delta(text):
            return [completion.text(text)]
        case Done(answer):
            return [completion.last(answer), *([completion.usage(answer)] if wants_usage else [])]
        case Retrieved() | _:
            return []
