# SPDX-License-Identifier: AGPL-3.0-or-later
"""What is asked of OpenAI's chat, as JSON: a dialogue, and what is passed on to the model's server as it is."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Annotated, Any, Self

from pydantic import AfterValidator, ConfigDict, Field, PrivateAttr, model_validator
from pydantic.functional_validators import ModelWrapValidatorHandler

from context_chat_backend.domain import Sampling
from context_chat_backend.web.chat_wire import Dialogue, Retrieval, conversation_id
from context_chat_backend.web.given import Bringing

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
    tools: list[dict[str, Any]] | None = None
    tool_choice: str | dict[str, Any] | None = None
    response_format: dict[str, Any] | None = None
    reasoning_effort: str | None = None
    _raw: dict[str, Any] = PrivateAttr(default_factory=dict)

    @model_validator(mode="wrap")
    @classmethod
    def _as_sent(cls, data: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        """Keep what was sent; where there are tools, what they say is read over by us."""
        raw = data if isinstance(data, dict) else {}
        if raw.get("tools") and isinstance(raw.get("messages"), list):
            data = {**raw, "messages": list(_spoken(raw["messages"]))}
        asked = handler(data)
        asked._raw = raw
        return asked

    @property
    def raw(self) -> dict[str, Any]:
        """The body as it was sent."""
        return self._raw

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
    said = [one for one in messages if not _is_of_tools(one)]
    while said and isinstance(said[-1], dict) and said[-1].get("role") == "assistant":
        said.pop()
    yield from said


def _is_of_tools(message: Any) -> bool:
    return isinstance(message, dict) and (message.get("role") == "tool" or bool(message.get("tool_calls")))
