# SPDX-License-Identifier: AGPL-3.0-or-later
"""A cross-encoder in ONNX Runtime: a model for sequence classification that reads question and text as one sequence.

Its folder holds `tokenizer.json` and `model.onnx`, as `optimum-cli export onnx --task text-classification` writes them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from context_chat_backend.errors import ConfigurationError, ModelUnavailable

_BATCH = 8
"""Pairs per run: those of several questions take turns on the thread."""
_MAX_TOKENS = 512
"""Question and text together; less where the tokenizer says so."""
_PADDING = ("[PAD]", "<pad>")
_INPUTS = ("input_ids", "attention_mask", "token_type_ids")


class OnnxReranker:
    """Runs the model in this process, on a thread of its own. The model is loaded with the first text."""

    def __init__(self, model: Path, *, threads: int) -> None:
        """`model` is its folder; `threads` how many cores one run may use. Raises ConfigurationError."""
        for file in ("tokenizer.json", "model.onnx"):
            if not (model / file).is_file():
                raise ConfigurationError(
                    f"reranker.onnx.model: {model / file} is not there; name a folder that holds tokenizer.json and "
                    "model.onnx"
                )
        self._model = model
        self._threads = threads
        self._loaded: tuple[Any, Any] | None = None
        self._runner = ThreadPoolExecutor(1, thread_name_prefix="reranking")

    async def scores(self, question: str, texts: Sequence[str]) -> list[float]:
        """See ports.Reranker. Texts of similar length share a batch, so that little is padded."""
        loop = asyncio.get_running_loop()
        scores = np.empty(len(texts), dtype=np.float64)
        order = sorted(range(len(texts)), key=lambda index: len(texts[index]))
        for start in range(0, len(order), _BATCH):
            batch = order[start : start + _BATCH]
            pairs = [(question, texts[index]) for index in batch]
            scores[batch] = await loop.run_in_executor(self._runner, self._score, pairs)
        return [float(score) for score in scores]

    async def close(self) -> None:
        """Stop the thread and free the model."""
        self._runner.shutdown(wait=True, cancel_futures=True)
        self._loaded = None

    def _score(self, pairs: list[tuple[str, str]]) -> NDArray[np.float64]:
        try:
            tokenizer, session = self._loaded or self._load()
            encodings = tokenizer.encode_batch(pairs)
            columns = (
                [encoding.ids for encoding in encodings],
                [encoding.attention_mask for encoding in encodings],
                [encoding.type_ids for encoding in encodings],
            )
            known = {given.name for given in session.get_inputs()}
            inputs = {
                name: np.array(column, dtype=np.int64)
                for name, column in zip(_INPUTS, columns, strict=True)
                if name in known
            }
            logits = np.asarray(session.run(None, inputs)[0], dtype=np.float64)
        except Exception as error:  # ONNX Runtime's errors have no common base
            raise ModelUnavailable(f"the re-ranker cannot run ({type(error).__name__})") from error
        return _relevance(logits, len(pairs))

    def _load(self) -> tuple[Any, Any]:
        import onnxruntime
        from tokenizers import Tokenizer

        tokenizer = Tokenizer.from_file(str(self._model / "tokenizer.json"))
        told = (tokenizer.truncation or {}).get("max_length", _MAX_TOKENS)
        tokenizer.enable_truncation(min(told, _MAX_TOKENS), strategy="longest_first")
        padding = next((token for token in _PADDING if tokenizer.token_to_id(token) is not None), _PADDING[0])
        tokenizer.enable_padding(pad_id=tokenizer.token_to_id(padding) or 0, pad_token=padding)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = self._threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        path = self._model / "model.onnx"
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        self._loaded = (tokenizer, session)
        return self._loaded


def _relevance(logits: NDArray[np.float64], pairs: int) -> NDArray[np.float64]:
    """One label is the relevance itself; of two the second is 'relevant'."""
    logits = logits.reshape(pairs, -1)
    if logits.shape[1] not in (1, 2) or not np.isfinite(logits).all():
        raise ModelUnavailable("the re-ranker gives no relevance: a cross-encoder with one or two labels is needed")
    relevance: NDArray[np.float64] = logits[:, -1] if logits.shape[1] == 1 else logits[:, 1] - logits[:, 0]
    return relevance
