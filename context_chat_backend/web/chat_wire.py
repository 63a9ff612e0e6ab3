# SPDX-License-Identifier: AGPL-3.0-or-later
"""OpenAI's chat completions as JSON: what is asked, and what is answered."""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, field_validator

from context_chat_backend.domain import Answer, Citation, Finish, Location, Message, Passage, Sampling, Usage

MAX_MESSAGES = 200
MAX_CHARACTERS = 200_000
MAX_TOP_K = 20
CONVERSATION = re.compile(r"conv_([0-9a-f]{32})")
"""Ids are ours: 128 bits nobody guesses."""
_SPEAKERS = {"system": "system", "developer": "system", "user": "user", "assistant": "assistant"}


def _storable(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError("must be valid Unicode") from None
    return text.replace("\x00", " ")  # PostgreSQL takes none, and nobody means one


def _conversation(text: str) -> str:
    if not CONVERSATION.fullmatch(text):
        raise ValueError("expected an id that POST /v1/conversations gave")
    return text


Text = Annotated[str, AfterValidator(_storable)]


class AskedMessage(BaseModel):
    """One message of a request."""

    role: str
    content: Any

    @field_validator("role")
    @classmethod
    def _known(cls, role: str) -> str:
        if role in ("tool", "function"):
            raise ValueError("unsupported role: there are no tools here")
        if role not in _SPEAKERS:
            raise ValueError("expected 'system', 'developer', 'user' or 'assistant'")
        return _SPEAKERS[role]

    @field_validator("content")
    @classmethod
    def _text(cls, content: Any) -> str:
        if isinstance(content, str):
            return _storable(content)
        if not isinstance(content, list):
            raise ValueError("expected a text, or a list of parts with type 'text'")
        return _storable("\n".join(_part(part) for part in content))


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


class ChatRequest(BaseModel):
    """The body of POST /v1/chat/completions; members we do not know are passed over."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "model": "extractive",
                "messages": [{"role": "user", "content": "What is the budget for the roof repair?"}],
                "retrieval": {"collections": ["town"], "top_k": 4},
            }
        }
    )

    model: Text = ""
    messages: Annotated[list[AskedMessage], Field(min_length=1, max_length=MAX_MESSAGES)]
    stream: bool = False
    stream_options: StreamOptions | None = None
    retrieval: bool | Retrieval | None = None
    conversation: Annotated[str, AfterValidator(_conversation)] | None = None
    temperature: Annotated[float, Field(ge=0, le=4)] | None = None
    top_p: Annotated[float, Field(ge=0, le=1)] | None = None
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    max_completion_tokens: Annotated[int, Field(ge=1)] | None = None
    stop: Text | list[Text] | None = None
    seed: int | None = None
    n: Literal[1] | None = None
    tools: list[Any] | None = None

    @field_validator("stop")
    @classmethod
    def _stops(cls, stop: str | list[str] | None) -> list[str] | None:
        stops = [stop] if isinstance(stop, str) else stop
        if stops is not None and (len(stops) > 16 or not all(stops)):
            raise ValueError("expected at most 16 texts, none of them empty")
        return stops

    @field_validator("tools")
    @classmethod
    def _no_tools(cls, tools: list[Any] | None) -> None:
        if tools:
            raise ValueError("unsupported: no tools are called here")

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
    def sampling(self) -> Sampling:
        """How the model is to write; an explicit 0 counts."""
        most = self.max_tokens if self.max_tokens is not None else self.max_completion_tokens
        stop = tuple(self.stop or ())
        return Sampling(self.temperature, self.top_p, most, self.seed, stop)


@dataclass(frozen=True)
class Completion:
    """One answer on its way: what all its pieces have in common."""

    model: str
    conversation: str | None = None
    """Whose turn it is."""
    id: str = field(default_factory=lambda: f"chatcmpl-{secrets.token_hex(12)}")
    created: int = field(default_factory=lambda: int(time.time()))

    def whole(self, answer: Answer) -> dict[str, Any]:
        """The answer at once."""
        message = {"role": "assistant", "content": answer.text}
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": _finish(answer)}
        head = self._head("chat.completion")
        return head | {"choices": [choice], "usage": usage_of(answer), "context_chat": self._about(answer)}

    def first(self) -> dict[str, Any]:
        """The piece that says who speaks."""
        return self._piece({"role": "assistant", "content": ""})

    def text(self, piece: str) -> dict[str, Any]:
        """A piece of the text."""
        return self._piece({"content": piece})

    def last(self, answer: Answer) -> dict[str, Any]:
        """The piece that says why the text ends, and what it was written from."""
        return self._piece({}, _finish(answer)) | {"context_chat": self._about(answer)}

    def usage(self, answer: Answer) -> dict[str, Any]:
        """The piece with the tokens."""
        return self._head("chat.completion.chunk") | {"choices": [], "usage": usage_of(answer)}

    def _piece(self, delta: dict[str, str], finish: str | None = None) -> dict[str, Any]:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
        return self._head("chat.completion.chunk") | {"choices": [choice]}

    def _about(self, answer: Answer) -> dict[str, Any]:
        return about(answer) | ({} if self.conversation is None else {"conversation": self.conversation})

    def _head(self, kind: str) -> dict[str, Any]:
        return {"id": self.id, "object": kind, "created": self.created, "model": self.model}


def usage_of(answer: Answer) -> dict[str, int]:
    """The tokens of an answer; none where nothing was generated."""
    usage = answer.usage or Usage(0, 0)
    total = usage.prompt_tokens + usage.answer_tokens
    return {"prompt_tokens": usage.prompt_tokens, "completion_tokens": usage.answer_tokens, "total_tokens": total}


def about(answer: Answer) -> dict[str, Any]:
    """What the answer was written from, and by whom."""
    return {
        "sources": _sources(answer.passages),
        "citations": [_citation(citation) for citation in answer.citations],
        "model": answer.model or None,
        "unavailable": list(answer.unavailable),
        "blocked": False,
        "estimated": answer.usage is not None and answer.usage.estimated,
    }


def _sources(passages: Iterable[Passage]) -> list[dict[str, Any]]:
    """Each source once, with the score of its best passage, best first."""
    best: dict[str, dict[str, Any]] = {}
    for passage in passages:
        known = best.setdefault(str(passage.source), _source(passage))
        known["score"] = max(known["score"], round(passage.similarity, 4))
    return list(best.values())


def _source(passage: Passage) -> dict[str, Any]:
    score = round(passage.similarity, 4)
    return {"id": str(passage.source), "title": passage.title, "score": score, "origin": "retrieved"}


def _citation(citation: Citation) -> dict[str, Any]:
    """A marker of the text, and what it points to; its offsets count characters."""
    found = _source(citation.passage) | {"start": citation.start, "end": citation.end}
    return found | {"text": citation.passage.text, **_place(citation.passage.location)}


def _place(location: Location) -> dict[str, Any]:
    named = {"page": location.page, "sheet": location.sheet, "slide": location.slide, "heading": location.heading}
    return {name: value for name, value in named.items() if value is not None}


def _finish(answer: Answer) -> str:
    return "length" if answer.finish is Finish.LENGTH else "stop"
