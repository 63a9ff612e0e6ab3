# SPDX-License-Identifier: AGPL-3.0-or-later
"""An answer as OpenAI's clients read it, at once or in pieces: one iterator of events, whatever the surface."""

from __future__ import annotations

import secrets
import time
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any

from fastapi import Request
from fastapi.responses import Response

from context_chat_backend.domain import (
    Answer,
    AnswerEvent,
    Citation,
    Delta,
    Done,
    Finish,
    Location,
    Reasoning,
    SourceRef,
)
from context_chat_backend.inference.relaying.shapes import usage_of
from context_chat_backend.web.program_route import while_listening
from context_chat_backend.web.sources import source_of, sources_of
from context_chat_backend.web.sse import as_envelope, begun, errors_last, event_stream


@dataclass(frozen=True)
class Completion:
    """One answer on its way: what all its pieces have in common."""

    model: str
    conversation: str | None = None
    """Whose turn it is."""
    names: Mapping[SourceRef, str] = field(default_factory=dict)
    """What the caller calls sources he brought himself."""
    id: str = field(default_factory=lambda: f"chatcmpl-{secrets.token_hex(12)}")
    created: int = field(default_factory=lambda: int(time.time()))

    async def at_once(self, request: Request, events: AsyncGenerator[AnswerEvent, None]) -> dict[str, Any]:
        """The body of an answer that is not streamed. Raises what the events raise, and ApiError (499)."""
        return self._whole(*await while_listening(request, _last(events)))

    async def streamed(
        self, request: Request, events: AsyncGenerator[AnswerEvent, None], *, wants_usage: bool
    ) -> Response:
        """The answer as it is written. Raises what happens before the first event: it has its own status."""
        pieces = self._pieces(await begun(request, events), wants_usage)
        return event_stream(errors_last(pieces, as_envelope(request)))

    def _whole(self, answer: Answer, thoughts: str) -> dict[str, Any]:
        message = {"role": "assistant", "content": answer.text}
        if thoughts:
            message["reasoning_content"] = thoughts
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": _finish(answer)}
        head = self.head("chat.completion")
        return head | {"choices": [choice], "usage": usage_of(answer.usage), "context_chat": self._about(answer)}

    async def _pieces(
        self, events: AsyncGenerator[AnswerEvent, None], wants_usage: bool
    ) -> AsyncGenerator[Mapping[str, Any], None]:
        """The chunks of a stream."""
        async with aclosing(events):
            yield self._piece({"role": "assistant", "content": ""})
            async for event in events:
                for chunk in self._chunks(event, wants_usage):
                    yield chunk

    def _chunks(self, event: AnswerEvent, wants_usage: bool) -> list[dict[str, Any]]:
        match event:
            case Reasoning(text):
                return [self._piece({"reasoning_content": text})]
            case Delta(text):
                return [self._piece({"content": text})]
            case Done(answer):
                last = self._piece({}, _finish(answer)) | {"context_chat": self._about(answer)}
                usage = self.head("chat.completion.chunk") | {"choices": [], "usage": usage_of(answer.usage)}
                return [last, usage] if wants_usage else [last]
            case _:
                return []

    def _piece(self, delta: dict[str, str], finish: str | None = None) -> dict[str, Any]:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
        return self.head("chat.completion.chunk") | {"choices": [choice]}

    def head(self, kind: str) -> dict[str, Any]:
        """What every object of the answer begins with."""
        return {"id": self.id, "object": kind, "created": self.created, "model": self.model}

    def _about(self, answer: Answer) -> dict[str, Any]:
        """What the answer was written from, and by whom."""
        place = {} if self.conversation is None else {"conversation": self.conversation}
        return place | {
            "sources": sources_of(answer.passages, self.names),
            "citations": [self._citation(citation) for citation in answer.citations],
            "model": answer.model or None,
            "unavailable": list(answer.unavailable),
            "blocked": answer.blocked,
            "dropped": answer.dropped,
            "estimated": answer.usage is not None and answer.usage.estimated,
        }

    def _citation(self, citation: Citation) -> dict[str, Any]:
        """A marker of the text, and what it points to; its offsets count characters."""
        found = source_of(citation.passage, self.names) | {"start": citation.start, "end": citation.end}
        return found | {"text": citation.quote, "matched": citation.matched, **_place(citation.passage.location)}


async def _last(events: AsyncGenerator[AnswerEvent, None]) -> tuple[Answer, str]:
    """The answer, and what was thought before it."""
    thoughts = ""
    async with aclosing(events):
        async for event in events:
            if isinstance(event, Reasoning):
                thoughts += event.text
            if isinstance(event, Done):
                return event.answer, thoughts
    raise AssertionError("an answer ends with Done")


def _place(location: Location) -> dict[str, Any]:
    named = {"page": location.page, "sheet": location.sheet, "slide": location.slide, "heading": location.heading}
    return {name: value for name, value in named.items() if value is not None}


def _finish(answer: Answer) -> str:
    return "length" if answer.finish is Finish.LENGTH else "stop"
