# SPDX-License-Identifier: AGPL-3.0-or-later
"""Messages of chats with tools, which are passed on: their texts are read as those of every chat, nothing else is."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from pydantic_core import InitErrorDetails, PydanticCustomError, ValidationError

from context_chat_backend.web.chat_wire import MAX_MESSAGES, known_role, read_text, storable

_NAMES = ("name", "tool_call_id")


@dataclass(frozen=True, slots=True)
class PassedMessage:
    """One message, checked."""

    sent: dict[str, Any]
    """What the model's server gets."""
    said: str
    """All texts in it."""


def passed_messages(messages: list[Any]) -> list[PassedMessage]:
    """The messages of a chat with tools. Raises ValidationError, which names the message."""
    if len(messages) > MAX_MESSAGES:
        raise fault(f"at most {MAX_MESSAGES} messages are taken in all, with those of tools")
    checked = []
    for place, message in enumerate(messages):
        try:
            checked.append(_checked(message))
        except ValueError as error:
            raise fault(str(error), place) from None
    return checked


def as_text(given: Any) -> str:
    """What a model may read of a JSON value. Raises ValueError."""
    try:
        return storable(json.dumps(given, ensure_ascii=False))
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def readable(given: Any) -> Any:
    """`given`, a JSON value that has a text. Raises ValueError."""
    as_text(given)
    return given


def fault(text: str, *place: int) -> ValidationError:
    """That something is wrong with the messages, or with one of them."""
    error = PydanticCustomError("value_error", "{text}", {"text": text})
    return ValidationError.from_exception_data("ChatRequest", [_detail(error, place)])


def _detail(error: PydanticCustomError, place: tuple[int, ...]) -> InitErrorDetails:
    return InitErrorDetails(type=error, loc=("messages", *place), input=None)


def _checked(message: Any) -> PassedMessage:
    if not isinstance(message, dict) or not isinstance(message.get("role"), str):
        raise ValueError("expected an object with a role and a content")
    role = message["role"] if message["role"] == "tool" else known_role(message["role"])
    calls = message.get("tool_calls")
    if calls and role != "assistant":
        raise ValueError("tool_calls: only messages of the role 'assistant' have some; leave them out")
    if calls and not (isinstance(calls, list) and all(isinstance(call, dict) for call in calls)):
        raise ValueError("tool_calls: expected a list of objects")
    if role == "tool" and not message.get("tool_call_id"):
        raise ValueError("tool_call_id: it is missing; name the call this is the result of")
    names = {name: message[name] for name in _NAMES if message.get(name) is not None}
    if not all(isinstance(name, str) for name in names.values()):
        raise ValueError(f"{' and '.join(names)}: expected a text")
    content = None if calls and message.get("content") is None else read_text(message.get("content"))
    sent = {"role": role, "content": content} | {name: storable(text) for name, text in names.items()}
    sent |= {"tool_calls": calls} if calls else {}
    said = [content or "", *names.values(), as_text(calls) if calls else ""]
    return PassedMessage(sent, "\n".join(text for text in said if text))
