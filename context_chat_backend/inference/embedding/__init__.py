# SPDX-License-Identifier: AGPL-3.0-or-later
"""The embedders, by the names the configuration gives them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from context_chat_backend.errors import ConfigurationError
from context_chat_backend.ports import Embedder


def build_embedder(name: str, options: Mapping[str, Any], *, models: Path, threads: int) -> Embedder:
    """The embedder of that name. Raises ConfigurationError.

    `models` is a folder for what it keeps, in which a model's relative path begins.
    """
    match name:
        case "onnx":
            from context_chat_backend.inference.embedding.local_model import packaged, read_model
            from context_chat_backend.inference.embedding.onnx import OnnxEmbedder

            model = (
                read_model(models / str(options["model"]), options)
                if options.get("model")
                else packaged(models, quantised=bool(options.get("quantised", True)))
            )
            return OnnxEmbedder(model, threads=threads)
        case "hashing":
            from context_chat_backend.inference.embedding.hashing import HashingEmbedder

            return HashingEmbedder(int(options.get("dimension", 384)))
        case _:
            raise ConfigurationError(f"embedding: there is no '{name}'; use 'onnx' or 'hashing'")
