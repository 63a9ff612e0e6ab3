# SPDX-License-Identifier: AGPL-3.0-or-later
"""Code at a cursor, as editors ask for it: POST /v1/code-completion."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from typing import Any

from fastapi import APIRouter, Request

from context_chat_backend.completing.code import CodeOrder, shown
from context_chat_backend.completing.editing import estimated
from context_chat_backend.completing.models import Role, ServedModel
from context_chat_backend.domain import KeyScope
from context_chat_backend.ports import Exchange
from context_chat_backend.web.callers import Caller, may_use
from context_chat_backend.web.envelope import ApiError
from context_chat_backend.web.gateway_wire import CodeRequest
from context_chat_backend.web.gathered import Gathered, gathered, share_of
from context_chat_backend.web.passed import Event, Passed, said_in
from context_chat_backend.web.program_route import CompletionCaller, ProgramRoute, Ready, caller_for, while_listening
from context_chat_backend.web.safe import judge_answer, judge_question
from context_chat_backend.web.sse import event_stream
from context_chat_backend.wiring import Backend

router = APIRouter(route_class=ProgramRoute)
_FINDS_BY = 600
"""Characters before the cursor that passages are looked for by."""


@router.post("/v1/code-completion", response_model=None)
async def code_completion(request: Request, body: CodeRequest, backend: Ready, caller: CompletionCaller) -> Any:
    """What belongs at the cursor of a file."""
    model = backend.passing.models.named(body.model, Role.COMPLETION)
    may_use(caller, model.name)
    order = _order(body)
    exchange, asked, share, found = await _asked(backend, caller, body, model, order)
    key = (caller.asker, caller.key_id, model.name, repr(sorted(asked.items())))
    kept = None if body.no_cache else backend.passing.recent.get(key)
    text, tokens = kept or ("", 0)
    if kept is None:
        await judge_question(backend, caller, order.text, (), whole=True)
        passed = Passed(request, caller, "gateway", model, exchange, found.scope)

        def taken(raw: Event) -> str:
            return order.taken(model, said_in(next(iter(raw["choices"]), {})))

        async def check(raw: Event) -> None:
            await judge_answer(backend, caller, order.text, taken(raw))
            await found.check(backend, caller)  # last: a judge takes its time

        raw, tally = await while_listening(request, passed.whole(asked, check))
        text = taken(raw)
        tokens = tally.usage.prompt_tokens
        backend.passing.recent.put(key, (text, tokens))
    choice = {"index": 0, "code_completion": text, "finish_reason": "stop"}
    about = {"n_ctx": model.context_tokens, "prompt_tokens": tokens, "rag_tokens_limit": share}
    told = {"choices": [choice], "model": model.name, "context": about | {"cached": kept is not None}}
    return event_stream(_once(told)) if body.stream else told


@router.post("/v1/code-completion-prompt")
async def code_completion_prompt(request: Request, body: CodeRequest, backend: Ready) -> dict[str, str]:
    """The prompt that is made of the same body, in development only: it may hold what others may not see."""
    caller = await caller_for(KeyScope.COMPLETION)(request)
    if backend.config.programs.environment != "development":
        raise ApiError(403, "scope_not_allowed", "prompts are shown where environment is development")
    model = backend.passing.models.named(body.model, Role.COMPLETION)
    may_use(caller, model.name)
    _, asked, _, _ = await _asked(backend, caller, body, model, _order(body))
    return {"prompt": shown(asked)}


def _order(body: CodeRequest) -> CodeOrder:
    inputs = body.inputs
    place = (inputs.sources[inputs.cursor.file], inputs.cursor.line, inputs.cursor.character)
    return CodeOrder(*place, inputs.multiline, body.parameters.temperature, body.parameters.max_new_tokens)


async def _asked(
    backend: Backend, caller: Caller, body: CodeRequest, model: ServedModel, order: CodeOrder
) -> tuple[Exchange, dict[str, Any], int, Gathered]:
    """What the model is asked, how, how many tokens passages might take, and which they are."""
    wanted = body.retrieval if body.retrieval is not None else body.rag_tokens_n > 0
    share = share_of(model.context_tokens, body.rag_tokens_n) if wanted else 0
    around = order.around(model, share)
    found = await gathered(backend, caller, around.before[-_FINDS_BY:], wanted)
    said = found.in_code(model.template, share)
    if not said and share:
        around = order.around(model, 0)
    exchange, asked = order.asked(model, around, _with_name(said, body, model))
    if estimated(shown(asked)) > model.context_tokens:
        raise ApiError(400, "context_length_exceeded", "inputs: they are longer than the model reads", param="inputs")
    return exchange, asked, share if said else 0, found


def _with_name(said: str, body: CodeRequest, model: ServedModel) -> str:
    """Where other files come first, this one has its name, too."""
    if not said or not model.template.file:
        return said
    return f"{said}{model.template.file}{model.template.without_marks(body.inputs.cursor.file)}\n"


async def _once(told: Mapping[str, Any]) -> AsyncGenerator[Mapping[str, Any], None]:
    yield told
