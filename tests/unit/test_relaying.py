# SPDX-License-Identifier: AGPL-3.0-or-later
"""Requests of OpenAI's clients are passed on to models of every protocol, and answered in OpenAI's form."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from context_chat_backend.errors import InvalidRequest, ModelUnavailable, PromptTooLong
from context_chat_backend.inference.language import build_language_model
from context_chat_backend.inference.relaying import relay_of
from context_chat_backend.ports import Exchange, Relay
from tests.model_double.client import ModelDouble

MESSAGES = [{"role": "user", "content": "a private question"}]
TOOL = {"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}
BODIES: Mapping[Exchange, dict[str, Any]] = {Exchange.TEXT: {"prompt": "x"}, Exchange.CHAT: {"messages": MESSAGES}}


@asynccontextmanager
async def relaying(double: ModelDouble, provider: str) -> AsyncIterator[Relay]:
    url = double.url if provider == "openai" else double.root
    options = {} if provider == "extractive" else {"base_url": url, "model": "upstream", "name": "here"}
    model = build_language_model(provider, options, models=Path("/nowhere"), threads=1)
    yield relay_of(model)
    await model.close()


async def heard(relay: Relay, exchange: Exchange, **wishes: Any) -> list[dict[str, Any]]:
    return [event async for event in relay.passed(exchange, BODIES[exchange] | wishes)]


def text_of(events: list[dict[str, Any]]) -> str:
    choices = [choice for event in events for choice in event["choices"]]
    return "".join(
        choice.get("text") or (choice.get("delta") or choice.get("message") or {}).get("content") or ""
        for choice in choices
    )


@pytest.mark.parametrize("provider", ["openai", "ollama", "extractive"])
@pytest.mark.parametrize("exchange", list(Exchange))
@pytest.mark.parametrize("stream", [False, True])
async def test_an_answer_has_openais_form_whoever_writes(
    double: ModelDouble, provider: str, exchange: Exchange, stream: bool
) -> None:
    async with relaying(double, provider) as relay:
        wishes = {"stream": stream, "stream_options": {"include_usage": True}} if stream else {}
        events = await heard(relay, exchange, **wishes)

    assert text_of(events) == ("" if provider == "extractive" else "stub answer")
    assert [choice["finish_reason"] for event in events for choice in event["choices"]][-1] == "stop"
    assert events[-1]["usage"]["total_tokens"] == (0 if provider == "extractive" else 9)
    if not stream:
        assert len(events) == 1
        assert events[0]["object"] == ("text_completion" if exchange is Exchange.TEXT else "chat.completion")


async def test_a_request_reaches_an_openai_server_as_it_is(double: ModelDouble) -> None:
    async with relaying(double, "openai") as relay:
        await heard(relay, Exchange.CHAT, tools=[TOOL], temperature=0, model="anything", n=2)

    assert double.requests[-1]["body"] == {
        "messages": MESSAGES, "tools": [TOOL], "temperature": 0, "model": "upstream", "n": 2,
    }  # fmt: skip


async def test_ollama_is_asked_for_raw_text_and_for_tools_in_its_own_words(double: ModelDouble) -> None:
    said = [
        *MESSAGES,
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [{"function": {"name": "look", "arguments": '{"at": 1}'}}],
        },
        {"role": "tool", "content": [{"type": "text", "text": "nothing"}]},
    ]
    double.script({"says": "", "calls": [{"function": {"name": "look", "arguments": {"at": 2}}}]})
    async with relaying(double, "ollama") as relay:
        (told,) = await heard(
            relay, Exchange.CHAT, messages=said, tools=[TOOL], temperature=0, stop="END",
            response_format={"type": "json_schema", "json_schema": {"schema": {"type": "object"}}},
        )  # fmt: skip
        await heard(relay, Exchange.TEXT, max_tokens=5)
    chat, raw = (request["body"] for request in double.requests[-2:])

    (call,) = told["choices"][0]["message"]["tool_calls"]
    assert call["function"] == {"name": "look", "arguments": '{"at": 2}'}
    assert told["choices"][0]["finish_reason"] == "tool_calls"
    assert (chat["tools"], chat["format"]) == ([TOOL], {"type": "object"})
    assert chat["messages"][1]["tool_calls"] == [{"function": {"name": "look", "arguments": {"at": 1}}}]
    assert chat["messages"][2]["content"] == "nothing"
    assert (chat["options"]["temperature"], chat["options"]["stop"]) == (0, ["END"])
    assert (raw["prompt"], raw["raw"], raw["options"]["num_predict"]) == ("x", True, 5)


@pytest.mark.parametrize(
    ("provider", "wish"),
    [("extractive", {"tools": [TOOL]}), ("extractive", {"n": 2}), ("ollama", {"n": 2}),
     ("ollama", {"messages": [{"role": "assistant", "tool_calls": [{"function": {"arguments": "{"}}]}]})],
)  # fmt: skip
async def test_what_a_model_does_not_know_is_refused_by_name(
    double: ModelDouble, provider: str, wish: dict[str, Any]
) -> None:
    async with relaying(double, provider) as relay:
        with pytest.raises(InvalidRequest, match=next(iter(wish))):
            await heard(relay, Exchange.CHAT, **wish)


TROUBLES: dict[str, tuple[dict[str, Any], type[Exception]]] = {
    "too long": ({"fault": "overflow"}, PromptTooLong),
    "an odd request": ({"fault": "status", "status": 422}, InvalidRequest),
    "a page": ({"fault": "page"}, ModelUnavailable),
    "another shape": ({"fault": "wrong_shape", "event": {"choices": 5}}, ModelUnavailable),
    "it breaks off": ({"fault": "cut"}, ModelUnavailable),
}


@pytest.mark.parametrize("trouble", TROUBLES)
async def test_trouble_of_a_server_is_told_apart(double: ModelDouble, trouble: str) -> None:
    step, kind = TROUBLES[trouble]
    double.script(step)
    async with relaying(double, "openai") as relay:
        with pytest.raises(kind) as caught:
            await heard(relay, Exchange.CHAT, stream=True)

    assert "private" not in str(caught.value)


async def test_a_server_that_leaves_out_the_last_line_has_answered(double: ModelDouble) -> None:
    double.script({"fault": "no_end"})
    async with relaying(double, "openai") as relay:
        assert text_of(await heard(relay, Exchange.TEXT, stream=True)) == "stub"
