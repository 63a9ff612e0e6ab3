# SPDX-License-Identifier: AGPL-3.0-or-later
"""What is asked of the gateway, as JSON. Members we do not know are passed over: plugins send some."""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError

from context_chat_backend.completing.models import ServedModel
from context_chat_backend.web.chat_wire import AskedMessage, Retrieval, StreamOptions, Text
from context_chat_backend.web.given import Bringing

MAX_PROMPTS = 32
Tokens = Annotated[int, Field(ge=1)]


class Wished(BaseModel):
    """How the model is to write."""

    model: Text = ""
    temperature: float = 0.2
    top_p: float = 1.0
    stop: Text | list[Text] | None = None
    stream: bool = False
    seed: int | None = None
    user: Text | None = None

    @field_validator("temperature", "top_p", mode="after")
    @classmethod
    def _within(cls, given: float, info: ValidationInfo) -> float:
        if given != given:  # NaN
            raise ValueError("expected a number")
        return min(max(given, 0.0), 4.0 if info.field_name == "temperature" else 1.0)

    @field_validator("stop")
    @classmethod
    def _stops(cls, stop: str | list[str] | None) -> list[str]:
        stops = [stop] if isinstance(stop, str) else stop or []
        if len(stops) > 16 or not all(stops):
            raise ValueError("expected at most 16 texts, none of them empty")
        return stops

    def passed_on(self, model: ServedModel, most: int) -> dict[str, Any]:
        """What of it the model is told; `most` tokens are lowered to its limit."""
        told: dict[str, Any] = {
            "max_tokens": min(most, model.answer_tokens),
            "temperature": self.temperature,
            "top_p": self.top_p,
            "stream": self.stream,
        }
        told |= {"stream_options": {"include_usage": True}} if self.stream else {}
        wishes = {"stop": self.stop, "seed": self.seed, "user": self.user}
        return told | {name: value for name, value in wishes.items() if value}


class GatewayChat(Bringing, Wished):
    """The body of POST /api/refact/chat."""

    model_config = ConfigDict(json_schema_extra={"example": {"prompt": "def hello():", "model": "Refact/1.6B"}})

    messages: Annotated[list[AskedMessage], Field(max_length=200)] | None = None
    prompt: Text | None = Field(default=None, validate_default=True)
    max_tokens: Tokens = 256
    retrieval: bool | Retrieval | None = None

    @field_validator("messages")
    @classmethod
    def _asks(cls, messages: list[AskedMessage] | None) -> list[AskedMessage] | None:
        if messages and not any(one.role == "user" and one.content.strip() for one in messages):
            raise ValueError("expected at least one message of the user that is not blank")
        return messages

    @field_validator("prompt")
    @classmethod
    def _is_there(cls, prompt: str | None, info: ValidationInfo) -> str | None:
        if not (prompt or "").strip() and not info.data.get("messages"):
            raise PydanticCustomError("missing_prompt", "expected a text that is not blank, or messages")
        return prompt

    @property
    def question(self) -> str:
        """What passages are looked for."""
        said = [one.content for one in self.messages or () if one.role == "user"]
        return str(said[-1]) if said else self.prompt or ""

    @property
    def sent_along(self) -> list[str]:
        """What the model reads beside it."""
        asked = next((one for one in reversed(self.messages or ()) if one.role == "user"), None)
        return [one.content for one in self.messages or () if one is not asked and one.content.strip()]


class TextRequest(Wished):
    """The body of POST /v1/completions."""

    model_config = ConfigDict(json_schema_extra={"example": {"prompt": "def hello():", "model": "Refact/1.6B"}})

    prompt: Text | Annotated[list[Text], Field(min_length=1, max_length=MAX_PROMPTS)]
    max_tokens: Tokens | None = None
    max_completion_tokens: Tokens | None = None
    n: Annotated[int, Field(ge=1, le=8)] = 1
    echo: bool = False
    suffix: Text | None = None
    stream_options: StreamOptions | None = None
    mask_emails: bool = False
    retrieval: bool | Retrieval | None = None

    @property
    def prompts(self) -> list[str]:
        """All prompts."""
        return [self.prompt] if isinstance(self.prompt, str) else list(self.prompt)

    @property
    def sent_along(self) -> list[str]:
        """What the model reads beside the first prompt."""
        return [text for text in [*self.prompts[1:], self.suffix or ""] if text.strip()]

    @property
    def most(self) -> int:
        """How many tokens are wanted at most."""
        return self.max_tokens or self.max_completion_tokens or 500


class Cursor(BaseModel):
    """A place in a file: lines and characters count from 0."""

    file: Text
    line: int
    character: int


class Inputs(BaseModel):
    """What an editor has open."""

    sources: dict[Text, Text]
    cursor: Cursor
    multiline: bool = True

    @field_validator("cursor")
    @classmethod
    def _is_open(cls, cursor: Cursor, info: ValidationInfo) -> Cursor:
        if cursor.file not in info.data.get("sources", {}):
            raise ValueError("file: expected one of sources")
        return cursor


class Parameters(BaseModel):
    """How an editor wants it written."""

    temperature: Annotated[float, Field(ge=0, le=4)] = 0.2
    max_new_tokens: Tokens = 50


class CodeRequest(BaseModel):
    """The body of POST /v1/code-completion."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "inputs": {
                    "sources": {"hello.py": "def hello_world():\n    \n"},
                    "cursor": {"file": "hello.py", "line": 1, "character": 4},
                }
            }
        }
    )

    inputs: Inputs
    parameters: Parameters = Field(default_factory=Parameters)
    model: Text = ""
    stream: bool = False
    no_cache: bool = False
    rag_tokens_n: Annotated[int, Field(ge=0)] = 0
    retrieval: bool | Retrieval | None = None


class MaskedEmails:
    """Text that comes in pieces, with every mail address replaced."""

    _ADDRESS = re.compile(r"[A-Za-z0-9._%+-]{1,64}@[A-Za-z0-9-]{1,63}(?:\.[A-Za-z0-9-]{1,63}){1,8}")
    _BEGUN = re.compile(r"[A-Za-z0-9._%+@-]{1,320}\Z")

    def __init__(self) -> None:
        self._held = ""

    def add(self, piece: str) -> str:
        """What can be no part of an address that goes on."""
        text = self._held + piece
        begun = self._BEGUN.search(text)
        cut = len(text) if begun is None else begun.start()
        text, self._held = text[:cut], text[cut:]
        return self._ADDRESS.sub("john@example.com", text)

    def end(self) -> str:
        """The rest."""
        text, self._held = self._held, ""
        return self._ADDRESS.sub("john@example.com", text)
