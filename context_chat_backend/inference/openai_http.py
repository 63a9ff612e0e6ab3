# SPDX-License-Identifier: AGPL-3.0-or-later
"""The one client for model servers: those that speak OpenAI's HTTP protocol (llama.cpp, vLLM, OpenAI), and Ollama.

A request is tried again before the first byte of its answer only. A server that fails again and again is left alone for
a while, so that questions do not queue behind it and another model can take over at once.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing, asynccontextmanager, nullcontext, suppress
from dataclasses import dataclass
from typing import Any

import httpx

from context_chat_backend.bounded_answers import MOST, bound
from context_chat_backend.errors import ModelFailure, ModelUnavailable
from context_chat_backend.inference.answers import (
    BrokeOff,
    ServerRefuses,
    error_in,
    error_of,
    lines_of,
    parsed,
    whole,
    without_error,
)
from context_chat_backend.inference.breaker import Breaker

OLLAMA = "http://localhost:11434"
"""Where Ollama listens, unless it is told otherwise."""
_ATTEMPTS = 3
_PAUSE_SECONDS = 0.5
_LONGEST_PAUSE_SECONDS = 5.0
"""A server that asks for more patience is not waited for: somebody is looking at the screen."""
_RETRIED = frozenset({408, 409, 425, 429, 500, 502, 503, 504})
_AFTER_THE_END_SECONDS = 0.05
_ASIDE_SECONDS = 5.0
"""For questions beside generation: sizes, tokens."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a server is waited for, in seconds."""

    connect: float = 5.0
    first: float = 120.0
    """From the request to the first byte of the answer: a long prompt is read meanwhile."""
    idle: float = 60.0
    """Between two pieces."""
    total: float = 900.0


class _NotNow(Exception):
    """One attempt failed before the first byte, and another may not."""

    def __init__(self, said: str, failure: ModelFailure, pause_seconds: float | None = None) -> None:
        super().__init__(said)
        self.failure = failure
        self.pause_seconds = pause_seconds


