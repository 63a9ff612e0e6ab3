# SPDX-License-Identifier: AGPL-3.0-or-later
"""Answers of our own engine: guarded while they are written, and booked at their end."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import replace

from fastapi import Request

from context_chat_backend.domain import AnswerEvent, Delta, Done, Passage, Question, Reasoning, Retrieved, Usage
from context_chat_backend.web.account import Account
from context_chat_backend.web.callers import Caller
from context_chat_backend.web.guarding import guarded, still_allowed


async def booked(
    events: AsyncGenerator[AnswerEvent, None], question: Question, request: Request, caller: Caller, surface: str
) -> AsyncGenerator[AnswerEvent, None]:
    """`events` of `question` as they are, and at their end what they took. Raises what they raise as ApiError.

    They end on their way when the caller may not have them any more. Where the end does not come, as the caller leaves
    or the model breaks off, what they took is estimated.
    """
    account = Account(request, caller, surface, _read(question, ()), question)
    look = still_allowed(request.app.state.backend, caller, question.scope, request.state.request_id)
    with account.kept():
        async with aclosing(guarded(events, look, is_last=lambda event: isinstance(event, Done))) as coming:
            async for event in coming:
                match event:
                    case Retrieved(passages):
                        account.hear()
                        account.read = _read(question, passages)
                        account.answer = replace(account.answer, passages=passages)
                    case Delta(text):
                        account.hear(text)
                    case Reasoning(text):
                        account.hear(text, shown=False)
                    case Done(answer):
                        passages = answer.passages or account.answer.passages
                        usage = answer.usage or Usage(0, 0)  # nobody wrote
                        account.answer, account.status = replace(answer, passages=passages, usage=usage), 200
                        account.hear()
                        request.state.model_used = answer.model
                yield event


def _read(question: Question, passages: tuple[Passage, ...]) -> int:
    """About how many bytes a model is given."""
    texts = [question.text, question.instructions, *(turn.text for turn in question.turns)]
    return sum(len(text.encode()) for text in [*texts, *(passage.text for passage in passages)])
