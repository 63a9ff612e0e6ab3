# SPDX-License-Identifier: AGPL-3.0-or-later
"""Embeddings of a server that speaks OpenAI's protocol or Ollama's: llama.cpp, vLLM, Text Embeddings Inference, OpenAI.

Requests are kept within a number of texts and of estimated tokens. What a server refuses is halved until the one text
is found that it does not take; that one is shortened, since what is refused is nearly always too long. A server that
asks for patience (429, 503 with Retry-After) gets it from all requests alike.
"""

from __future__ import annotations

import asyncio
import email.utils
import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import httpx
import numpy as np

from context_chat_backend.bounded_answers import MOST, bound
from context_chat_backend.domain import EmbeddingSpace
from context_chat_backend.errors import ConfigurationError, ModelUnavailable, TextRefused
from context_chat_backend.inference.breaker import Breaker
from context_chat_backend.inference.embedding import estimate
from context_chat_backend.inference.embedding.families import UNKNOWN, Family
from context_chat_backend.inference.embedding.forms import OPENAI, Form
from context_chat_backend.ports import Vectors
from context_chat_backend.token_estimates import careful_tokens

_ATTEMPTS = 4
_PAUSE_SECONDS = 0.5
_LONGEST_PAUSE_SECONDS = 120.0
"""Whoever is asked to wait longer gives up for now: the source is tried again later."""
_LONGEST_WISH_SECONDS = 3600.0
"""A server that names a later time is asked again after this one."""
_QUESTION_PATIENCE_SECONDS = 5.0
_QUESTION_SECONDS = 20.0
"""Longer nobody waits for an answer: words alone are searched then."""
_AT_ONCE = 4
"""Requests for passages under way; questions do not queue behind them."""
_TOKENS_PER_REQUEST = 16_384
_MARKS = 2
"""Tokens most models put around a text."""
_SHORTEST = 16
"""Characters. A text that is refused when it is as short as this is refused for what it says."""
_RETRIED = frozenset({408, 409, 425, 429, 500, 502, 503, 504})
_NOT_THE_TEXT = frozenset({401, 403, 404, 405, 407})
_TOO_LONG = ("too large", "too long", "llama_decode", "context size", "physical batch")
"""What servers of llama.cpp say, with status 500, about a text that is longer than they read."""


@dataclass(frozen=True, slots=True)
class Login:
    """How we are known to the server; all None: not at all."""

    api_key: str | None = None
    username: str | None = None
    password: str | None = None

    def __repr__(self) -> str:
        return "Login(***)"


NOBODY = Login()


class _Refused(Exception):
    """The server does not take this request, whenever it is sent."""


