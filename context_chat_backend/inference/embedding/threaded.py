# SPDX-License-Identifier: AGPL-3.0-or-later
"""What embedders that run a model in their own process have in common: one thread, small batches, questions between."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from context_chat_backend.domain import EmbeddingSpace
from context_chat_backend.errors import ConfigurationError, ModelUnavailable
from context_chat_backend.inference.embedding import estimate
from context_chat_backend.inference.embedding.families import Family
from context_chat_backend.ports import Vectors

_MARKS = 2
"""Tokens most models put around a text."""


class ThreadedEmbedder:
    """Runs a model on one thread; a question waits for one batch of passages at most.

    Subclasses have `_load()`, which returns the model, its dimension and how many tokens it reads, and
    `_embed(model, texts)`, which returns vectors of any length. Both run on the thread. `space` is known from the end
    of `open()` on.
    """

    def __init__(self, name: str, family: Family, *, batch: int) -> None:
        """`name` and `family` of the model, `batch` texts per run."""
        self._name = name
        self._family = family
        self._batch = batch
        self._device = "cpu"
        self._model: Any = None
        self._dimension = 0
        self._max_tokens = 0
        self._runner = ThreadPoolExecutor(1, thread_name_prefix="embedding")
        self._passages = asyncio.Lock()

    async def open(self) -> None:
        """Load the model. Raises ConfigurationError for what never works, ModelUnavailable for the rest."""
        await asyncio.get_running_loop().run_in_executor(self._runner, self._opened)

    @property
    def device(self) -> str:
        """See ports.Embedder."""
        return self._device

    @property
    def space(self) -> EmbeddingSpace:
        """By the name of the model."""
        assert self._dimension, "open() comes first"
        return self._family.space(self._name, self._dimension)

    @property
    def max_tokens(self) -> int:
        """See ports.Embedder."""
        return max(1, self._max_tokens - _MARKS - len(estimate.token_starts(self._family.passage_prefix)))

    def token_starts(self, text: str) -> Sequence[int]:
        """See ports.Embedder."""
        return estimate.token_starts(text)

    async def embed_passages(self, texts: Sequence[str]) -> Vectors:
        """See ports.Embedder. Texts of similar length share a batch."""
        vectors = np.empty((len(texts), self.space.dimension), dtype=np.float32)
        order = sorted(range(len(texts)), key=lambda index: len(texts[index]))
        async with self._passages:
            for start in range(0, len(order), self._batch):
                batch = order[start : start + self._batch]
                vectors[batch] = await self._run([self._family.passage_prefix + texts[index] for index in batch])
        return vectors

    async def embed_question(self, text: str) -> Vectors:
        """See ports.Embedder."""
        vector: Vectors = (await self._run([self._family.question_prefix + text]))[0]
        return vector

    async def close(self) -> None:
        """Stop the thread and free the model."""
        self._runner.shutdown(wait=True, cancel_futures=True)
        self._model = None

    def _load(self) -> tuple[Any, int, int]:
        raise NotImplementedError

    def _embed(self, model: Any, texts: list[str]) -> Any:
        raise NotImplementedError

    def _opened(self) -> None:
        if self._model is None:
            try:
                self._model, self._dimension, self._max_tokens = self._load()
            except (ConfigurationError, ModelUnavailable, MemoryError):
                raise
            except Exception as error:  # each library has errors of its own
                raise ModelUnavailable(f"the embedding model cannot be loaded ({type(error).__name__})") from error

    async def _run(self, texts: list[str]) -> Vectors:
        return await asyncio.get_running_loop().run_in_executor(self._runner, self._normalised, texts)

    def _normalised(self, texts: list[str]) -> Vectors:
        try:
            vectors = np.asarray(self._embed(self._model, texts), dtype=np.float64)
        except Exception as error:
            raise ModelUnavailable(f"the embedding model cannot run ({type(error).__name__})") from error
        if vectors.shape != (len(texts), self._dimension) or not np.isfinite(vectors).all():
            raise ModelUnavailable("the embedding model gives vectors that are none")
        lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
        vectors[lengths[:, 0] == 0, 0] = 1.0  # a text without tokens lies somewhere, too
        lengths[lengths == 0] = 1.0
        return np.asarray(vectors / lengths, dtype=np.float32)
