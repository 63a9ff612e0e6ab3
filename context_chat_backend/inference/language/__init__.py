# SPDX-License-Identifier: AGPL-3.0-or-later
"""The language models, by the names the configuration gives them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from context_chat_backend.bounded_answers import MOST
from context_chat_backend.errors import ConfigurationError
from context_chat_backend.inference.breaker import Breaker
from context_chat_backend.inference.language.separate import SeparateLanguageModel
from context_chat_backend.inference.openai_http import OLLAMA, OpenAIServer, Patience
from context_chat_backend.inference.shared_process import Served
from context_chat_backend.ports import LanguageModel
from context_chat_backend.settings.language import OLLAMA_OPTIONS


def build_language_model(
    name: str, options: Mapping[str, Any], *, models: Path, threads: int, download: bool = False
) -> LanguageModel:
    """The language model of that name, with the options of settings/language.py. Nothing is loaded yet.

    `models` is the folder in which relative paths begin, `threads` how many cores a model may use that runs here; with
    `download` it may be fetched by its name.
    Raises ConfigurationError naming the option and the cure.
    """
    match name:
        case "extractive":
            from context_chat_backend.inference.language.extractive import ExtractiveModel

            return ExtractiveModel()
        case "openai":
            return _openai(options)
        case "ollama":
            return ollama_model(options)
        case "llama":
            file = models / _needed("llama", "model_path", options, "mistral-7b-instruct.Q5_K_M.gguf")
            return _separate(file.stem, Served("llama", {**options, "model": str(file)}, models, threads, download))
        case "hugging_face":
            where = "model_path" if "model_path" in options else "model_id"
            named = _needed("hugging_face", where, options, "Qwen/Qwen3-4B-Instruct-2507")
            model = str(models / named) if (models / named).is_dir() else named
            return _separate(named, Served("hugging_face", {**options, "model": model}, models, threads, download))
        case _:
            raise ConfigurationError(
                f"llm: there is no '{name}'; use 'extractive', 'openai', 'ollama', 'llama' or 'hugging_face'"
            )


def _openai(options: Mapping[str, Any]) -> LanguageModel:
    from context_chat_backend.inference.language.openai import OpenAIModel

    base_url = _needed("openai", "base_url", options, "http://localhost:8080/v1")
    model = _needed("openai", "model", options, "my-model")
    return OpenAIModel(
        _server(base_url, options),
        model,
        context_tokens=options.get("context_tokens"),
        answer_tokens=options.get("max_tokens", 1024),
        temperature=float(options.get("temperature", 0.1)),
        name=options.get("name"),
    )


def ollama_model(options: Mapping[str, Any]) -> LanguageModel:
    """The model of Ollama that `llm.ollama` describes. Raises ConfigurationError."""
    from context_chat_backend.inference.language.ollama import OllamaModel

    return OllamaModel(
        _server(options.get("base_url", OLLAMA), options),
        _needed("ollama", "model", options, "llama3.2"),
        context_tokens=options.get("num_ctx"),
        answer_tokens=options.get("num_predict", 1024),
        options={"temperature": 0.1} | {name: options[name] for name in OLLAMA_OPTIONS if name in options},
        keep_alive=options.get("keep_alive"),
        thinks=options.get("think"),
        name=options.get("name"),
    )


def _server(base_url: str, options: Mapping[str, Any]) -> OpenAIServer:
    return OpenAIServer(
        base_url,
        options.get("api_key"),
        patience=_patience(options),
        breaker=_breaker(options),
        answer_bytes=options.get("answer_bytes", MOST),
    )


def _patience(options: Mapping[str, Any]) -> Patience:
    usual = Patience()
    total = float(options.get("timeout", usual.total))
    first = min(total, float(options.get("first_timeout", usual.first)))
    connect, idle = options.get("connect_timeout", usual.connect), options.get("idle_timeout", usual.idle)
    return Patience(connect=float(connect), first=first, idle=float(idle), total=total)


def _breaker(options: Mapping[str, Any]) -> Breaker | None:
    """One with a pause of its own, where it has one."""
    pause = options.get("pause")
    return None if pause is None else Breaker("the model server", tolerated=4, first_pause=pause, longest_pause=pause)


def _separate(name: str, served: Served) -> LanguageModel:
    return SeparateLanguageModel(served, name=name, answer_tokens=served.options.get("max_tokens", 1024))


def _needed(model: str, option: str, options: Mapping[str, Any], example: str) -> str:
    if not options.get(option):
        raise ConfigurationError(f"llm.{model}.{option}: it is missing; for example {option}: {example}")
    return str(options[option])
