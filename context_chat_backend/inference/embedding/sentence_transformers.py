# SPDX-License-Identifier: AGPL-3.0-or-later
"""Any model of sentence-transformers, in torch: on a GPU where there is one, in bfloat16 where the CPU has that."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

from context_chat_backend.errors import ConfigurationError
from context_chat_backend.inference.embedding.families import Family
from context_chat_backend.inference.embedding.graph import packaged_model
from context_chat_backend.inference.embedding.threaded import ThreadedEmbedder

_BATCH_CPU = 16
_BATCH_GPU = 128
_MAX_TOKENS = 512
"""Where a model does not say how much it reads."""


class SentenceTransformersEmbedder(ThreadedEmbedder):
    """Runs one model, from a folder or by its name at Hugging Face."""

    def __init__(
        self,
        model: str | None,
        family: Family,
        *,
        device: str | None,
        threads: int,
        half: bool,
        download: bool,
    ) -> None:
        """`model` None is the packaged one; `device` None what torch finds; `half`: the CPU computes in bfloat16.

        With `download` a name that is not a folder is fetched. Raises ConfigurationError when the extra is missing.
        """
        if find_spec("sentence_transformers") is None:
            raise ConfigurationError(
                "embedding.sentence_transformers: it needs the extra 'transformers': pip install '.[transformers]' "
                "(or use embedding.onnx, which needs nothing more)"
            )
        self._path = model or str(packaged_model())
        name = f"{'all-MiniLM-L6-v2' if model is None else Path(model).name}-torch"
        super().__init__(name, family, batch=_BATCH_CPU)
        self._wanted = device
        self._threads = threads
        self._half = half
        self._download = download

    def _load(self) -> tuple[Any, int, int]:
        # Torch and its friends take seconds and hundreds of megabytes: only this adapter pays for them.
        import torch
        from sentence_transformers import SentenceTransformer

        device = self._wanted or ("cuda" if torch.cuda.is_available() else "cpu")
        self._device = device
        half = device != "cpu" or self._half
        if device == "cpu":
            torch.set_num_threads(self._threads)
        else:
            self._batch = _BATCH_GPU
        model = SentenceTransformer(
            self._path,
            device=device,
            local_files_only=not self._download or Path(self._path).is_dir(),
            model_kwargs={"dtype": torch.bfloat16} if half else {},
        )
        dimension = len(self._embed(model, ["dimension"])[0])  # the method that says it has two names
        return model, dimension, int(model.max_seq_length or _MAX_TOKENS)

    def _embed(self, model: Any, texts: list[str]) -> Any:
        tensor = model.encode(texts, batch_size=self._batch, show_progress_bar=False, convert_to_tensor=True)
        return tensor.float().cpu().numpy()
