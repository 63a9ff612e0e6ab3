# SPDX-License-Identifier: AGPL-3.0-or-later
"""Embedding models that can be fetched by name: each file with the commit it is of and the checksum it must have."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """One file of a model."""

    path: str
    """In the model's folder here."""
    source: str
    """In the repository."""
    sha256: str
    size: int | None = None
    """Bytes, where it is known beforehand."""


@dataclass(frozen=True, slots=True)
class RemoteModel:
    """A model at Hugging Face."""

    name: str
    """Its folder here, and what the configuration calls it."""
    repository: str
    commit: str
    licence: str
    files: tuple[RemoteFile, ...]

    @property
    def size(self) -> int:
        """Bytes of all files whose size is known."""
        return sum(file.size or 0 for file in self.files)

    def url(self, file: RemoteFile, server: str) -> str:
        """Where to get a file."""
        return f"{server}/{self.repository}/resolve/{self.commit}/{file.source}"


_E5_SMALL = RemoteModel(
    "multilingual-e5-small",
    "intfloat/multilingual-e5-small",
    "614241f622f53c4eeff9890bdc4f31cfecc418b3",
    "MIT",
    (
        RemoteFile(
            "config.json", "onnx/config.json", "bbb7c1333fc4b3e27fbc9cd5d2070aabcc1d4dfb99917c3633e772f97545a6b6"
        ),
        RemoteFile(
            "tokenizer_config.json",
            "onnx/tokenizer_config.json",
            "a1d6bc8734a6f635dc158508bef000f8e2e5a759c7d92f984b2c86e5ff53425b",
        ),
        RemoteFile(
            "tokenizer.json",
            "onnx/tokenizer.json",
            "0b44a9d7b51c3c62626640cda0e2c2f70fdacdc25bbbd68038369d14ebdf4c39",
            17_082_730,
        ),
        RemoteFile(
            "model.onnx",
            "onnx/model_qint8_avx512_vnni.onnx",
            "dd476dd0c2514e9b9be83aeb3853fac0763e0bdf4a71645407587d77c48a2d88",
            118_346_824,
        ),
    ),
)
_E5_BASE = RemoteModel(
    "multilingual-e5-base",
    "intfloat/multilingual-e5-base",
    "d13f1b27baf31030b7fd040960d60d909913633f",
    "MIT",
    (
        RemoteFile(
            "config.json", "config.json", "9dab198f24c8c0879e481cf7822005d5ecbceedbacb390ffafa594e28d31bac4", 694
        ),
        RemoteFile(
            "tokenizer_config.json",
            "tokenizer_config.json",
            "efb5c0d09722e5fe59a462cd2a9976ee216d55b037597d997cd3fe833216da15",
            418,
        ),
        RemoteFile(
            "special_tokens_map.json",
            "special_tokens_map.json",
            "06e405a36dfe4b9604f484f6a1e619af1a7f7d09e34a8555eb0b77b66318067f",
            280,
        ),
        RemoteFile(
            "tokenizer.json",
            "tokenizer.json",
            "62c24cdc13d4c9952d63718d6c9fa4c287974249e16b7ade6d5a85e7bbb75626",
            17_082_660,
        ),
        RemoteFile(
            "model.safetensors",
            "model.safetensors",
            "a18a44fad1d0b46ded15928144138cff1135d5cc8233bdd90be5f18822de09a7",
            1_112_201_288,
        ),
    ),
)

CATALOGUE: Mapping[str, RemoteModel] = {model.name: model for model in (_E5_SMALL, _E5_BASE)}
"""By name. The small one runs in ONNX Runtime on CPUs, the larger one in sentence-transformers on a GPU."""
