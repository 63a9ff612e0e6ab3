# SPDX-License-Identifier: AGPL-3.0-or-later
"""The re-rankers, by the names the configuration gives them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from context_chat_backend.bounded_answers import MOST
from context_chat_backend.errors import ConfigurationError
from context_chat_backend.ports import Reranker

_OF_OLLAMA = ("base_url", "model", "api_key", "num_ctx", "keep_alive", "answer_bytes")
_EXAMPLES = {"model": "bge-reranker-base", "base_url": "http://localhost:8080/v1"}


def build_reranker(name: str, options: Mapping[str, Any], *, models: Path, threads: int) -> Reranker:
    """The re-ranker of that name; `models` is the folder in which a model's relative path begins.

    Nothing is loaded yet. Raises ConfigurationError naming the option and the cure.
    """
    match name:
        case "none":
            from context_chat_backend.inference.reranking.none import NoReranker

            return NoReranker()
        case "onnx":
            from context_chat_backend.inference.reranking.onnx import OnnxReranker

            return OnnxReranker(models / _needed(name, options, "model"), threads=threads)
        case "cross_encoder":
            from context_chat_backend.inference.reranking.cross_encoder import CrossEncoderReranker

            model = _needed(name, options, "model")
            return CrossEncoderReranker(str(models / model) if (models / model).is_dir() else model)
        case "remote":
            from context_chat_backend.inference.reranking.remote import RemoteReranker

            return RemoteReranker(
                _needed(name, options, "base_url"),
                model=options.get("model"),
                api_key=options.get("api_key"),
                timeout_seconds=options.get("request_timeout", 10),
                answer_bytes=options.get("answer_bytes", MOST),
            )
        case "ollama":
            from context_chat_backend.inference.language import ollama_model
            from context_chat_backend.inference.reranking.judge import ModelReranker

            _needed(name, options, "model")
            of_model = {key: value for key, value in options.items() if key in _OF_OLLAMA}
            return ModelReranker(
                ollama_model(of_model),
                at_once=options.get("batch_size", 5),
                temperature=options.get("temperature", 0.0),
                timeout_seconds=options.get("request_timeout", 30),
            )
        case _:
            raise ConfigurationError(
                f"reranker: there is no '{name}'; use 'none', 'onnx', 'cross_encoder', 'remote' or 'ollama'"
            )


def _needed(name: str, options: Mapping[str, Any], option: str) -> str:
    if not options.get(option):
        raise ConfigurationError(f"reranker.{name}.{option}: it is missing; for example {option}: {_EXAMPLES[option]}")
    return str(options[option])
