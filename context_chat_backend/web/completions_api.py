# SPDX-License-Identifier: AGPL-3.0-or-later
"""Texts that are gone on with, as OpenAI's clients ask for it: POST /v1/completions."""

from __future__ import annotations

import secrets
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any

from fastapi import APIRouter, Request

from context_chat_backend.completing.models import Role, ServedModel
from context_chat_backend.domain import Usage
from context_chat_backend.inference.relaying.shapes import usage_of
from context_chat_backend.ports import Exchange
from context_chat_backend.web.callers import may_use
from context_chat_backend.web.envelope import ApiError
from context_chat_backend.web.gateway_wire import MaskedEmails, TextRequest
from context_chat_backend.web.gathered import Gathered, gathered, share_of
from context_chat_backend.web.passed import Event, Passed, finish_in, said_in
from context_chat_backend.web.program_route import CompletionCaller, ProgramRoute, Ready, while_listening
from context_chat_backend.web.safe import judge_answer, judge_question
from context_chat_backend.web.sse import as_envelope, begun, errors_last, event_stream
from context_chat_backend.wiring import Backend

router = APIRouter(route_class=ProgramRoute)


@router.post("/v1/completions", response_model=None)
async def completions(request: Request, body: TextRequest, backend: Ready, caller: CompletionCaller) -> Any:
    """What follows a text, or stands between it and a suffix, at once or as it is written."""
    model = backend.passing.models.named(body.model, Role.COMPLETION)
    may_use(caller, model.name)
    most = backend.config.gateway.max_prompt_chars
    if max(map(len, body.prompts)) + len(body.suffix or "") > most:
        raise ApiError(400, "invalid_value", f"prompt: it has at most {most} characters", param="prompt")
    await judge_question(backend, caller, body.prompts[0], body.sent_along, whole=not body.stream)
    found = await gathered(backend, caller, body.prompts[0], body.retrieval)
    before = found.in_code(model.template, share_of(model.context_tokens))
    passed = Passed(request, caller, "gateway", model, Exchange.TEXT, found.scope)
    written = _Written(backend, body, passed, before, found)
    if not body.stream:
        return await while_listening(request, written.whole())
    return event_stream(errors_last(await begun(request, written.pieces()), as_envelope(request)))


@dataclass(frozen=True)
class _Written:
    """The answer to one request."""

    backend: Backend
    body: TextRequest
    passed: Passed
    before: str
    """Passages in front of each prompt."""
    found: Gathered
    id: str = field(default_factory=lambda: f"cmpl-{secrets.token_hex(12)}")
    created: int = field(default_factory=lambda: int(time.time()))

    async def whole(self) -> dict[str, Any]:
        """All choices, prompt by prompt. Raises ApiError."""
        asked = [self._asked(prompt) for prompt in self.body.prompts]
        answers = [await self.passed.whole(one, self._judge) for one in asked]
        choices = []
        for place, (prompt, (event, _)) in enumerate(zip(self.body.prompts, answers, strict=True)):
            for number, choice in enumerate(event["choices"]):
                text = self._masked(said_in(choice))
                text = prompt + text if self.body.echo else text
                index = place * self.body.n + number
                choices.append(_choice(index, text, finish_in(choice) or "stop"))
        return self._head() | {"choices": choices, "usage": usage_of(_sum([account.usage for _, account in answers]))}

    async def pieces(self) -> AsyncGenerator[dict[str, Any], None]:
        """The chunks, prompt by prompt. Raises ApiError."""
        used: list[Usage] = []
        for place, prompt in enumerate(self.body.prompts):
            masks = [MaskedEmails() for _ in range(self.body.n)]
            ended: set[int] = set()
            if self.body.echo:
                yield self._piece(place * self.body.n, prompt)
            async with aclosing(self.passed.events(self._asked(prompt), self._check)) as events:
                async for event, account in events:
                    used[place:] = [account.usage]
                    for choice in event["choices"]:
                        number = min(int(choice.get("index") or 0), self.body.n - 1)
                        text, finish = said_in(choice), finish_in(choice)
                        if self.body.mask_emails:
                            text = masks[number].add(text) + (masks[number].end() if finish else "")
                        if finish:
                            ended.add(number)
                        if text or finish:
                            yield self._piece(place * self.body.n + number, text, finish)
            for number in sorted(set(range(self.body.n)) - ended):
                yield self._piece(place * self.body.n + number, masks[number].end(), "stop")
        if self.body.stream_options is not None and self.body.stream_options.include_usage:
            yield self._head() | {"choices": [], "usage": usage_of(_sum(used))}

    async def _judge(self, event: Event) -> None:
        said = "\n\n".join(map(said_in, event["choices"]))
        await judge_answer(self.backend, self.passed.caller, self.body.prompts[0], said)
        await self._check(event)  # last: a judge takes its time

    async def _check(self, _event: Event) -> None:
        await self.found.check(self.backend, self.passed.caller)

    def _asked(self, prompt: str) -> dict[str, Any]:
        asked = self.body.passed_on(self.passed.model, self.body.most)
        asked |= {"n": self.body.n} if self.body.n > 1 else {}
        if self.body.suffix is None:
            return asked | {"prompt": self.before + prompt}
        template = _filling(self.passed.model).template
        filled = template.prompt(template.without_marks(prompt), template.without_marks(self.body.suffix))
        stops = [*(self.body.stop or ()), *template.ends]
        return asked | {"prompt": self.before + filled, "stop": stops}

    def _masked(self, text: str) -> str:
        if not self.body.mask_emails:
            return text
        masks = MaskedEmails()
        return masks.add(text) + masks.end()

    def _piece(self, index: int, text: str, finish: str | None = None) -> dict[str, Any]:
        return self._head() | {"choices": [_choice(index, text, finish)]}

    def _head(self) -> dict[str, Any]:
        head = {"id": self.id, "object": "text_completion", "created": self.created, "model": self.passed.model.name}
        return head | {"caps_version": self.backend.passing.models.version}


def _filling(model: ServedModel) -> ServedModel:
    if not model.template.fills:
        text = "suffix: this model does not fill in the middle; its family is models.<name>.fim"
        raise ApiError(400, "invalid_value", text, param="suffix")
    return model


def _choice(index: int, text: str, finish: str | None) -> dict[str, Any]:
    return {"index": index, "text": text, "logprobs": None, "finish_reason": finish}


def _sum(used: list[Usage]) -> Usage:
    return Usage(sum(one.prompt_tokens for one in used), sum(one.answer_tokens for one in used))
