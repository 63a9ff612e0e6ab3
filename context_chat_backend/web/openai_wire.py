# SPDX-License-Identifier: AGPL-3.0-or-later
"""What is asked of OpenAI's chat, as JSON: a dialogue, and what is passed on to the model's server as it is."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Annotated, Any, Self

from pydantic import AfterValidator, ConfigDict, Field, PrivateAttr, model_validator
from pydantic.functional_validators import ModelWrapValidatorHandler

from context_chat_backend.domain import Sampling
from context_chat_backend.web.chat_wire import MAX_CHARACTERS, Dialogue, Retrieval, Text, conversation_id
from context_chat_backend.web.given import Bringing
from context_chat_backend.web.tool_wire import PassedMessage, as_text, fault, passed_messages, readable

Penalty = Annotated[float, Field(ge=-2, le=2)]


class ChatRequest(Bringing, Dialogue):
    """The body of POST /v1/chat/completions."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "model": "extractive",
                "messages": [{"role": "user", "content": "What is the budget for the roof repair?"}],
                "retrieval": {"collections": ["town"], "top_k": 4},
            }
        }
    )

    retrieval: bool | Retrieval | None = None
    conversation: Annotated[str, AfterValidator(conversation_id)] | None = None
    max_completion_tokens: Annotated[int, Field(ge=1)] | None = None
    n: Annotated[int, Field(ge=1, le=8)] | None = None
    presence_penalty: Penalty | None = None
    frequency_penalty: Penalty | None = None
    tools: Annotated[list[dict[str, Any]] | None, AfterValidator(readable)] = None
    tool_choice: Annotated[str | dict[str, Any] | None, AfterValidator(readable)] = None
    response_format: Annotated[dict[str, Any] | None, AfterValidator(readable)] = None
    parallel_tool_calls: bool | None = None
    reasoning_effort: Text | None = None
    user: Text | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    _raw: dict[str, Any] = PrivateAttr(default_factory=dict)
    _passed: list[PassedMessage] | None = PrivateAttr(default=None)

    @model_validator(mode="wrap")
    @classmethod
    def _as_sent(cls, data: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        """Keep what was sent; where there are tools, what they say is no part of the dialogue, but passed on."""
        raw = data if isinstance(data, dict) else {}
        passed = None
        if raw.get("tools") and isinstance(raw.get("messages"), list):
            passed = passed_messages(raw["messages"])
            data = {**raw, "messages": list(_spoken(raw["messages"]))}
        asked = handler(data)
        asked._raw, asked._passed = raw, passed
        asked._check_length()
        return asked

    @property
    def raw(self) -> dict[str, Any]:
        """The body as it was sent; its messages are passed on as `passed`, never as they are here."""
        return self._raw

    @property
    def passed(self) -> list[dict[str, Any]]:
        """The messages as a model's server gets them: their checked texts, and of tools what belongs to them."""
        if self._passed is None:
            return [{"role": one.role, "content": one.content} for one in self.messages]
        return [one.sent for one in self._passed]

    @property
    def sent_along(self) -> list[str]:
        """All that a model's server reads beside the question: other messages, what tools say, what tools there are."""
        said = [one.said for one in self._passed] if self._passed else [one.content for one in self.messages]
        last = max(place for place, one in enumerate(self.passed) if one["role"] == "user")
        beside = [*said[:last], *said[last + 1 :]]
        beside += [as_text(one) for one in (self.tools, self.tool_choice, self.response_format) if one]
        return [text for text in beside if text.strip()]

    def _check_length(self) -> None:
        if self.is_passed_on and sum(map(len, self.sent_along)) + len(self.question) > MAX_CHARACTERS:
            raise fault(f"at most {MAX_CHARACTERS} characters are taken in all, with tools and what they say")

    @property
    def is_passed_on(self) -> bool:
        """Whether only the model's server understands it."""
        formed = (self.response_format or {}).get("type", "text") != "text"
        return bool(self.tools or formed or self.reasoning_effort or (self.n or 1) > 1)

    @property
    def sampling(self) -> Sampling:
        """How the model is to write; an explicit 0 counts."""
        most = self.max_tokens if self.max_tokens is not None else self.max_completion_tokens
        frequency, presence = self.frequency_penalty, self.presence_penalty
        return replace(super().sampling, max_tokens=most, frequency_penalty=frequency, presence_penalty=presence)


def _spoken(messages: list[Any]) -> Iterator[Any]:
    """What people and models said to each other, up to the last question."""
    said = [one for one in messages if one.get("role") != "tool" and not one.get("tool_calls")]
    while said and said[-1].get("role") == "assistant":
        said.pop()
    yield from said
