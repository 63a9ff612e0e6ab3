# SPDX-License-Identifier: AGPL-3.0-or-later
"""Chats that are passed on as they are, since only the model's server understands them: tools, forced formats."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from dataclasses import replace
from typing import Any

from fastapi import Request

from context_chat_backend.completing.models import ServedModel
from context_chat_backend.domain import EVERYTHING, Question, Usage
from context_chat_backend.inference.relaying.shapes import usage_of
from context_chat_backend.ports import Exchange
from context_chat_backend.web.account import Account
from context_chat_backend.web.callers import Caller
from context_chat_backend.web.completion import Completion
from context_chat_backend.web.envelope import ApiError
from context_chat_backend.web.gathered import Gathered, gathered, share_of
from context_chat_backend.web.openai_wire import ChatRequest
from context_chat_backend.web.passed import Event, Heard, Passed, finish_in, said_in
from context_chat_backend.web.program_route import while_listening
from context_chat_backend.web.safe import judge_answer, judge_question
from context_chat_backend.web.sse import as_envelope, begun, errors_last, event_stream
from context_chat_backend.wiring import Backend

_WISHES = (
    "temperature", "top_p", "stop", "n", "seed", "presence_penalty", "frequency_penalty", "response_format", "tools",
    "tool_choice", "parallel_tool_calls", "user", "reasoning_effort", "logprobs", "top_logprobs",
)  # fmt: skip
"""What is passed on as it is."""
_SURFACE = "openai"


async def relayed_chat(
    request: Request, body: ChatRequest, backend: Backend, caller: Caller, model: ServedModel, *, retrieves: bool
) -> Any:
    """The answer of the model's server, with passages before what it is asked, and what they were beside its answer."""
    if body.conversation is not None:
        raise ApiError(400, "invalid_value", "conversation: it is not kept together with tools", param="conversation")
    question = Question(body.question, caller.asker, turns=body.turns)
    with Account(request, caller, _SURFACE, 0, question).kept_if_refused():
        await judge_question(backend, caller, body.question, body.sent_along, whole=not body.stream)
    wanted = (body.retrieval or True) if retrieves else False
    found = await gathered(backend, caller, body.question, wanted, given=body.given, names=body.names)
    said = found.in_words(share_of(model.context_tokens))
    messages = [*([{"role": "system", "content": said}] if said else []), *body.passed]
    wishes = {name: body.raw[name] for name in _WISHES if body.raw.get(name) is not None}
    most = body.sampling.max_tokens or model.answer_tokens
    asked = wishes | {"messages": messages, "max_tokens": min(most, model.answer_tokens), "stream": body.stream}
    asked |= {"stream_options": {"include_usage": True}} if body.stream else {}
    question = replace(question, scope=found.scope or EVERYTHING)
    passed = Passed(request, caller, _SURFACE, model, Exchange.CHAT, found.scope, question, found.passages)
    completion = Completion(body.model or model.name)
    if not body.stream:

        async def check(raw: Event) -> None:
            text = "\n\n".join(said_in(choice) for choice in raw["choices"])
            await judge_answer(backend, caller, body.question, text)
            await found.check(backend, caller)  # last: a judge takes its time

        raw, account = await while_listening(request, passed.whole(asked, check))
        return _whole(completion, model, found, raw, account.usage)
    pieces = _pieces(completion, passed, found, await begun(request, passed.events(asked)), body.wants_usage)
    return event_stream(errors_last(pieces, as_envelope(request)))


def _whole(
    completion: Completion, model: ServedModel, found: Gathered, raw: Mapping[str, Any], usage: Usage
) -> dict[str, Any]:
    told = {"choices": raw["choices"], "usage": usage_of(usage), "context_chat": _about(model, found, usage)}
    return completion.head("chat.completion") | told


async def _pieces(
    completion: Completion, passed: Passed, found: Gathered, events: AsyncGenerator[Heard, None], wants_usage: bool
) -> AsyncGenerator[dict[str, Any], None]:
    head = completion.head("chat.completion.chunk")
    begin = {"index": 0, "delta": {"role": "assistant", "content": ""}, "logprobs": None, "finish_reason": None}
    yield head | {"choices": [begin]}
    async with aclosing(events):
        async for event, account in events:
            choices = [choice for choice in event["choices"] if isinstance(choice, dict)]
            if not choices:
                continue
            last = any(finish_in(choice) for choice in choices)
            if last:
                await found.check(passed.request.app.state.backend, passed.caller)
            about = {"context_chat": _about(passed.model, found, account.usage)} if last else {}
            yield head | {"choices": choices} | about
    if wants_usage:
        yield head | {"choices": [], "usage": usage_of(account.usage)}


def _about(model: ServedModel, found: Gathered, usage: Usage) -> dict[str, Any]:
    told = {"sources": found.sources, "citations": [], "model": model.name, "unavailable": [], "blocked": False}
    return told | {"dropped": 0, "estimated": usage.estimated}
