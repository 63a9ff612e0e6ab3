# SPDX-License-Identifier: AGPL-3.0-or-later
"""How a request in OpenAI's form wants it written, for models that are asked otherwise."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from context_chat_backend.domain import Sampling
from context_chat_backend.errors import InvalidRequest


def one_answer(body: Mapping[str, Any]) -> None:
    """Raise InvalidRequest where several answers are wanted."""
    if (body.get("n") or 1) > 1:
        raise InvalidRequest("n: this model writes one answer at a time")


def sampling_of(body: Mapping[str, Any]) -> Sampling:
    """How the next token is chosen, and how many there may be."""
    return Sampling(
        body.get("temperature"),
        body.get("top_p"),
        body.get("max_tokens"),
        body.get("seed"),
        frequency_penalty=body.get("frequency_penalty"),
        presence_penalty=body.get("presence_penalty"),
    )


def stops_of(body: Mapping[str, Any]) -> tuple[str, ...]:
    """Where the answer ends."""
    stop = body.get("stop") or ()
    return (stop,) if isinstance(stop, str) else tuple(stop)


def text_of(content: Any) -> str:
    """The text of a message, whose content may be a list of parts."""
    if isinstance(content, list):
        return "\n".join(str(part.get("text", "")) for part in content if isinstance(part, dict))
    return content if isinstance(content, str) else ""
