# SPDX-License-Identifier: AGPL-3.0-or-later
"""The one client for servers that speak OpenAI's HTTP protocol: llama.cpp, vLLM, Ollama and OpenAI itself."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import httpx

from context_chat_backend.errors import ModelUnavailable

_ATTEMPTS = 3
_PAUSE_SECONDS = 0.5
_RETRIED = frozenset({408, 409, 425, 429, 500, 502, 503, 504})


class OpenAIServer:
    """A server by its base URL, which ends before `/chat/completions`."""

    def __init__(self, base_url: str, api_key: str | None, *, idle_seconds: float = 60.0) -> None:
        """`idle_seconds` is how long the server may be silent, before the first byte and between two."""
        headers = {} if api_key is None else {"Authorization": f"Bearer {api_key}"}
        timeout = httpx.Timeout(idle_seconds, connect=5.0)
        self._client = httpx.AsyncClient(base_url=base_url.rstrip("/"), headers=headers, timeout=timeout)

    async def events(self, path: str, body: Mapping[str, Any]) -> AsyncGenerator[Any, None]:
        """POST `body` and yield the JSON of each server-sent event until `[DONE]`.

        Tried again up to three times, before the first event only. Raises ModelUnavailable, whose text holds nothing
        of what was asked or answered.
        """
        async with self._answer(path, body) as answer:
            try:
                async for line in answer.aiter_lines():
                    if line.startswith("data:"):
                        data = line[len("data:") :].strip()
                        if data == "[DONE]":
                            return
                        yield json.loads(data)
            except (httpx.HTTPError, ValueError) as error:
                raise ModelUnavailable(f"the model's answer broke off ({type(error).__name__})") from None
        raise ModelUnavailable("the model's answer broke off")

    async def close(self) -> None:
        """Close all connections."""
        await self._client.aclose()

    @asynccontextmanager
    async def _answer(self, path: str, body: Mapping[str, Any]) -> AsyncIterator[httpx.Response]:
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                answer = await self._client.send(self._client.build_request("POST", path, json=body), stream=True)
            except httpx.HTTPError as error:
                failure = type(error).__name__
            else:
                if answer.is_success:
                    break
                await answer.aclose()
                failure = f"status {answer.status_code}"
                if answer.status_code not in _RETRIED:
                    raise ModelUnavailable(f"the model server refuses the request ({failure})")
            if attempt == _ATTEMPTS:
                raise ModelUnavailable(f"the model server does not answer ({failure})")
            await asyncio.sleep(_PAUSE_SECONDS * attempt)
        try:
            yield answer
        finally:
            await answer.aclose()
