# SPDX-License-Identifier: AGPL-3.0-or-later
"""The packaged MiniLM in ONNX Runtime: the default embedder, which needs neither network, torch nor compiler."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from context_chat_backend.domain import EmbeddingSpace
from context_chat_backend.errors import ModelUnavailable
from context_chat_backend.inference.embedding import graph
from context_chat_backend.ports import Vectors

_BATCH = 16
"""Texts per run: on CPUs larger batches are not faster, and a question waits for one batch at most."""


class OnnxEmbedder:
    """Runs the packaged model in this process, on its own threads.

    The model is loaded with the first text (0.3 s; at the very first use the graph is built, some seconds).
    """

    def __init__(self, cache: Path, *, threads: int, quantised: bool = True) -> None:
        """`cache` is the folder the graph is built in; `threads` how many cores one run may use."""
        self._cache = cache
        self._threads = threads
        self._quantised = quantised
        self._loaded: tuple[Any, Any] | None = None
        # One thread runs the model: batches of documents and questions take turns on it.
        self._runner = ThreadPoolExecutor(1, thread_name_prefix="embedding")
        self._passages = asyncio.Lock()

    @property
    def space(self) -> EmbeddingSpace:
        """The vectors of int8 and of fp32 weights may be compared, but are not the same: two spaces."""
        precision = "int8" if self._quantised else "fp32"
        return EmbeddingSpace(f"all-MiniLM-L6-v2-{precision}", graph.DIMENSION, languages=("english",))

    async def embed_passages(self, texts: Sequence[str]) -> Vectors:
        """See ports.Embedder. Texts of similar length share a batch, so that little is padded."""
        vectors = np.empty((len(texts), graph.DIMENSION), dtype=np.float32)
        order = sorted(range(len(texts)), key=lambda index: len(texts[index]))
        async with self._passages:  # a question never waits behind more than one batch
            for start in range(0, len(order), _BATCH):
                batch = order[start : start + _BATCH]
                vectors[batch] = await self._run([texts[index] for index in batch])
        return vectors

    async def embed_question(self, text: str) -> Vectors:
        """See ports.Embedder."""
        vector: Vectors = (await self._run([text]))[0]
        return vector

    async def close(self) -> None:
        """Stop the thread and free the model."""
        self._runner.shutdown(wait=True, cancel_futures=True)
        self._loaded = None

    async def _run(self, texts: list[str]) -> Vectors:
        return await asyncio.get_running_loop().run_in_executor(self._runner, self._embed, texts)

    def _embed(self, texts: list[str]) -> Vectors:
        tokenizer, session = self._loaded or self._load()
        encodings = tokenizer.encode_batch(texts)
        inputs = {
            "input_ids": np.array([encoding.ids for encoding in encodings], dtype=np.int64),
            "attention_mask": np.array([encoding.attention_mask for encoding in encodings], dtype=np.int64),
        }
        return np.asarray(session.run(["sentence"], inputs)[0], dtype=np.float32)

    def _load(self) -> tuple[Any, Any]:
        import onnxruntime
        from tokenizers import Tokenizer

        model = graph.packaged_model()
        tokenizer = Tokenizer.from_file(str(model / "tokenizer.json"))
        tokenizer.enable_truncation(graph.MAX_TOKENS)
        tokenizer.enable_padding()
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = self._threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        try:
            session = self._open(options)
        except Exception as error:
            raise ModelUnavailable(f"the embedding model cannot be loaded ({type(error).__name__})") from error
        self._loaded = (tokenizer, session)
        return self._loaded

    def _open(self, options: Any) -> Any:
        """The model's session; a cached graph that cannot be read is built once more."""
        import onnxruntime

        path = graph.ensure_graph(graph.packaged_model(), self._cache, quantised=self._quantised)
        try:
            return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        except Exception:  # ONNX Runtime's errors have no common base
            path.unlink(missing_ok=True)
            path = graph.ensure_graph(graph.packaged_model(), self._cache, quantised=self._quantised)
            return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
