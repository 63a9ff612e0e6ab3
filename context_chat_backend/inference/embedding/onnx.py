# SPDX-License-Identifier: AGPL-3.0-or-later
"""Any embedding model in ONNX Runtime: the packaged MiniLM, or one in a folder. Needs neither torch nor compiler."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from context_chat_backend.domain import EmbeddingSpace
from context_chat_backend.errors import ModelUnavailable
from context_chat_backend.inference.embedding.local_model import LocalModel
from context_chat_backend.inference.embedding.tokens import Tokens
from context_chat_backend.inference.processes import stand_back
from context_chat_backend.ports import Vectors

_BATCH = 16
"""Texts per run: on CPUs larger batches are not faster."""
_BATCH_TOKENS = 8192
"""Per run, padding included: the memory of attention grows with the square of the length."""
_MAX_CHARACTERS_PER_TOKEN = 40
"""Of a text more characters than that are not even looked at: they would be cut."""
_POOLED = ("sentence", "sentence_embedding", "sentence_embeddings")
"""Outputs that are one vector a text already."""


class OnnxEmbedder:
    """Runs a model in this process, on its own threads: one for questions, and one for passages, which stands back.

    So a question never waits for passages. The model is loaded with the first text (0.3 s for the packaged one; at its
    very first use the graph is built, some seconds).
    """

    def __init__(self, model: LocalModel, *, threads: int) -> None:
        """`threads` is how many cores one run of passages may use."""
        self._model = model
        self._threads = threads
        self._tokens: Tokens | None = None
        self._session: Any = None
        self._loading = threading.Lock()
        self._questions = ThreadPoolExecutor(1, thread_name_prefix="questions")
        self._passages = ThreadPoolExecutor(1, thread_name_prefix="passages", initializer=stand_back)

    async def open(self) -> None:
        """All is known from the model's files."""

    @property
    def device(self) -> str:
        """See ports.Embedder."""
        return "cpu"

    @property
    def space(self) -> EmbeddingSpace:
        """See ports.Embedder."""
        return self._model.space

    @property
    def max_tokens(self) -> int:
        """See ports.Embedder."""
        tokens = self._loaded_tokens()
        prefix = len(tokens.starts(self._model.space.passage_prefix))
        return max(1, self._model.max_tokens - tokens.marks - prefix)

    def token_starts(self, text: str) -> Sequence[int]:
        """See ports.Embedder."""
        return self._loaded_tokens().starts(text)

    async def embed_passages(self, texts: Sequence[str]) -> Vectors:
        """See ports.Embedder. Texts of similar length share a batch, so that little is padded."""
        vectors = np.empty((len(texts), self.space.dimension), dtype=np.float32)
        order = sorted(range(len(texts)), key=lambda index: len(texts[index]))
        at_once = min(_BATCH, max(1, _BATCH_TOKENS // self._model.max_tokens))
        for start in range(0, len(order), at_once):
            batch = order[start : start + at_once]
            prefixed = [self.space.passage_prefix + texts[index] for index in batch]
            vectors[batch] = await self._run(self._passages, prefixed)
        return vectors

    async def embed_question(self, text: str) -> Vectors:
        """See ports.Embedder."""
        vector: Vectors = (await self._run(self._questions, [self.space.question_prefix + text]))[0]
        return vector

    async def close(self) -> None:
        """Stop the threads and free the model."""
        for thread in (self._questions, self._passages):
            thread.shutdown(wait=True, cancel_futures=True)
        self._session = self._tokens = None

    async def _run(self, thread: ThreadPoolExecutor, texts: list[str]) -> Vectors:
        loop = asyncio.get_running_loop()
        if self._session is None:  # threads of the library's own stand back like the one that makes them
            await loop.run_in_executor(self._passages, self._load)
        return await loop.run_in_executor(thread, self._embed, self._session, texts)

    def _load(self) -> None:
        self._session = self._session or self._opened()

    def _embed(self, session: Any, texts: list[str]) -> Vectors:
        tokens = self._loaded_tokens()
        longest = self._model.max_tokens * _MAX_CHARACTERS_PER_TOKEN
        ids, mask = tokens.padded([text[:longest] for text in texts], self._model.max_tokens)
        inputs = {
            "input_ids": ids,
            "attention_mask": mask,
            "token_type_ids": np.zeros_like(ids),
            "position_ids": np.broadcast_to(np.arange(ids.shape[1]), ids.shape),
        }
        wanted = {given.name for given in session.get_inputs()}
        if unknown := wanted - set(inputs):
            raise ModelUnavailable(f"the embedding model wants inputs that are not known here: {sorted(unknown)}")
        names = [given.name for given in session.get_outputs()]
        output = next((name for name in _POOLED if name in names), names[0])
        try:
            vectors = session.run([output], {name: inputs[name] for name in wanted})[0]
        except Exception as error:  # ONNX Runtime's errors have no common base
            raise ModelUnavailable(f"the embedding model cannot run ({type(error).__name__})") from error
        return self._of_length_one(np.asarray(vectors, dtype=np.float32), mask)

    def _of_length_one(self, vectors: NDArray[np.float32], mask: NDArray[np.int64]) -> Vectors:
        if vectors.ndim == 3:
            vectors = _pooled(vectors, mask, self._model.pooling)
        if vectors.ndim != 2 or vectors.shape[1] != self.space.dimension or not np.isfinite(vectors).all():
            raise ModelUnavailable(
                f"the embedding model gives no vectors of {self.space.dimension} dimensions, as its files say"
            )
        lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
        return np.asarray(vectors / np.maximum(lengths, 1e-12), dtype=np.float32)

    def _loaded_tokens(self) -> Tokens:
        with self._loading:
            if self._tokens is None:
                self._tokens = Tokens(self._model.tokenizer)
            return self._tokens

    def _opened(self) -> Any:
        """The model's session; a graph made here that cannot be read is made once more."""
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = self._threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        for last in (not self._model.graph_can_be_made, True):
            path = self._model.graph()
            try:
                return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
            except Exception as error:
                if last:
                    raise ModelUnavailable(f"the embedding model cannot be loaded ({type(error).__name__})") from error
                path.unlink(missing_ok=True)
        raise AssertionError("the last attempt returns or raises")


def _pooled(vectors: NDArray[np.float32], mask: NDArray[np.int64], pooling: str) -> NDArray[np.float32]:
    """One vector for each text, of those of its tokens, shape (texts, tokens, dimension)."""
    weights = mask[:, :, None].astype(np.float32)
    match pooling:
        case "cls":
            pooled = vectors[:, 0]
        case "lasttoken":
            pooled = vectors[np.arange(len(vectors)), mask.sum(axis=1) - 1]
        case "max":
            pooled = np.where(weights > 0, vectors, -np.inf).max(axis=1)
        case _:
            pooled = (vectors * weights).sum(axis=1) / weights.sum(axis=1)
    return np.asarray(pooled, dtype=np.float32)
