# SPDX-License-Identifier: AGPL-3.0-or-later
"""An embedding model in GGUF, run by llama.cpp. Options have the names of LangChain's LlamaCppEmbeddings."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from context_chat_backend.errors import ConfigurationError
from context_chat_backend.inference.embedding.families import Family
from context_chat_backend.inference.embedding.threaded import ThreadedEmbedder

_BATCH = 1
"""Texts per run: llama.cpp takes one after the other, so that more only let questions wait."""
_CONTEXT = 512
_LARGEST_CONTEXT = 2048
"""Tokens. A text has to fit into one step, whose cost grows with its square: 13 000 tokens take minutes and 3 GB."""
_MEAN = 1
"""llama.cpp's number for pooling by the mean, for files that do not name their pooling."""


class LlamaEmbedder(ThreadedEmbedder):
    """Runs one GGUF file."""

    def __init__(self, model: Path, options: Mapping[str, Any], *, family: Family, threads: int) -> None:
        """`model` is the file; of `options` n_ctx, n_batch, n_threads, n_gpu_layers and use_mlock count.

        Raises ConfigurationError when the extra or the file is missing.
        """
        if find_spec("llama_cpp") is None:
            raise ConfigurationError(
                "embedding.llama: it needs the extra 'llama' and a compiler: pip install '.[llama]' "
                "(or use embedding.onnx, which needs nothing more)"
            )
        if not model.is_file():
            raise ConfigurationError(f"embedding.llama.model: {model} is not there; name a GGUF file")
        super().__init__(model.stem, family, batch=_BATCH)
        self._file = model
        self._options = options
        self._threads = threads

    def _load(self) -> tuple[Any, int, int]:
        # A compiled library of 20 MB: only this adapter pays for it.
        import llama_cpp

        options = self._options
        context = min(_LARGEST_CONTEXT, max(_CONTEXT, options.get("n_batch", 0), options.get("n_ctx", 0)))
        layers = options.get("n_gpu_layers", -1)
        settings: dict[str, Any] = {
            "model_path": str(self._file),
            "embedding": True,
            "n_ctx": context,
            "n_batch": context,
            "n_ubatch": context,
            "n_threads": options.get("n_threads", self._threads),
            "n_threads_batch": options.get("n_threads", self._threads),
            "n_gpu_layers": layers,
            "use_mlock": options.get("use_mlock", False),
            "flash_attn": True,  # halves the time
            "verbose": False,
        }
        model = llama_cpp.Llama(**settings)
        if model.pooling_type() == 0:  # none: one vector for each token
            model.close()
            model = llama_cpp.Llama(**settings, pooling_type=_MEAN)
        self._device = "gpu" if layers and llama_cpp.llama_supports_gpu_offload() else "cpu"
        return model, model.n_embd(), context

    def _embed(self, model: Any, texts: list[str]) -> Any:
        # One by one: a text that llama.cpp cannot decode then fails alone.
        return [model.embed(text if text.strip() else ".", normalize=True, truncate=True) for text in texts]
