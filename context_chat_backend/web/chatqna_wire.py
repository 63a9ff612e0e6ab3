# SPDX-License-Identifier: AGPL-3.0-or-later
"""What is asked of ChatQnA, as JSON: OpenAI's dialogue with passages, a token and wishes for the search beside it."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator
from pydantic_core import PydanticCustomError

from context_chat_backend.domain import Choice, Sampling, SearchType
from context_chat_backend.web.chat_wire import Dialogue, Retrieval, Text
from context_chat_backend.web.given import Bringing

MAX_TEMPLATE_CHARACTERS = 20_000
_PLACE = re.compile(r"\{\{|\}\}|\{question\}|\{context\}")


class Meta(BaseModel):
    """What stands beside the question; it never reaches the model, nor the log."""

    model_config = ConfigDict(extra="allow")

    auth_token: SecretStr = SecretStr("")

    @field_validator("auth_token", mode="before")
    @classmethod
    def _none_is_none(cls, given: Any) -> Any:
        return "" if given is None else given

    @property
    def token(self) -> str:
        """Of the end user; empty when there is none."""
        return self.auth_token.get_secret_value().strip()


class ChatQnaRequest(Bringing, Dialogue):
    """The body of POST /v1/chatqna."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "messages": [{"role": "user", "content": "When is the library open?"}],
                "context": [{"text": "The library is open on Sunday.", "title": "Hours", "source": "s1"}],
                "meta": {"auth_token": ""},
                "top_n": 3,
            }
        }
    )

    meta: Meta = Field(default_factory=Meta)
    retrieval: bool | Retrieval = True
    k: Annotated[int, Field(ge=1, le=20)] = 4
    fetch_k: Annotated[int, Field(ge=1, le=100)] = 20
    search_type: SearchType = SearchType.SIMILARITY
    score_threshold: Annotated[float, Field(ge=-1, le=1)] | None = None
    distance_threshold: Annotated[float, Field(ge=0, le=2)] | None = None
    lambda_mult: Annotated[float, Field(ge=0, le=1)] = 0.5
    top_n: Annotated[int, Field(ge=1, le=20)] = 3
    max_tokens: Annotated[int, Field(ge=1)] | None = 1024
    temperature: Annotated[float, Field(ge=0, le=4)] | None = 0.2
    top_p: Annotated[float, Field(ge=0, le=1)] | None = 0.95
    top_k: Annotated[int, Field(ge=0)] | None = None
    frequency_penalty: Annotated[float, Field(ge=-2, le=2)] | None = None
    presence_penalty: Annotated[float, Field(ge=-2, le=2)] | None = None
    repetition_penalty: Annotated[float, Field(gt=0, le=4)] | None = None
    chat_template: Annotated[Text, Field(max_length=MAX_TEMPLATE_CHARACTERS)] | None = None

    @field_validator("messages", mode="before")
    @classmethod
    def _one_message(cls, messages: Any) -> Any:
        return [{"role": "user", "content": messages}] if isinstance(messages, str) else messages

    @field_validator("chat_template")
    @classmethod
    def _is_a_template(cls, template: str | None) -> str | None:
        if not template:
            return None
        if set("{}") & set(_PLACE.sub("", template)) or "{question}" not in _PLACE.findall(template):
            raise PydanticCustomError(
                "bad_template",
                "expected {question}, and {context} if it is wanted, and no other name in braces; a brace that is "
                "meant is written twice",
            )
        return template

    @property
    def choice(self) -> Choice:
        """Which of the passages that are found are used."""
        most = self.retrieval.top_k if isinstance(self.retrieval, Retrieval) else None
        return Choice(
            self.search_type,
            count=self.k if most is None else most,
            looked_at=self.fetch_k,
            least_similarity=self.score_threshold,
            most_distance=self.distance_threshold,
            relevance_share=self.lambda_mult,
        )

    @property
    def sampling(self) -> Sampling:
        """How the model is to write; an explicit 0 counts."""
        return replace(
            super().sampling,
            top_k=self.top_k,
            frequency_penalty=self.frequency_penalty,
            presence_penalty=self.presence_penalty,
            repetition_penalty=self.repetition_penalty,
        )
