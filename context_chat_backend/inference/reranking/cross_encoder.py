# SPDX-License-Identifier: AGPL-3.0-or-later
"""A cross-encoder of sentence-transformers, in torch: any such model, from a folder or by its name at Hugging Face."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from typing import Any

import numpy as np

from context_chat_backend.errors import ConfigurationError, ModelUnavailable

_BATCH = 8
"""Pairs per run: those of several questions take turns on the thread."""


class CrossEncoderReranker:
    """Runs the model in this process, on a thread of its own. The model is loaded with the first text."""

    def __init__(self, model: str) -> None:
        """`model` is a folder or a name at Hugging Face. Raises ConfigurationError when the extra is missing."""
        if find_spec("sentence_transformers") is None:
            raise ConfigurationError(
                "reranker.cross_encoder: it needs the extra 'transformers': pip install '.[transformers]' "
                "(or use reranker.onnx, which needs nothing more)"
            )
        self._model = model
        self._loaded: Any = None
        self._runner = ThreadPoolExecutor(1, thread_name_prefix="reranking")

    async def scores(self, question: str, texts: Sequence[str]) -> list[float]:
        """See ports.Reranker."""
        loop = asyncio.get_running_loop()
        scores: list[float] = []
        for start in range(0, len(texts), _BATCH):
            pairs = [(question, text) for text in texts[start : start + _BATCH]]
            scores += await loop.run_in_executor(self._runner, self._score, pairs)
        return scores

    async def close(self) -> None:
        """Stop the thread and free the model."""
        self._runner.shutdown(wait=True, cancel_futures=True)
        self._loaded = None

    def _score(self, pairs: list[tuple[str, str]]) -> list[float]:
        try:
            if self._loaded is None:
                # Torch and its friends take seconds and hundreds of megabytes: only this adapter pays for them.
                from sentence_transformers import CrossEncoder

                self._loaded = CrossEncoder(self._model)
            relevance = self._loaded.predict(pairs, batch_size=_BATCH, show_progress_bar=False, convert_to_numpy=True)
            scores = np.asarray(relevance, dtype=np.float64)
        except Exception as error:  # torch, transformers and the hub each have errors of their own
            raise ModelUnavailable(f"the re-ranker cannot run ({type(error).__name__})") from error
        if scores.shape != (len(pairs),) or not np.isfinite(scores).all():
            raise ModelUnavailable("the re-ranker gives no relevance: a cross-encoder with one label is needed")
        return [float(score) for score in scores]
