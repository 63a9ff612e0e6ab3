# SPDX-License-Identifier: AGPL-3.0-or-later
"""A judge behind `POST {base_url}/moderations`, as OpenAI and servers that speak its protocol have it."""

from __future__ import annotations

from typing import Any

import httpx

from context_chat_backend.bounded_answers import MOST, bound
from context_chat_backend.errors import ModelFailure, ModelUnavailable

_LARGEST_ANSWER = 1 << 20
"""Bytes; a verdict is no longer."""


class RemoteModerator:
    """One model of one server."""

    def __init__(
        self, base_url: str, *, model: str, api_key: str | None, timeout_seconds: float, answer_bytes: int = MOST
    ) -> None:
        """`base_url` ends before `/moderations`; `model` may be empty, where the server has one."""
        headers = {} if api_key is None else {"Authorization": f"Bearer {api_key}"}
        timeout = httpx.Timeout(timeout_seconds, connect=5.0)
        client = httpx.AsyncClient(base_url=base_url.rstrip("/"), headers=headers, timeout=timeout)
        self._client = bound(client, min(answer_bytes, _LARGEST_ANSWER))
        self._model = {"model": model} if model else {}

    async def allows(self, text: str) -> bool:
        """See ports.Moderator. One flag among all results and categories is a no."""
        try:
            answer = await self._client.post("/moderations", json={"input": text, **self._model})
        except httpx.TimeoutException:
            raise ModelUnavailable("the moderation server does not answer in time", ModelFailure.TIMEOUT) from None
        except httpx.HTTPError as error:
            raise ModelUnavailable(f"the moderation server does not answer ({type(error).__name__})") from None
        if answer.status_code != httpx.codes.OK:
            raise ModelUnavailable(f"the moderation server refuses (status {answer.status_code})", ModelFailure.BROKEN)
        try:
            results = [(result["flagged"], result.get("categories") or {}) for result in answer.json()["results"]]
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            raise ModelUnavailable("the moderation server answers what cannot be read", ModelFailure.BROKEN) from None
        return bool(results) and all(_is_clear(flagged, categories) for flagged, categories in results)

    async def close(self) -> None:
        """Close all connections."""
        await self._client.aclose()


def _is_clear(flagged: Any, categories: Any) -> bool:
    return flagged is False and isinstance(categories, dict) and not any(categories.values())
