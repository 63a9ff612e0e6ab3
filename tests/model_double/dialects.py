# SPDX-License-Identifier: AGPL-3.0-or-later
"""The same answer as each protocol writes it: in pieces, and whole."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

USAGE = {"prompt_tokens": 5, "completion_tokens": 4, "total_tokens": 9}
_WHEN = "2024-05-01T12:00:00.000000Z"


class Dialect(Protocol):
    """How a protocol writes an answer; bodies are those of requests."""

    kind: str
    """The media type of a stream."""

    def asked(self, body: Mapping[str, Any]) -> str:
        """What is to be continued or answered."""
        ...

    def streams(self, body: Mapping[str, Any]) -> bool:
        """Whether the answer is wanted in pieces."""
        ...

    def piece(self, body: Mapping[str, Any], text: str | None, **more: Any) -> bytes:
        """A piece of an answer; `more` stands beside the text."""
        ...

    def end(self, body: Mapping[str, Any], finish: str, usage: Mapping[str, Any]) -> bytes:
        """What follows the last piece."""
        ...

    def whole(self, body: Mapping[str, Any], texts: Sequence[str], step: Mapping[str, Any]) -> Any:
        """An answer that is not streamed, with a choice for each text."""
        ...


def event(said: Any) -> bytes:
    """One server-sent event."""
    return f"data: {json.dumps(said, ensure_ascii=False)}\n\n".encode()


def line(said: Any) -> bytes:
    """One line of JSON."""
    return json.dumps(said, ensure_ascii=False).encode() + b"\n"


class Chat:
    """OpenAI's `/v1/chat/completions`."""

    kind = "text/event-stream"

    def asked(self, body: Mapping[str, Any]) -> str:
        return str(body["messages"][-1]["content"])

    def streams(self, body: Mapping[str, Any]) -> bool:
        return bool(body.get("stream"))

    def piece(self, body: Mapping[str, Any], text: str | None, **more: Any) -> bytes:
        return event(self._chunk(body, [{"index": 0, "delta": {"content": text} | more, "finish_reason": None}]))

    def end(self, body: Mapping[str, Any], finish: str, usage: Mapping[str, Any]) -> bytes:
        last = event(self._chunk(body, [{"index": 0, "delta": {"content": None}, "finish_reason": finish}]))
        return last + _counted(body, usage, self._chunk(body, [])) + b"data: [DONE]\n\n"

    def whole(self, body: Mapping[str, Any], texts: Sequence[str], step: Mapping[str, Any]) -> Any:
        beside: dict[str, Any] = {"reasoning_content": step["thinks"]} if "thinks" in step else {}
        beside |= {"tool_calls": step["calls"]} if "calls" in step else {}
        choices = [
            {
                "index": index,
                "message": {"role": "assistant", "content": text} | beside,
                "finish_reason": step.get("finish", "stop"),
            }
            for index, text in enumerate(texts)
        ]
        head: dict[str, Any] = {
            "id": "chatcmpl-double",
            "object": "chat.completion",
            "created": 1,
            "model": body.get("model", ""),
        }
        return head | {"choices": choices, "usage": step.get("usage", USAGE)}

    def _chunk(self, body: Mapping[str, Any], choices: list[Any]) -> dict[str, Any]:
        head: dict[str, Any] = {"id": "chatcmpl-double", "object": "chat.completion.chunk", "created": 1}
        return head | {"model": body.get("model", ""), "choices": choices}


