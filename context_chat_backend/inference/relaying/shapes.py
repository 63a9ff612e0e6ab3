# SPDX-License-Identifier: AGPL-3.0-or-later
"""OpenAI's objects, for models that do not write them themselves."""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from context_chat_backend.domain import Usage
from context_chat_backend.ports import Exchange


@dataclass(frozen=True, slots=True)
class Shape:
    """One answer, in pieces or whole."""

    exchange: Exchange
    model: str
    id: str = field(default_factory=lambda: secrets.token_hex(12))
    created: int = field(default_factory=lambda: int(time.time()))

    def piece(self, text: str, finish: str | None = None, **beside: Any) -> dict[str, Any]:
        """A chunk of a stream; `beside` stands beside the text of a chat."""
        if self.exchange is Exchange.TEXT:
            return self._head(whole=False) | {"choices": [_choice({"text": text}, finish)]}
        delta = ({"content": text} if text or finish is None else {}) | beside
        return self._head(whole=False) | {"choices": [_choice({"delta": delta}, finish)]}

    def counted(self, usage: Usage | None) -> dict[str, Any]:
        """The chunk after the last."""
        return self._head(whole=False) | {"choices": [], "usage": usage_of(usage)}

    def whole(self, text: str, finish: str, usage: Usage | None, **beside: Any) -> dict[str, Any]:
        """An answer at once."""
        said: dict[str, Any] = {"text": text}
        if self.exchange is Exchange.CHAT:
            said = {"message": {"role": "assistant", "content": text} | beside}
        return self._head(whole=True) | {"choices": [_choice(said, finish)], "usage": usage_of(usage)}

    def _head(self, *, whole: bool) -> dict[str, Any]:
        if self.exchange is Exchange.TEXT:
            prefix, kind = "cmpl", "text_completion"
        else:
            prefix, kind = "chatcmpl", "chat.completion" if whole else "chat.completion.chunk"
        return {"id": f"{prefix}-{self.id}", "object": kind, "created": self.created, "model": self.model}


def usage_of(usage: Usage | None) -> dict[str, int]:
    """Tokens by OpenAI's names; none where they are not known."""
    used = usage or Usage(0, 0)
    total = used.prompt_tokens + used.answer_tokens
    return {"prompt_tokens": used.prompt_tokens, "completion_tokens": used.answer_tokens, "total_tokens": total}


def _choice(said: Mapping[str, Any], finish: str | None) -> dict[str, Any]:
    return {"index": 0, **said, "logprobs": None, "finish_reason": finish}
