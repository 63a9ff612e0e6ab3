# SPDX-License-Identifier: AGPL-3.0-or-later
"""What an answer took is booked, also where its end does not come."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import suppress
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest

from context_chat_backend.domain import (
    Answer,
    AnswerEvent,
    Delta,
    Done,
    KeyScope,
    Location,
    Passage,
    Principal,
    Question,
    Reasoning,
    Retrieved,
    SourceRef,
    Usage,
)
from context_chat_backend.errors import ModelUnavailable
from context_chat_backend.store.uses import Use
from context_chat_backend.web.booking import booked
from context_chat_backend.web.callers import Caller
from context_chat_backend.web.envelope import ApiError

ALICE = Principal("local", "alice")
QUESTION = Question("q" * 40, ALICE)
PASSAGE = Passage(
    SourceRef("town", "1"), "title", "p" * 400, Location(), "en", 0.5, 1, datetime(2026, 1, 1, tzinfo=UTC)
)
BEGUN: list[AnswerEvent] = [Retrieved((PASSAGE,)), Reasoning("r" * 80), Delta("d" * 120)]


class Uses:
    def __init__(self) -> None:
        self.booked: list[Use] = []

    async def book(self, use: Use) -> None:
        self.booked.append(use)


async def said(events: list[AnswerEvent], error: Exception | None = None) -> AsyncGenerator[AnswerEvent, None]:
    for event in events:
        yield event
    if error is not None:
        raise error


async def use_of(events: AsyncGenerator[AnswerEvent, None], *, until: int) -> Use:
    """What is booked when the caller leaves after `until` events."""
    uses, writing = Uses(), set[Any]()
    app = SimpleNamespace(state=SimpleNamespace(backend=SimpleNamespace(uses=uses, chat_log=None), writing=writing))
    request: Any = SimpleNamespace(app=app, state=SimpleNamespace(request_id="1"))
    caller = Caller(ALICE, frozenset({KeyScope.CHAT}), key_id="k")
    stream = booked(events, QUESTION, request, caller, "openai")
    with suppress(ApiError):
        for _ in range(until):
            await anext(stream, None)
    await stream.aclose()
    await asyncio.gather(*writing)
    (use,) = uses.booked
    return use


async def test_what_a_model_counted_is_booked() -> None:
    use = await use_of(said([*BEGUN, Done(Answer("d", usage=Usage(7, 3)))]), until=5)
    assert (use.prompt_tokens, use.answer_tokens, use.status, use.cancelled) == (7, 3, 200, False)


async def test_who_leaves_before_the_end_is_booked_by_what_was_read_and_written() -> None:
    use = await use_of(said([*BEGUN, Done(Answer("d", usage=Usage(7, 3)))]), until=3)
    assert (use.prompt_tokens, use.answer_tokens, use.status, use.cancelled) == (110, 50, 499, True)


@pytest.mark.parametrize(("begun", "tokens"), [(BEGUN, (110, 50)), ([], (0, 0))])
async def test_what_breaks_off_is_booked_and_what_never_began_is_not(
    begun: list[AnswerEvent], tokens: tuple[int, int]
) -> None:
    use = await use_of(said(begun, ModelUnavailable("it is gone")), until=4)
    assert (use.prompt_tokens, use.answer_tokens, use.status) == (*tokens, 503)
