# SPDX-License-Identifier: AGPL-3.0-or-later
"""Ollama as it is asked for what only its own protocol can say: raw text without a template, and tools."""

from __future__ import annotations

import json
import secrets
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import Any

from context_chat_backend.domain import Finish
from context_chat_backend.errors import InvalidRequest
from context_chat_backend.inference.language.ollama import OllamaModel, ollama_options
from context_chat_backend.inference.relaying.shapes import Shape
from context_chat_backend.inference.relaying.wishes import one_answer, sampling_of, stops_of, text_of
from context_chat_backend.ports import Exchange

_PATHS = {Exchange.TEXT: "/api/generate", Exchange.CHAT: "/api/chat"}


class OllamaRelay:
    """One model of one server."""

    def __init__(self, model: OllamaModel) -> None:
        self._model = model

    async def passed(self, exchange: Exchange, body: Mapping[str, Any]) -> AsyncGenerator[dict[str, Any], None]:
        """See ports.Relay. Several choices are refused."""
        one_answer(body)
        shape, streams = Shape(exchange, self._model.name), bool(body.get("stream"))
        text, thoughts = "", ""
        calls: list[dict[str, Any]] = []
        async with aclosing(self._model.lines(_PATHS[exchange], await self._asked(exchange, body))) as lines:
            async for piece, thought, line in lines:
                text, thoughts = text + piece, thoughts + thought
                called = _calls(line, len(calls))
                calls += called
                beside: dict[str, Any] = {"reasoning_content": thought} if thought else {}
                beside |= {"tool_calls": called} if called else {}
                if streams and (piece or beside):
                    yield shape.piece(piece, **beside)
                if line.get("done"):
                    finish: str = Finish.LENGTH if line.get("done_reason") == "length" else Finish.STOP
                    finish, usage = "tool_calls" if calls else finish, self._model.usage(line)
                    if streams:
                        yield shape.piece("", finish)
                        yield shape.counted(usage)
                        return
                    beside = {"reasoning_content": thoughts} if thoughts else {}
                    yield shape.whole(text, finish, usage, **beside, **({"tool_calls": calls} if calls else {}))
                    return

    async def _asked(self, exchange: Exchange, body: Mapping[str, Any]) -> dict[str, Any]:
        options = ollama_options(sampling_of(body), self._model.answer_tokens)
        options |= {"stop": list(stops)} if (stops := stops_of(body)) else {}
        asked: dict[str, Any] = {"options": options}
        if exchange is Exchange.TEXT:
            return asked | {"prompt": str(body["prompt"]), "raw": True}
        if body.get("tools"):
            asked["tools"] = body["tools"]
        if form := _format(body.get("response_format")):
            asked["format"] = form
        return asked | {"messages": [_message(one) for one in body["messages"]]}


def _format(wanted: Any) -> Any:
    """What Ollama calls a format: `json`, or a schema."""
    if not isinstance(wanted, dict) or wanted.get("type") not in ("json_object", "json_schema"):
        return None
    schema = wanted.get("json_schema")
    return schema.get("schema", "json") if isinstance(schema, dict) else "json"


def _message(one: Mapping[str, Any]) -> dict[str, Any]:
    """A message as Ollama has it: text, and arguments of calls as objects."""
    said: dict[str, Any] = {"role": one["role"], "content": text_of(one.get("content"))}
    if one.get("tool_calls"):
        said["tool_calls"] = [_call(call) for call in one["tool_calls"]]
    return said


def _call(call: Any) -> dict[str, Any]:
    """Raises InvalidRequest."""
    try:
        function = call["function"]
        return {"function": {"name": function["name"], "arguments": json.loads(function["arguments"] or "{}")}}
    except (KeyError, TypeError, ValueError):
        raise InvalidRequest("messages: expected tool_calls with a function, its name and its arguments") from None


def _calls(line: Mapping[str, Any], known: int) -> list[dict[str, Any]]:
    """The calls of tools in a line, as OpenAI has them."""
    message = line.get("message")
    found = message.get("tool_calls") if isinstance(message, dict) else None
    calls = []
    for number, one in enumerate(found if isinstance(found, list) else (), start=known):
        function = one.get("function") if isinstance(one, dict) else None
        if isinstance(function, dict):
            arguments = function.get("arguments", {})
            told = arguments if isinstance(arguments, str) else json.dumps(arguments)
            told_of = {"name": str(function.get("name", "")), "arguments": told}
            id_ = f"call_{secrets.token_hex(8)}"
            calls.append({"index": number, "id": id_, "type": "function", "function": told_of})
    return calls
