# SPDX-License-Identifier: AGPL-3.0-or-later
"""A local embedding model in a process of its own, which programs of one installation share.

When the process dies again and again, the pauses before it is started anew grow.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from context_chat_backend.domain import EmbeddingSpace
from context_chat_backend.errors import ConfigurationError, ModelUnavailable
from context_chat_backend.inference.breaker import Breaker
from context_chat_backend.inference.messages import receive, send
from context_chat_backend.inference.processes import error_heard
from context_chat_backend.inference.shared_process import Connection, Served, SharedProcess
from context_chat_backend.logs import get_logger
from context_chat_backend.ports import Vectors

_AT_ONCE = 16
"""Texts per request."""
_ANSWER_SECONDS = 600.0
"""A request that takes longer hangs: the process is ended."""
_log = get_logger(__name__)


class SeparateEmbedder:
    """Asks the model process."""

    def __init__(
        self,
        served: Served,
        token_starts: Callable[[str], Sequence[int]],
        *,
        space: EmbeddingSpace | None = None,
        max_tokens: Callable[[], int] | None = None,
    ) -> None:
        """`token_starts` as ports.Embedder has it.

        `space` and `max_tokens` where they can be known without the process; else it is asked in `open()`, and what it
        said is written down, so that later starts do not wait for it.
        """
        self._token_starts = token_starts
        self._space = space
        self._given_max_tokens = max_tokens
        self._max_tokens = 0
        self._device = "cpu"
        self._process = SharedProcess(served, "context_chat_backend.inference.embedding.server", "the embedding model")
        self._questions = _Channel()
        self._passages = _Channel()
        self._breaker = Breaker("the embedding model", tolerated=1, first_pause=2.0, longest_pause=120.0)

    async def open(self) -> None:
        """See ports.Embedder."""
        if self._space is not None:
            return
        try:
            self._learn(json.loads(self._written_down.read_text(encoding="utf-8")))
        except (OSError, ValueError, KeyError, TypeError):
            await self._connect(self._questions)

    @property
    def device(self) -> str:
        """See ports.Embedder; known when the process was asked for the first time."""
        return self._device

    @property
    def space(self) -> EmbeddingSpace:
        """See ports.Embedder."""
        assert self._space is not None, "open() comes first"
        return self._space

    @property
    def max_tokens(self) -> int:
        """See ports.Embedder."""
        return self._max_tokens if self._given_max_tokens is None else self._given_max_tokens()

    def token_starts(self, text: str) -> Sequence[int]:
        """See ports.Embedder."""
        return self._token_starts(text)

    async def embed_passages(self, texts: Sequence[str]) -> Vectors:
        """See ports.Embedder."""
        pieces = [
            await self._ask(self._passages, {"passages": list(texts[start : start + _AT_ONCE])})
            for start in range(0, len(texts), _AT_ONCE)
        ]
        return np.concatenate([np.empty((0, self.space.dimension), dtype=np.float32), *pieces])

    async def embed_question(self, text: str) -> Vectors:
        """See ports.Embedder."""
        vector: Vectors = (await self._ask(self._questions, {"question": text}))[0]
        return vector

    async def close(self) -> None:
        """Leave the process; it ends when nobody else uses it."""
        for channel in (self._questions, self._passages):
            channel.close()
        await self._process.close()

    async def _ask(self, channel: _Channel, request: dict[str, Any]) -> Vectors:
        """The vectors the process answers with. When it dies over it, it is started anew and asked once more."""
        if self._process.closed:
            raise ModelUnavailable("the program is ending")
        async with channel.lock:
            for last in (False, True):
                with self._breaker.attempt():
                    if channel.connection is None:
                        try:
                            await self._connect(channel)
                        except ConfigurationError as error:  # it worked at the start of the program
                            raise ModelUnavailable(str(error)) from None
                    connection = channel.connection
                    assert connection is not None
                    try:
                        async with asyncio.timeout(_ANSWER_SECONDS):
                            answer, data = await channel.ask(request)
                        break
                    except TimeoutError:
                        connection.kill()
                        raise ModelUnavailable("the model process did not answer and was ended") from None
                    except (EOFError, OSError, ValueError):
                        _log.warning("model_process_died", cause=self._process.cause())
                        if last:
                            raise ModelUnavailable(f"the model process died: {self._process.cause()}") from None
        if "error" in answer:
            raise error_heard(answer)
        return np.frombuffer(data, dtype=np.float32).reshape(-1, self.space.dimension).copy()

    async def _connect(self, channel: _Channel) -> None:
        """Raises ModelUnavailable, ConfigurationError."""
        channel.connection, introduction = await self._process.connect()
        self._learn(introduction)
        self._written_down.write_text(json.dumps(introduction), encoding="utf-8")

    def _learn(self, introduction: dict[str, Any]) -> None:
        """Take over what the process says of itself. Raises ModelUnavailable, KeyError, TypeError."""
        told = dict(introduction["space"])
        space = EmbeddingSpace(**told | {"languages": tuple(told["languages"])})
        if self._space is not None and space != self._space:
            self._written_down.unlink(missing_ok=True)
            raise ModelUnavailable(f"the files of the model '{space.model}' have changed: restart the program")
        self._space = space
        self._max_tokens = int(introduction["max_tokens"])
        self._device = str(introduction["device"])

    @property
    def _written_down(self) -> Path:
        return self._process.folder / f"{self._process.key}.json"


class _Channel:
    """One request at a time to the process."""

    def __init__(self) -> None:
        self.lock = asyncio.Lock()
        self.connection: Connection | None = None

    async def ask(self, request: dict[str, Any]) -> tuple[dict[str, Any], bytes]:
        """Raises OSError, EOFError, ValueError; afterwards, and when cancelled, it is no longer connected."""
        assert self.connection is not None
        try:
            await send(self.connection.writer, request)
            return await receive(self.connection.reader)
        except BaseException:  # the answer to this request may come later, and must not be taken for another one's
            self.close()
            raise

    def close(self) -> None:
        if self.connection is not None:
            self.connection.close()
            self.connection = None
