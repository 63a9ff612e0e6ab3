# SPDX-License-Identifier: AGPL-3.0-or-later
"""What is asked of a chat, as JSON: what its dialects have in common."""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, Field, field_validator

from context_chat_backend.domain import Message, Sampling

MAX_MESSAGES = 200
MAX_CHARACTERS = 200_000
MAX_TOP_K = 20
CONVERSATION = re.compile(r"conv_([0-9a-f]{32})")
"""Ids are ours: 128 bits nobody guesses."""
_SPEAKERS = {"system": "system", "developer": "system", "user": "user", "assistant": "assistant"}


def storable(text: str) -> str:
    """`text` as it can be kept. Raises ValueError where it is no Unicode."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError("must be valid Unicode") from None
    return text.replace("\x00", " ")  # PostgreSQL takes none, and nobody means one


def conversation_id(text: str) -> str:
    """A conversation's id as it was given. Raises ValueError."""
    if not CONVERSATION.fullmatch(text):
        raise ValueError("expected an id that POST /v1/conversations gave")
    return text


Text = Annotated[str, AfterValidator(storable)]


class AskedMessage(BaseModel):
    """One message of a request."""

    role: str
    content: Any

    @field_validator("role")
    @classmethod
    def _known(cls, role: str) -> str:
        return known_role(role)

    @field_validator("content")
    @classmethod
    def _text(cls, content: Any) -> str:
        return read_text(content)


def known_role(role: str) -> str:
    """Whose words a message holds, as models know it. Raises ValueError."""
    if role in ("tool", "function"):
        raise ValueError("unsupported role: there are no tools here")
    if role not in _SPEAKERS:
        raise ValueError("expected 'system', 'developer', 'user' or 'assistant'")
    return _SPEAKERS[role]


def read_text(content: Any) -> str:
    """The text of a message; nothing that it names is opened or fetched. Raises ValueError."""
    if isinstance(content, str):
        return storable(content)
    if not isinstance(content, list):
        raise ValueError("expected a text, or a list of parts with type 'text'")
    return storable("\n".join(_part(part) for part in content))


def _part(part: Any) -> str:
    if not isinstance(part, dict) or not isinstance(part.get("type"), str):
        raise ValueError("expected a text, or a list of parts with type 'text'")
    if part["type"] != "text":
        raise ValueError("unsupported content: parts have the type 'text' here; nothing else is opened or fetched")
    if not isinstance(part.get("text"), str):
        raise ValueError("expected a text in each part")
    return str(part["text"])


class Retrieval(BaseModel):
    """What is to be answered from."""

    collections: list[Text] | None = None
    top_k: int = Field(default=MAX_TOP_K, ge=1, le=MAX_TOP_K)


class StreamOptions(BaseModel):
    """What a stream holds beside the text."""

    include_usage: bool = False


class Dialogue(BaseModel):
    """What every body has; members we do not know are passed over."""

    model: Text = ""
    messages: Annotated[list[AskedMessage], Field(min_length=1, max_length=MAX_MESSAGES)]
    stream: bool = False
    stream_options: StreamOptions | None = None
    temperature: Annotated[float, Field(ge=0, le=4)] | None = None
    top_p: Annotated[float, Field(ge=0, le=1)] | None = None
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    stop: Text | list[Text] | None = None
    seed: int | None = None

    @field_validator("stop")
    @classmethod
    def _stops(cls, stop: str | list[str] | None) -> list[str] | None:
        stops = [stop] if isinstance(stop, str) else stop
        if stops is not None and (len(stops) > 16 or not all(stops)):
            raise ValueError("expected at most 16 texts, none of them empty")
        return stops

    @field_validator("messages")
    @classmethod
    def _is_a_question(cls, messages: list[AskedMessage]) -> list[AskedMessage]:
        said = [message for message in messages if message.role != "system"]
        if not said or said[-1].role != "user" or not said[-1].content.strip():
            raise ValueError("the last message that is no system message must be a question of the user")
        if sum(len(message.content) for message in messages) > MAX_CHARACTERS:
            raise ValueError(f"at most {MAX_CHARACTERS} characters are taken in all")
        return messages

    @property
    def question(self) -> str:
        """What the user said last."""
        return str([message for message in self.messages if message.role == "user"][-1].content).strip()

    @property
    def instructions(self) -> str:
        """All system messages."""
        return "\n\n".join(message.content for message in self.messages if message.role == "system").strip()

    @property
    def turns(self) -> tuple[Message, ...]:
        """What was said before the question."""
        said = [Message(message.role, message.content) for message in self.messages if message.role != "system"]
        return tuple(said[:-1])

    @property
    def asked_before(self) -> list[str]:
        """What the user said before the question, oldest first."""
        return [turn.text for turn in self.turns if turn.role == "user"]

    @property
    def wants_usage(self) -> bool:
        """Whether a stream is to end with the tokens it took."""
        return self.stream_options is not None and self.stream_options.include_usage

    @property
    def sampling(self) -> Sampling:
        """How the model is to write; an explicit 0 counts."""
        return Sampling(self.temperature, self.top_p, self.max_tokens, self.seed, tuple(self.stop or ()))
