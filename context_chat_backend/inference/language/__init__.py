# SPDX-License-Identifier: AGPL-3.0-or-later
"""The language models, by the names the configuration gives them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from context_chat_backend.errors import ConfigurationError
from context_chat_backend.ports import LanguageModel


def build_language_model(name: str, options: Mapping[str, Any]) -> LanguageModel:
    """The language model of that name. Raises ConfigurationError naming the option and the cure."""
    match name:
        case "extractive":
            from context_chat_backend.inference.language.extractive import ExtractiveModel

            return ExtractiveModel()
        case "openai":
            return _openai(options)
        case _:
            raise ConfigurationError(f"llm: there is no '{name}'; use 'extractive' or 'openai'")


def _openai(options: Mapping[str, Any]) -> LanguageModel:
    from context_chat_backend.inference.language.openai import OpenAIModel
    from context_chat_backend.inference.openai_http import OpenAIServer

    for option in ("base_url", "model"):
        if not isinstance(options.get(option), str) or not options[option]:
            raise ConfigurationError(
                f"llm.openai.{option}: it is missing; for example {option}: "
                + ("http://localhost:8080/v1" if option == "base_url" else "my-model")
            )
    api_key = options.get("api_key")
    return OpenAIModel(
        OpenAIServer(options["base_url"], None if api_key is None else str(api_key)),
        options["model"],
        context_tokens=_number(options, "context_tokens", None),
        answer_tokens=_number(options, "max_tokens", 1024) or 1024,
        temperature=float(options.get("temperature", 0.1)),
    )


def _number(options: Mapping[str, Any], name: str, default: int | None) -> int | None:
    value = options.get(name, default)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ConfigurationError(f"llm.openai.{name}: expected a whole number of at least 1, found {value!r}")
    return value
