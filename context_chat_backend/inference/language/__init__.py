# SPDX-License-Identifier: AGPL-3.0-or-later
"""The language models, by the names the configuration gives them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from context_chat_backend.errors import ConfigurationError
from context_chat_backend.ports import LanguageModel


def build_language_model(name: str, options: Mapping[str, Any], *, models: Path, threads: int) -> LanguageModel:
    """The language model of that name, with the options of language_settings. Nothing is loaded yet.

    `models` is the folder in which relative paths begin, `threads` how many cores a model may use that runs here.
    Raises ConfigurationError naming the option and the cure.
    """
    match name:
        case "extractive":
            from context_chat_backend.inference.language.extractive import ExtractiveModel

            return ExtractiveModel()
        case "openai":
            return _openai(options)
        case _:
            raise ConfigurationError(
                f"llm: there is no '{name}'; use 'extractive', 'openai', 'llama' or 'hugging_face'"
            )


def _openai(options: Mapping[str, Any]) -> LanguageModel:
    from context_chat_backend.inference.language.openai import OpenAIModel
    from context_chat_backend.inference.openai_http import OpenAIServer, Patience

    for option, example in (("base_url", "http://localhost:8080/v1"), ("model", "my-model")):
        if option not in options:
            raise ConfigurationError(f"llm.openai.{option}: it is missing; for example {option}: {example}")
    usual = Patience()
    total = float(options.get("timeout", usual.total))
    patience = Patience(first=min(total, float(options.get("first_timeout", usual.first))), total=total)
    return OpenAIModel(
        OpenAIServer(options["base_url"], options.get("api_key"), patience=patience),
        options["model"],
        context_tokens=options.get("context_tokens"),
        answer_tokens=options.get("max_tokens", 1024),
        temperature=float(options.get("temperature", 0.1)),
    )
