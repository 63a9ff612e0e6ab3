# SPDX-License-Identifier: AGPL-3.0-or-later
"""The gateway: whether it is there, and one answer to one question, with what the model's server said itself."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, PlainTextResponse

from context_chat_backend.completing.models import Role, ServedModel
from context_chat_backend.domain import KeyScope, Usage
from context_chat_backend.errors import ModelFailure
from context_chat_backend.inference.relaying.shapes import usage_of
from context_chat_backend.ports import Exchange
from context_chat_backend.web.callers import may_use
from context_chat_backend.web.envelope import ApiError
from context_chat_backend.web.errors import AGAIN
from context_chat_backend.web.gateway_wire import GatewayChat
from context_chat_backend.web.gathered import Gathered, gathered, share_of
from context_chat_backend.web.passed import Event, Heard, Passed, finish_in, said_in
from context_chat_backend.web.program_route import OpenRoute, ProgramRoute, Ready, caller_for, while_listening
from context_chat_backend.web.safe import judge_answer, judge_question
from context_chat_backend.web.sse import as_envelope, begun, errors_last, event_stream
from context_chat_backend.wiring import Backend

HERE = "Backend service for Refact is running!"
SURFACE = "gateway"
router = APIRouter(route_class=ProgramRoute)
open_router = APIRouter(route_class=OpenRoute)


@open_router.get("/", response_class=PlainTextResponse)
async def gateway_here() -> str:
    """Whether the gateway runs; no model is asked."""
    return HERE


@open_router.get("/health")
async def gateway_health(request: Request) -> JSONResponse:
    """Whether the model that completes code would answer now; open to everybody."""
    backend: Backend = request.app.state.backend
    server = "ok" if backend.health.ready else "loading"
    model = _state(await backend.passing_check.failure()) if backend.health.ready else "loading"
    status = "ok" if (server, model) == ("ok", "ok") else "error"
    body = {"status": status, "components": {"server": {"status": server}, "llm": {"status": model}}}
    return JSONResponse(body, 200 if status == "ok" else 503, None if status == "ok" else AGAIN)


@router.post("/api/refact/chat", response_model=None)
async def refact_chat(request: Request, body: GatewayChat, backend: Ready) -> Any:
    """What a model writes after a prompt, or answers to messages; with the server's own answer beside it."""
    role = Role.CHAT if body.messages else Role.COMPLETION
    caller = await caller_for(KeyScope(role))(request)
    most = backend.config.gateway.max_prompt_chars
    if len(body.prompt or "") + sum(len(one.content) for one in body.messages or ()) > most:
        raise ApiError(400, "invalid_value", f"prompt: it has at most {most} characters", param="prompt")
    model = backend.passing.models.named(body.model, role)
    may_use(caller, model.name)
    await judge_question(backend, caller, body.question, body.sent_along, whole=not body.stream)
    wanted = body.retrieval
    if wanted is None:
        wanted = caller.collections is not None and role is Role.CHAT
    found = await gathered(backend, caller, body.question, wanted, given=body.given, names=body.names)
    asked = asked_of(body, model, found)
    exchange = Exchange.CHAT if body.messages else Exchange.TEXT
    passed = Passed(request, caller, SURFACE, model, exchange, found.scope)
    if not body.stream:

        async def check(raw: Event) -> None:
            await judge_answer(backend, caller, body.question, said_in(next(iter(raw["choices"]), {})))
            await found.check(backend, caller)  # last: a judge takes its time

        raw, account = await while_listening(request, passed.whole(asked, check))
        return _whole(model, found, raw, account.usage)
    events = passed.events(asked, lambda _: found.check(backend, caller))
    pieces = _pieces(await begun(request, events), found)
    return event_stream(errors_last(pieces, as_envelope(request)))


def asked_of(body: GatewayChat, model: ServedModel, found: Gathered) -> dict[str, Any]:
    """What the model is asked."""
    asked = body.passed_on(model, body.max_tokens)
    share = share_of(model.context_tokens)
    if not body.messages:
        return asked | {"prompt": found.in_code(model.template, share) + (body.prompt or "")}
    messages = [{"role": one.role, "content": one.content} for one in body.messages]
    said = found.in_words(share)
    return asked | {"messages": [*([{"role": "system", "content": said}] if said else []), *messages]}


def _whole(model: ServedModel, found: Gathered, raw: Mapping[str, Any], usage: Usage) -> dict[str, Any]:
    choice: Any = next(iter(raw["choices"]), {})
    return {
        "response": said_in(choice),
        "model": model.name,
        "finish_reason": finish_in(choice) or "stop",
        "usage": usage_of(usage),
        "sources": found.sources,
        "raw_refact_response": raw,
    }


async def _pieces(events: AsyncGenerator[Heard, None], found: Gathered) -> AsyncGenerator[Mapping[str, Any], None]:
    finish = "stop"
    async with aclosing(events):
        async for heard in events:
            for choice in heard[0]["choices"]:
                finish = finish_in(choice) or finish
                if text := said_in(choice):
                    yield {"delta": text, "done": False}
    usage = usage_of(heard[1].usage)
    yield {"delta": "", "done": True, "finish_reason": finish, "usage": usage, "sources": found.sources}


def _state(failure: ModelFailure | None) -> str:
    if failure is None:
        return "ok"
    return "loading" if failure is ModelFailure.LOADING else "error"
