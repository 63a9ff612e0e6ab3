# SPDX-License-Identifier: AGPL-3.0-or-later
"""A re-ranker behind `POST {base_url}/rerank`, as Jina, Cohere, vLLM, llama.cpp and Text Embeddings Inference have it.

Most take `documents` and answer `{"results": [{"index", "relevance_score"}]}`; Text Embeddings Inference takes `texts`,
refuses anything else with 422 and answers the list alone, with `score`. Both forms are spoken: the first one is tried,
and a server that refuses it is asked in the other from then on.
"""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

import httpx

from context_chat_backend.bounded_answers import MOST, bound
from context_chat_backend.errors import ModelUnavailable

_ATTEMPTS = 2
_PAUSE_SECONDS = 0.2
_RETRIED = frozenset({408, 425, 429, 500, 502, 503, 504})
_OTHER_FORM = 422


class RemoteReranker:
    """One model of one server."""

    def __init__(
        self,
        base_url: str,
        *,
        model: str | None,
        api_key: str | None,
        timeout_seconds: float,
        answer_bytes: int = MOST,
    ) -> None:
        """`base_url` ends before `/rerank`; `timeout_seconds` is all the time an answer may take, both attempts."""
        headers = {} if api_key is None else {"Authorization": f"Bearer {api_key}"}
        timeout = httpx.Timeout(timeout_seconds, connect=5.0)
        client = httpx.AsyncClient(base_url=base_url.rstrip("/"), headers=headers, timeout=timeout)
        self._client = bound(client, answer_bytes)
        self._model = {} if model is None else {"model": model}
        self._timeout_seconds = timeout_seconds
        self._takes_texts = False

    async def scores(self, question: str, texts: Sequence[str]) -> list[float]:
        """See ports.Reranker. Tried twice at most, before the first byte of an answer only."""
        if not texts:
            return []
        try:
            async with asyncio.timeout(self._timeout_seconds):
                answer = await self._asked(question, texts)
        except TimeoutError:
            raise ModelUnavailable(f"the re-ranker did not answer within {self._timeout_seconds} seconds") from None
        return _scores(answer, len(texts))

    async def close(self) -> None:
        """Close all connections."""
        await self._client.aclose()

    async def _asked(self, question: str, texts: Sequence[str]) -> Any:
        status, body = await self._post(self._request(question, texts))
        if status == _OTHER_FORM:
            self._takes_texts = not self._takes_texts
            status, body = await self._post(self._request(question, texts))
        if status != httpx.codes.OK:
            raise ModelUnavailable(f"the re-ranker refuses the request (status {status})")
        try:
            return json.loads(body)
        except (ValueError, RecursionError):
            raise ModelUnavailable("the re-ranker answers something that is not JSON") from None

    def _request(self, question: str, texts: Sequence[str]) -> dict[str, Any]:
        if self._takes_texts:
            return {"query": question, "texts": list(texts), "truncate": True}
        return {**self._model, "query": question, "documents": list(texts), "top_n": len(texts)}

    async def _post(self, body: Mapping[str, Any]) -> tuple[int, bytes]:
        """Status and body of the answer. What broke before its first byte is tried once more."""
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                answer = await self._client.send(self._client.build_request("POST", "/rerank", json=body), stream=True)
            except httpx.HTTPError as error:
                failure = type(error).__name__
            else:
                try:
                    if answer.status_code not in _RETRIED:
                        return answer.status_code, await answer.aread()
                except httpx.HTTPError as error:
                    raise ModelUnavailable(f"the re-ranker's answer broke off ({type(error).__name__})") from None
                finally:
                    await answer.aclose()
                failure = f"status {answer.status_code}"
            if attempt < _ATTEMPTS:
                await asyncio.sleep(_PAUSE_SECONDS)
        raise ModelUnavailable(f"the re-ranker does not answer ({failure})")


def _scores(answer: Any, count: int) -> list[float]:
    """The scores in the order of the texts; each text has exactly one."""
    try:
        results = answer["results"] if isinstance(answer, dict) else answer
        pairs = [(result["index"], result.get("relevance_score", result.get("score"))) for result in results]
        scores = dict(pairs)
        if sorted(index for index, _ in pairs) != list(range(count)):
            raise ModelUnavailable("the re-ranker does not judge each text once")
        ordered = [float(scores[index]) for index in range(count)]
    except (AttributeError, KeyError, TypeError, ValueError, OverflowError):
        raise ModelUnavailable("the re-ranker answers in a form that is not known") from None
    if not all(math.isfinite(score) for score in ordered):
        raise ModelUnavailable("the re-ranker gives scores that are no numbers")
    return ordered
