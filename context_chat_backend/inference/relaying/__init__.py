# SPDX-License-Identifier: AGPL-3.0-or-later
"""Models whose answers are passed on in OpenAI's form, whatever they speak themselves."""

from __future__ import annotations

from context_chat_backend.inference.language.ollama import OllamaModel
from context_chat_backend.inference.language.openai import OpenAIModel
from context_chat_backend.inference.relaying.here import WriterRelay
from context_chat_backend.inference.relaying.ollama import OllamaRelay
from context_chat_backend.inference.relaying.openai import OpenAIRelay
from context_chat_backend.ports import LanguageModel, Relay


def relay_of(model: LanguageModel) -> Relay:
    """What passes requests on to `model`, over the connections it has."""
    match model:
        case OpenAIModel():
            return OpenAIRelay(model.server, model.upstream)
        case OllamaModel():
            return OllamaRelay(model)
        case _:
            return WriterRelay(model)