class Text:
    """OpenAI's `/v1/completions`; Refact's server adds two members of its own."""

    kind = "text/event-stream"

    def asked(self, body: Mapping[str, Any]) -> str:
        prompt = body.get("prompt", "")
        return str(prompt[0] if isinstance(prompt, list) else prompt)

    def streams(self, body: Mapping[str, Any]) -> bool:
        return bool(body.get("stream"))

    def piece(self, body: Mapping[str, Any], text: str | None, **more: Any) -> bytes:
        return event(self._chunk(body, [{"index": 0, "text": text or "", "logprobs": None, "finish_reason": None}]))

    def end(self, body: Mapping[str, Any], finish: str, usage: Mapping[str, Any]) -> bytes:
        done = self._chunk(body, [{"index": 0, "text": "", "logprobs": None, "finish_reason": finish}])
        counted = _counted(body, usage, self._chunk(body, []))
        return event(done | {"status": "completed"}) + counted + b"data: [DONE]\n\n"

    def whole(self, body: Mapping[str, Any], texts: Sequence[str], step: Mapping[str, Any]) -> Any:
        finish = step.get("finish", "stop")
        choices = [
            {"index": index, "text": text, "logprobs": None, "finish_reason": finish}
            for index, text in enumerate(texts)
        ]
        head: dict[str, Any] = {
            "id": "cmpl-double",
            "object": "text_completion",
            "created": 1,
            "model": body.get("model", ""),
        }
        return head | {"choices": choices, "usage": step.get("usage", USAGE), "status": "completed", "caps_version": 0}

    def _chunk(self, body: Mapping[str, Any], choices: list[Any]) -> dict[str, Any]:
        head: dict[str, Any] = {
            "id": "cmpl-double",
            "object": "text_completion",
            "created": 1,
            "model": body.get("model", ""),
        }
        return head | {"choices": choices, "status": "in_progress", "caps_version": 0}


class OllamaChat:
    """Ollama's `/api/chat`."""

    kind = "application/x-ndjson"

    def asked(self, body: Mapping[str, Any]) -> str:
        return str(body["messages"][-1]["content"])

    def streams(self, body: Mapping[str, Any]) -> bool:
        return bool(body.get("stream", True))

    def piece(self, body: Mapping[str, Any], text: str | None, **more: Any) -> bytes:
        beside: dict[str, Any] = {"thinking": more["reasoning_content"]} if "reasoning_content" in more else {}
        beside |= {"tool_calls": more["tool_calls"]} if "tool_calls" in more else {}
        return line(_of_ollama(body) | self._said(text or "", beside) | {"done": False})

    def end(self, body: Mapping[str, Any], finish: str, usage: Mapping[str, Any]) -> bytes:
        return line(_of_ollama(body) | self._said("", {}) | _ended(finish, usage))

    def whole(self, body: Mapping[str, Any], texts: Sequence[str], step: Mapping[str, Any]) -> Any:
        beside: dict[str, Any] = {"thinking": step["thinks"]} if "thinks" in step else {}
        ended = _ended(step.get("finish", "stop"), step.get("usage", USAGE))
        return _of_ollama(body) | self._said(texts[0], beside) | ended

    def _said(self, text: str, beside: Mapping[str, Any]) -> dict[str, Any]:
        return {"message": {"role": "assistant", "content": text, **beside}}


class OllamaText(OllamaChat):
    """Ollama's `/api/generate`."""

    def asked(self, body: Mapping[str, Any]) -> str:
        return str(body.get("prompt", ""))

    def _said(self, text: str, beside: Mapping[str, Any]) -> dict[str, Any]:
        return {"response": text, **beside}


DIALECTS: Mapping[str, Dialect] = {
    "/v1/chat/completions": Chat(),
    "/v1/completions": Text(),
    "/api/chat": OllamaChat(),
    "/api/generate": OllamaText(),
}
"""By the path of a request."""


def _counted(body: Mapping[str, Any], usage: Mapping[str, Any], chunk: Mapping[str, Any]) -> bytes:
    return event({**chunk, "usage": usage}) if (body.get("stream_options") or {}).get("include_usage") else b""


def _of_ollama(body: Mapping[str, Any]) -> dict[str, Any]:
    return {"model": body.get("model", ""), "created_at": _WHEN}


def _ended(finish: str, usage: Mapping[str, Any]) -> dict[str, Any]:
    counts: dict[str, Any] = {"prompt_eval_count": usage["prompt_tokens"], "eval_count": usage["completion_tokens"]}
    return {"done": True, "done_reason": finish, "total_duration": 1_000_000, "load_duration": 1_000} | counts
