# SPDX-License-Identifier: AGPL-3.0-or-later
"""What is measured of a question, and written down where an audit is wanted: how it ended, never what it said."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Sequence
from contextlib import aclosing
from typing import TypeVar

from context_chat_backend import metrics
from context_chat_backend.audit import Audit
from context_chat_backend.domain import Answer, AnswerEvent, Delta, Done, FoundSource, Passage, Question, Retrieved
from context_chat_backend.errors import InvalidRequest
from context_chat_backend.steps import Step, step

_Found = TypeVar("_Found", FoundSource, Passage)


async def observed(
    events: AsyncGenerator[AnswerEvent, None], question: Question, kind: str, audit: Audit
) -> AsyncGenerator[AnswerEvent, None]:
    """The same events; the question is counted, timed and noted when they end, however they do.

    `kind` as in Audit.note.
    """
    started = time.perf_counter()
    outcome = "failed"
    has_begun = False
    read: Sequence[Passage] = ()
    answer: Answer | None = None
    with step(Step.ANSWER):
        try:
            async with aclosing(events):
                async for event in events:
                    match event:
                        case Retrieved(passages):
                            read = passages
                        case Delta() if not has_begun:
                            has_begun = True
                            metrics.FIRST_WORD_SECONDS.observe(time.perf_counter() - started)
                        case Done(whole):
                            answer = whole
                            outcome = _outcome(answer)
                            _count(answer)
                    yield event
        except (asyncio.CancelledError, GeneratorExit):
            outcome = "cancelled" if answer is None else outcome
            raise
        except InvalidRequest:
            outcome = "refused"
            raise
        finally:
            metrics.ANSWERS.labels(outcome).inc()
            audit.note(
                kind,
                question.asker,
                outcome,
                sources=(passage.source for passage in read),
                cited=() if answer is None else answer.cited,
                model="" if answer is None else answer.model,
            )


async def whole(events: AsyncGenerator[AnswerEvent, None]) -> Answer:
    """The answer at the end of some events. Raises what they raise."""
    async with aclosing(events):
        async for event in events:
            if isinstance(event, Done):
                return event.answer
    raise AssertionError("an answer ends with Done")


async def observed_search(found: Awaitable[list[_Found]], question: Question, audit: Audit) -> list[_Found]:
    """What `found` gives; the search is timed and noted."""
    outcome, given = "failed", list[_Found]()
    with step(Step.FIND):
        try:
            given = await found
            outcome = "answered" if given else "nothing_found"
            return given
        finally:
            sources = (one.ref if isinstance(one, FoundSource) else one.source for one in given)
            audit.note("search", question.asker, outcome, sources=sources)


def _outcome(answer: Answer) -> str:
    if answer.blocked:
        return "blocked"
    return "answered" if answer.model else "nothing_found"


def _count(answer: Answer) -> None:
    metrics.PASSAGES.labels("read").inc(len(answer.passages))
    metrics.PASSAGES.labels("left out").inc(answer.dropped)
    if answer.usage is not None:
        metrics.TOKENS.labels("prompt").inc(answer.usage.prompt_tokens)
        metrics.TOKENS.labels("answer").inc(answer.usage.answer_tokens)