class OpenAIEmbedder:
    """One model of one server. `space` is known from the end of `open()` on."""

    def __init__(
        self,
        base_url: str,
        *,
        model: str | None = None,
        login: Login = NOBODY,
        batch_size: int = 32,
        timeout_seconds: float = 1800.0,
        dimension: int | None = None,
        max_tokens: int = 512,
        family: Family = UNKNOWN,
        form: Form = OPENAI,
        answer_bytes: int = MOST,
    ) -> None:
        """`base_url` ends before the path of `form`; `batch_size` is texts per request; `max_tokens` is read of each.

        `timeout_seconds` is how long the server may be silent; `family` has the prefixes. Without `dimension` the
        server is asked at `open()`.
        """
        headers = {} if login.api_key is None else {"Authorization": f"Bearer {login.api_key}"}
        auth = None if login.username is None else httpx.BasicAuth(login.username, login.password or "")
        timeout = httpx.Timeout(timeout_seconds, connect=min(10.0, timeout_seconds))
        client = httpx.AsyncClient(base_url=base_url.rstrip("/"), headers=headers, auth=auth, timeout=timeout)
        self._client = bound(client, answer_bytes)
        self._model = {} if model is None else {"model": model}
        self._name = model or base_url
        self._batch_size = batch_size
        self._dimension = dimension
        self._max_tokens = max_tokens
        self._family = family
        self._form = form
        self._slots = asyncio.Semaphore(_AT_ONCE)
        self._not_before = 0.0
        self._breaker = Breaker("the embedding server", tolerated=2, first_pause=5.0, longest_pause=300.0)

    async def open(self) -> None:
        """Learn the dimension, where it was not given. Raises ModelUnavailable, ConfigurationError."""
        if self._dimension is None:
            try:
                (vector,) = await self._vectors(["dimension"], _LONGEST_PAUSE_SECONDS)
            except TextRefused:
                raise ConfigurationError(
                    "embedding.openai: the server refuses to embed a single word: check base_url and model_name"
                ) from None
            self._dimension = len(vector)

    @property
    def device(self) -> str:
        """See ports.Embedder."""
        return "remote"

    @property
    def space(self) -> EmbeddingSpace:
        """By the model's name: two servers with the same model share a space."""
        assert self._dimension is not None, "open() comes first"
        return self._family.space(self._name, self._dimension)

    @property
    def max_tokens(self) -> int:
        """See ports.Embedder."""
        return max(1, self._max_tokens - _MARKS - len(estimate.token_starts(self._family.passage_prefix)))

    def token_starts(self, text: str) -> Sequence[int]:
        """See ports.Embedder."""
        return estimate.token_starts(text)

    async def embed_passages(self, texts: Sequence[str]) -> Vectors:
        """See ports.Embedder. Raises TextRefused for a text that the server takes in no length."""
        vectors = np.empty((len(texts), self.space.dimension), dtype=np.float32)
        prefixed = [self._family.passage_prefix + text for text in texts]

        async def embed(batch: list[int]) -> None:
            async with self._slots:
                vectors[batch] = await self._halved([prefixed[index] for index in batch])

        sizes = [careful_tokens(text) for text in prefixed]
        requests = [asyncio.create_task(embed(batch)) for batch in batches(sizes, self._batch_size)]
        try:
            await asyncio.gather(*requests)
        finally:  # after the first error the others are not wanted
            for request in requests:
                request.cancel()
            await asyncio.gather(*requests, return_exceptions=True)
        return vectors

    async def embed_question(self, text: str) -> Vectors:
        """See ports.Embedder. A question waits a few seconds at most for a server that asks for patience."""
        try:
            async with asyncio.timeout(_QUESTION_SECONDS):
                vectors = await self._vectors([self._family.question_prefix + text], _QUESTION_PATIENCE_SECONDS)
        except TextRefused as error:
            raise ModelUnavailable(str(error)) from None
        except TimeoutError:
            raise ModelUnavailable(f"the embedding server did not answer within {_QUESTION_SECONDS:.0f} s") from None
        vector: Vectors = vectors[0]
        return vector

    async def close(self) -> None:
        """Close all connections."""
        await self._client.aclose()

    async def _halved(self, texts: list[str]) -> Vectors:
        """The vectors of a batch; one that is refused is sent in halves, so that the others of it do not suffer."""
        try:
            return await self._once(texts, _LONGEST_PAUSE_SECONDS)
        except _Refused:
            if len(texts) == 1:
                return await self._vectors(texts, _LONGEST_PAUSE_SECONDS)
        middle = len(texts) // 2
        return np.concatenate([await self._halved(texts[:middle]), await self._halved(texts[middle:])])

    async def _vectors(self, texts: list[str], patience: float) -> Vectors:
        """The vector of one text, shortened until the server takes it."""
        (text,) = texts
        while True:
            try:
                return await self._once([text], patience)
            except _Refused as refusal:
                if len(text) <= _SHORTEST:
                    raise TextRefused(f"the embedding server refuses a text ({refusal})") from None
                text = text[: len(text) // 2]

    async def _once(self, texts: list[str], patience: float) -> Vectors:
        """One request, tried again while the server is in trouble. Raises _Refused, ModelUnavailable."""
        await self._wait(patience)
        with self._breaker.attempt():
            return await self._answered(texts, patience)

    async def _answered(self, texts: list[str], patience: float) -> Vectors:
        inputs = [text if text.strip() else "." for text in texts]  # OpenAI refuses blank ones
        body = {**self._model, **self._form.beside, "input": inputs}
        failure = ""
        for attempt in range(1, _ATTEMPTS + 1):
            await self._wait(patience)
            pause = _PAUSE_SECONDS * 2 ** (attempt - 1)
            try:
                answer = await self._client.post(self._form.path, json=body)
            except httpx.HTTPError as error:
                failure = type(error).__name__
            else:
                if answer.is_success:
                    return _read(answer, self._form, len(texts), self._dimension)
                failure = f"status {answer.status_code}"
                if answer.status_code in _NOT_THE_TEXT:
                    raise ModelUnavailable(
                        f"the embedding server refuses us ({failure}): check base_url, model_name and auth"
                    )
                if answer.status_code not in _RETRIED or _says_too_long(answer):
                    raise _Refused(failure)
                asked = _retry_after(answer)
                if asked is not None:
                    self._not_before = max(self._not_before, time.monotonic() + min(asked, _LONGEST_WISH_SECONDS))
                    continue
            if attempt < _ATTEMPTS:
                await asyncio.sleep(min(pause, patience))
        raise ModelUnavailable(f"the embedding server does not answer ({failure})")

    async def _wait(self, patience: float) -> None:
        """Until the time the server named. Raises ModelUnavailable when that is longer than we are patient."""
        while (pause := self._not_before - time.monotonic()) > 0:
            if pause > patience:
                raise ModelUnavailable(f"the embedding server asks to wait {pause:.0f} seconds")
            await asyncio.sleep(pause)


def batches(sizes: Sequence[int], most_texts: int, most_tokens: int = _TOKENS_PER_REQUEST) -> Iterator[list[int]]:
    """Indexes in order, in groups of at most so many texts and tokens; `sizes` are tokens, as far as they are known.

    A text that is too large by itself is a group by itself.
    """
    group: list[int] = []
    tokens = 0
    for index, size in enumerate(sizes):
        if group and (len(group) == most_texts or tokens + size > most_tokens):
            yield group
            group, tokens = [], 0
        group.append(index)
        tokens += size
    if group:
        yield group


def _read(answer: httpx.Response, form: Form, count: int, dimension: int | None) -> Vectors:
    """The vectors of an answer in the order of the texts, of length 1. Raises ModelUnavailable."""
    try:
        vectors = np.array(form.vectors(json.loads(answer.content), count), dtype=np.float64)
    except (AttributeError, KeyError, TypeError, ValueError, OverflowError, RecursionError):
        raise ModelUnavailable("the embedding server answers in a form that is not known") from None
    if vectors.ndim != 2 or vectors.shape[1] == 0 or not np.isfinite(vectors).all():
        raise ModelUnavailable("the embedding server gives vectors that are none")
    if dimension is not None and vectors.shape[1] != dimension:
        raise ModelUnavailable(
            f"the embedding server gives {vectors.shape[1]} dimensions instead of {dimension}: "
            "is it another model now? Restart to begin a new embedding space"
        )
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    vectors[lengths[:, 0] == 0, 0] = 1.0  # a text without tokens lies somewhere, too
    lengths[lengths == 0] = 1.0
    return np.asarray(vectors / lengths, dtype=np.float32)


def _says_too_long(answer: httpx.Response) -> bool:
    if answer.status_code != httpx.codes.INTERNAL_SERVER_ERROR:
        return False
    try:
        error: Any = json.loads(answer.content)["error"]
        message = str(error["message"] if isinstance(error, dict) else error).lower()
    except (KeyError, TypeError, ValueError, RecursionError):
        return False
    return any(words in message for words in _TOO_LONG)


def _retry_after(answer: httpx.Response) -> float | None:
    """Seconds, from a number or a date."""
    told = answer.headers.get("retry-after", "").strip()
    if not told:
        return None
    try:
        return max(0.0, float(told))
    except ValueError:
        pass
    try:
        return max(0.0, email.utils.parsedate_to_datetime(told).timestamp() - time.time())
    except ValueError:
        return None