class OpenAIServer:
    """A server by its base URL, which ends before `/chat/completions`."""

    def __init__(
        self,
        base_url: str,
        api_key: str | None,
        *,
        patience: Patience = Patience(),
        breaker: Breaker | None = None,
        answer_bytes: int = MOST,
    ) -> None:
        """Without a `breaker` of its own the server has the usual one: five failures in a row bring a pause.

        A stream, too, has at most `answer_bytes`.
        """
        self._base_url = base_url.rstrip("/")
        self._patience = patience
        self._breaker = breaker or Breaker("the model server", tolerated=4, first_pause=10.0, longest_pause=60.0)
        client = httpx.AsyncClient(
            headers={} if api_key is None else {"Authorization": f"Bearer {api_key}"},
            timeout=httpx.Timeout(30.0, connect=patience.connect, read=None),  # reading is timed below
            limits=httpx.Limits(max_connections=None, max_keepalive_connections=64),
        )
        self._client = bound(client, answer_bytes)

    async def events(self, path: str, body: Mapping[str, Any]) -> AsyncGenerator[Any, None]:
        """POST `body` and yield the JSON of each server-sent event until `[DONE]`; an answer in plain JSON is one.

        Of an answer in lines of JSON, as Ollama writes, it yields each line until the one that is `done`.

        Closing the generator closes the connection, on which servers stop. Raises ServerRefuses, BrokeOff and other
        ModelUnavailable, whose texts hold nothing of what was asked or answered.
        """
        deadline = time.monotonic() + self._patience.total
        async with self._answer(path, body, deadline) as (answer, chunks):
            kind = answer.headers.get("content-type", "")
            in_lines = "ndjson" in kind
            if "json" in kind and not in_lines:
                yield without_error(await whole(chunks), answer.status_code)
                return
            async with aclosing(lines_of(chunks)) as lines:
                async for line in lines:
                    if in_lines and line:
                        event = without_error(parsed(line), answer.status_code)
                        yield event
                        if isinstance(event, dict) and event.get("done"):
                            return
                        continue
                    name, _, data = line.partition(":")
                    if name not in ("data", "error"):
                        continue
                    if data.strip() == "[DONE]":
                        await _read_out(lines)
                        return
                    event = parsed(data)
                    yield without_error({"error": event} if name == "error" else event, answer.status_code)
        raise BrokeOff("the model's answer broke off")

    async def ask(
        self, path: str, body: Mapping[str, Any] | None = None, *, at_root: bool = False, is_probe: bool = False
    ) -> Any:
        """The JSON of a short answer: GET without `body`, else POST; None when the server has no such page.

        With `at_root` the path begins at the server instead of the base URL. A probe is made also while the server is
        left alone, and how it ends does not count. Raises ModelUnavailable.
        """
        url = (self._base_url.removesuffix("/v1") if at_root else self._base_url) + path
        with nullcontext() if is_probe else self._breaker.attempt():
            try:
                async with asyncio.timeout(min(_ASIDE_SECONDS, self._patience.total)):
                    answer = await self._client.request("GET" if body is None else "POST", url, json=body)
            except (httpx.HTTPError, TimeoutError) as error:
                text = f"the model server does not answer ({type(error).__name__})"
                raise ModelUnavailable(text, _failure(error)) from None
            if answer.status_code in _RETRIED:
                text = f"the model server does not answer (status {answer.status_code})"
                raise ModelUnavailable(text, _failure_told(answer.status_code, error_in(answer.content)))
        try:
            return answer.json() if answer.is_success else None
        except (ValueError, RecursionError):
            return None

    async def close(self) -> None:
        """Close all connections."""
        await self._client.aclose()

    @asynccontextmanager
    async def _answer(
        self, path: str, body: Mapping[str, Any], deadline: float
    ) -> AsyncIterator[tuple[httpx.Response, AsyncGenerator[bytes, None]]]:
        """The answer of the first attempt whose body begins, and the pieces of that body."""
        refusal: ServerRefuses | None = None
        with self._breaker.attempt():
            try:
                answer, first, rest = await self._tried(path, body, deadline)
            except ServerRefuses as error:  # the server is well
                refusal = error
        if refusal is not None:
            raise refusal
        chunks = self._timed(first, rest, deadline)
        try:
            yield answer, chunks
        finally:
            await chunks.aclose()
            await answer.aclose()

    async def _tried(
        self, path: str, body: Mapping[str, Any], deadline: float
    ) -> tuple[httpx.Response, bytes, AsyncIterator[bytes]]:
        """As `_begun`, several times. Raises ServerRefuses, ModelUnavailable."""
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                return await self._begun(path, body, deadline)
            except _NotNow as failure:
                pause = failure.pause_seconds or _PAUSE_SECONDS * attempt
                hopeless = pause > _LONGEST_PAUSE_SECONDS or time.monotonic() + pause > deadline
                if attempt == _ATTEMPTS or hopeless:
                    raise ModelUnavailable(f"the model server does not answer ({failure})", failure.failure) from None
                await asyncio.sleep(pause)
        raise AssertionError("the last attempt returns or raises")

    async def _begun(
        self, path: str, body: Mapping[str, Any], deadline: float
    ) -> tuple[httpx.Response, bytes, AsyncIterator[bytes]]:
        """One attempt, up to the first byte. Raises _NotNow, ServerRefuses, ModelUnavailable."""
        request = self._client.build_request("POST", self._base_url + path, json=body)
        answer: httpx.Response | None = None
        begun = False
        try:
            async with asyncio.timeout(min(self._patience.first, max(0.0, deadline - time.monotonic()))):
                answer = await self._client.send(request, stream=True)
                pieces = answer.aiter_bytes()
                if answer.status_code in _RETRIED:
                    told = _failure_told(answer.status_code, await error_of(pieces))
                    raise _NotNow(f"status {answer.status_code}", told, _retry_after(answer))
                if not answer.is_success:
                    raise ServerRefuses(answer.status_code, await error_of(pieces))
                first = await anext(pieces, b"")
            if not first:
                raise _NotNow("nothing", ModelFailure.BROKEN)
            begun = True
        except TimeoutError:
            # Not tried again: the server is at work, and would have to begin anew.
            raise ModelUnavailable("the model server does not answer in time", ModelFailure.TIMEOUT) from None
        except httpx.HTTPError as error:
            raise _NotNow(type(error).__name__, _failure(error)) from None
        finally:
            if answer is not None and not begun:
                await answer.aclose()
        return answer, first, pieces

    async def _timed(self, first: bytes, rest: AsyncIterator[bytes], deadline: float) -> AsyncGenerator[bytes, None]:
        """All pieces of a body. Raises ModelUnavailable when the next one does not come in time."""
        yield first
        while True:
            try:
                async with asyncio.timeout(min(self._patience.idle, max(0.0, deadline - time.monotonic()))):
                    piece = await anext(rest, None)
            except TimeoutError:
                text = "the model fell silent in the middle of its answer"
                raise BrokeOff(text, ModelFailure.TIMEOUT) from None
            except httpx.HTTPError as error:
                raise BrokeOff(f"the model's answer broke off ({type(error).__name__})") from None
            if piece is None:
                return
            yield piece


async def _read_out(lines: AsyncGenerator[str, None]) -> None:
    """Take what comes after the end, which is nothing, so that the connection can be used again."""
    with suppress(TimeoutError, BrokeOff):
        async with asyncio.timeout(_AFTER_THE_END_SECONDS):
            async for _ in lines:
                pass


def _retry_after(answer: httpx.Response) -> float | None:
    """Seconds; None when the server names none, or a date."""
    told = answer.headers.get("retry-after", "")
    return float(told) if told.isascii() and told.isdigit() else None


def _failure(error: Exception) -> ModelFailure:
    """What a connection that failed says of its server."""
    if isinstance(error, (httpx.ConnectError, httpx.ConnectTimeout)):
        return ModelFailure.UNREACHABLE
    return ModelFailure.TIMEOUT if isinstance(error, (TimeoutError, httpx.TimeoutException)) else ModelFailure.BROKEN


def _failure_told(status: int, error: Mapping[str, Any]) -> ModelFailure:
    """What a server says of itself that cannot answer now."""
    if status == 503 and (error.get("type") == "unavailable_error" or "loading" in str(error.get("message")).lower()):
        return ModelFailure.LOADING
    if status in (408, 504):
        return ModelFailure.TIMEOUT
    return ModelFailure.BROKEN if status in (500, 502) else ModelFailure.UNAVAILABLE
