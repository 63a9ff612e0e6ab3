# SPDX-License-Identifier: AGPL-3.0-or-later
"""What is passed on to a model is judged as every question is, where somebody judges."""

from __future__ import annotations

from collections.abc import Sequence

from context_chat_backend.domain import Question
from context_chat_backend.web.callers import Caller
from context_chat_backend.web.envelope import ApiError
from context_chat_backend.wiring import Backend

CONTENT_REFUSED = "content_refused"


async def judge_question(
    backend: Backend, caller: Caller, text: str, sent_along: Sequence[str], *, whole: bool
) -> None:
    """Raise ApiError (403) when the question, or what the model reads beside it, is not found safe.

    Where answers are judged too, what is passed on cannot be streamed, and is refused (400) unless it comes `whole`.
    """
    if backend.judges_answers and not whole:
        raise ApiError(400, "invalid_value", "stream: answers are judged here, and come whole", param="stream")
    for judged in filter(None, (text, "\n\n".join(sent_along))):
        if (said := await backend.refusal(judged, Question(text, caller.asker))) is not None:
            raise ApiError(403, CONTENT_REFUSED, said)


async def judge_answer(backend: Backend, caller: Caller, question: str, answer: str) -> None:
    """Raise ApiError (403) when an answer is not found safe, where answers are judged."""
    if not backend.judges_answers or not answer.strip():
        return
    if (said := await backend.refusal(answer, Question(question, caller.asker))) is not None:
        raise ApiError(403, CONTENT_REFUSED, said)
