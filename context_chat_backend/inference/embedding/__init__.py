# SPDX-License-Identifier: AGPL-3.0-or-later
"""The embedders, by the names the configuration gives them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from context_chat_backend.bounded_answers import MOST
from context_chat_backend.errors import ConfigurationError
from context_chat_backend.hardware import cpu_features
from context_chat_backend.inference.embedding.families import Family, family_of
from context_chat_backend.inference.embedding.separate import SeparateEmbedder
from context_chat_backend.inference.openai_http import OLLAMA
from context_chat_backend.inference.shared_process import Served
from context_chat_backend.ports import Embedder

BFLOAT16 = frozenset({"avx512_bf16", "amx_bf16", "bf16"})
"""Features of processors that compute in bfloat16 faster than in float32."""


def build_embedder(
    name: str, options: Mapping[str, Any], *, models: Path, threads: int, download: bool = False
) -> Embedder:
    """The embedder of that name; models of this machine run in a process of their own.

    `models` is a folder for what it keeps, in which relative paths begin; `threads` how many cores it may use; with
    `download` a model may be fetched by its name. Raises ConfigurationError.
    """
    from context_chat_backend.inference.embedding.onnx import OnnxEmbedder
    from context_chat_backend.inference.embedding.threaded import ThreadedEmbedder

    local = build_local(name, options, models=models, threads=threads, download=download)
    served = Served(name, options, models, threads, download)
    if isinstance(local, OnnxEmbedder):  # its files say all, and its tokenizer is quick to ask
        return SeparateEmbedder(served, local.token_starts, space=local.space, max_tokens=lambda: local.max_tokens)
    if isinstance(local, ThreadedEmbedder):
        return SeparateEmbedder(served, local.token_starts)
    return local


def build_local(
    name: str, options: Mapping[str, Any], *, models: Path, threads: int, download: bool = False
) -> Embedder:
    """The embedder of that name, in this process; otherwise like `build_embedder`."""
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
        case "llama":
            from context_chat_backend.inference.embedding.llama import LlamaEmbedder

            file = models / _needed("llama", options, "model", "multilingual-e5-large-instruct-q6_k.gguf")
            return LlamaEmbedder(file, options, family=_family(file.stem, options), threads=threads)
        case "sentence_transformers":
            from context_chat_backend.inference.embedding.sentence_transformers import SentenceTransformersEmbedder

            named = options.get("model")
            path = str(models / named) if named and (models / named).is_dir() else named
            return SentenceTransformersEmbedder(
                path,
                _family(named or "all-MiniLM-L6-v2", options),
                device=options.get("device"),
                threads=threads,
                half=not BFLOAT16.isdisjoint(cpu_features()),
                download=download,
            )
        case "openai":
            from context_chat_backend.inference.embedding.openai import Login, OpenAIEmbedder

            model_name = options.get("model_name")
            return OpenAIEmbedder(
                _needed("openai", options, "base_url", "http://localhost:8080/v1"),
                model=model_name,
                login=Login(options.get("api_key"), options.get("username"), options.get("password")),
                batch_size=options.get("batch_size", 32),
                timeout_seconds=options.get("request_timeout", 1800),
                dimension=options.get("dimension"),
                max_tokens=options.get("max_tokens", 512),
                family=_family(model_name or "", options),
                answer_bytes=options.get("answer_bytes", MOST),
            )
        case "ollama":
            return _ollama(options)
        case "hashing":
            from context_chat_backend.inference.embedding.hashing import HashingEmbedder

            return HashingEmbedder(int(options.get("dimension", 384)))
        case _:
            raise ConfigurationError(
                f"embedding: there is no '{name}'; use 'onnx', 'llama', 'sentence_transformers', 'openai', 'ollama' or "
                "'hashing'"
            )


def _ollama(options: Mapping[str, Any]) -> Embedder:
    from context_chat_backend.inference.embedding.forms import ollama
    from context_chat_backend.inference.embedding.openai import Login, OpenAIEmbedder

    model = _needed("ollama", options, "model", "nomic-embed-text")
    most = options.get("num_ctx", 512)
    told = {"options": {"num_ctx": most}} | {key: options[key] for key in ("keep_alive",) if key in options}
    return OpenAIEmbedder(
        options.get("base_url", OLLAMA),
        model=model,
        login=Login(options.get("api_key")),
        batch_size=options.get("batch_size", 32),
        timeout_seconds=options.get("timeout", 1800),
        dimension=options.get("dimension"),
        max_tokens=most,
        family=_family(model, options),
        form=ollama(told),
        answer_bytes=options.get("answer_bytes", MOST),
    )


def _family(name: str, options: Mapping[str, Any]) -> Family:
    """What is known of a model of that name, where the options do not say otherwise."""
    family = family_of(name)
    return replace(
        family,
        question_prefix=str(options.get("question_prefix", family.question_prefix)),
        passage_prefix=str(options.get("passage_prefix", family.passage_prefix)),
    )


def _needed(name: str, options: Mapping[str, Any], option: str, example: str) -> str:
    if not options.get(option):
        raise ConfigurationError(f"embedding.{name}.{option}: it is missing; for example {option}: {example}")
    return str(options[option])
