# SPDX-License-Identifier: AGPL-3.0-or-later
"""What is asked of ChatQnA, as JSON: OpenAI's dialogue with passages, a token and wishes for the search beside it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator
from pydantic_core import PydanticCustomError

from context_chat_backend.domain import Choice, Location, Passage, Sampling, SearchType, SourceRef
from context_chat_backend.web.chat_wire import Dialogue, Retrieval, Text

MAX_PASSAGES = 50
MAX_PASSAGE_CHARACTERS = 4000
MAX_TEMPLATE_CHARACTERS = 20_000
CUT = " […]"
"""What follows a passage that was cut."""
PROVIDER = "request__context"
"""The provider of passages that came with the question."""

_PLACE = re.compile(r"\{\{|\}\}|\{question\}|\{context\}")


class GivenPassage(BaseModel):
    """A passage that comes with the question."""

    text: Text
    title: Text = ""
    source: Text = ""


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


class ChatQnaRequest(Dialogue):
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

    context: Annotated[list[Text | GivenPassage], Field(max_length=MAX_PASSAGES)] = Field(default_factory=list)
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
    def given(self) -> tuple[Passage, ...]:
        """The passages that came with the question, in their order."""
        return tuple(_passage(number, given) for number, given in enumerate(self.context, start=1))

    @property
    def names(self) -> Mapping[SourceRef, str]:
        """What the caller calls those passages; their number where he does not."""
        named = [one.source if isinstance(one, GivenPassage) else "" for one in self.context]
        return {_ref(number): name or str(number) for number, name in enumerate(named, start=1)}

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


def _ref(number: int) -> SourceRef:
    return SourceRef(PROVIDER, str(number))


def _passage(number: int, given: str | GivenPassage) -> Passage:
    passage = GivenPassage(text=given) if isinstance(given, str) else given
    text = passage.text
    if len(text) > MAX_PASSAGE_CHARACTERS:
        text = text[:MAX_PASSAGE_CHARACTERS] + CUT
    return Passage(
        source=_ref(number),
        title=passage.title or passage.source or f"context {number}",
        text=text,
        location=Location(),
        language="simple",
        similarity=1.0,
        chunk_id=-number,
        modified_at=datetime.now(UTC),
    )
