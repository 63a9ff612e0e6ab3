# SPDX-License-Identifier: AGPL-3.0-or-later
"""A chat that is passed on is booked and written down as what its asker gets: what is refused, as refused."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from types import SimpleNamespace
from typing import Any

import pytest

from context_chat_backend.domain import KeyScope, Principal, Question
from context_chat_backend.errors import DatabaseUnavailable
from context_chat_backend.store.uses import Use
from context_chat_backend.web.callers import Caller
from context_chat_backend.web.envelope import ApiError
from context_chat_backend.web.openai_wire import ChatRequest
from context_chat_backend.web.relayed_chat import relayed_chat

TOOL = {"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}
MODEL: Any = SimpleNamespace(name="m", context_tokens=4096, answer_tokens=256)
CALLER = Caller(Principal("local", "alice"), frozenset({KeyScope.CHAT}), key_id="k")


class Backend:
    """A model that says one thing, a judge who wants no quokka, and what is booked and written down."""

    judges_answers = True
    shipping_status = "off"
    config = SimpleNamespace(chat=SimpleNamespace(trusted_proxies=()))

    def __init__(self, says: str, *, holds: bool | None) -> None:
        self.says = says
        self.key_holds = holds
        self.booked: list[Use] = []
        self.records: list[dict[str, Any]] = []
        self.passing = self.keys = self.uses = self.chat_log = self

    async def passed(self, *_: Any) -> AsyncGenerator[dict[str, Any], None]:
        usage = {"prompt_tokens": 7, "completion_tokens": 3}
        yield {"choices": [{"message": {"content": self.says}, "finish_reason": "stop"}], "usage": usage}

    async def refusal(self, text: str, _question: Question) -> str | None:
        return "No." if "quokka" in text else None

    async def holds(self, _key: str) -> bool:
        if self.key_holds is None:
            raise DatabaseUnavailable("it fails over")
        return self.key_holds

    async def book(self, use: Use) -> None:
        self.booked.append(use)

    def writer_named(self, model: str) -> str:
        return model

    def write(self, record: dict[str, Any]) -> None:
        self.records.append(record)


async def kept(asked: str, says: str, *, holds: bool | None = True) -> tuple[str, Use, dict[str, Any]]:
    """What is answered, booked and written down: the text of the answer, or the code of the error."""
    backend: Any = Backend(says, holds=holds)
    writing = set[Any]()
    app = SimpleNamespace(state=SimpleNamespace(backend=backend, writing=writing))
    state = SimpleNamespace(request_id="1", caller=CALLER)
    request: Any = SimpleNamespace(app=app, state=state, client=None, receive=asyncio.Event().wait)
    body = ChatRequest.model_validate({"messages": [{"role": "user", "content": asked}], "tools": [TOOL]})
    try:
        answer = await relayed_chat(request, body, backend, CALLER, MODEL, retrieves=False)
        told = answer["choices"][0]["message"]["content"]
    except ApiError as error:
        told = error.code
    await asyncio.gather(*writing)
    (use,), (record,) = backend.booked, backend.records
    return told, use, record


async def test_an_answer_that_is_given_is_written_down_as_it_is() -> None:
    told, use, record = await kept("Who is there?", "A heron.")

    assert told == record["response"] == "A heron."
    assert (use.status, use.answer_tokens) == (record["status"], 3) == (200, 3)
    assert not record["blocked"]


async def test_an_answer_that_is_not_found_safe_is_nowhere_said_to_be_delivered() -> None:
    told, use, record = await kept("Who is there?", "A quokka.")

    assert told == "content_refused"
    assert (use.status, use.answer_tokens) == (record["status"], 3) == (403, 3)
    assert (record["blocked"], record["response"]) == (True, "No.")


async def test_a_question_that_is_not_found_safe_is_written_down_and_costs_nothing() -> None:
    told, use, record = await kept("Where is the quokka?", "A heron.")

    assert told == "content_refused"
    assert (use.status, use.prompt_tokens, use.answer_tokens) == (403, 0, 0)
    assert (record["query"], record["blocked"], record["response"]) == ("Where is the quokka?", True, "No.")


@pytest.mark.parametrize(
    ("holds", "code", "status"), [(False, "invalid_api_key", 401), (None, "database_unavailable", 503)]
)
async def test_an_answer_whose_key_does_not_hold_at_its_end_or_may_not_is_booked_as_kept_back(
    holds: bool | None, code: str, status: int
) -> None:
    told, use, record = await kept("Who is there?", "A heron.", holds=holds)

    assert told == code
    assert (use.status, record["status"], record["blocked"]) == (status, status, False)
