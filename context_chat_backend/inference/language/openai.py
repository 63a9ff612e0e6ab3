# SPDX-License-Identifier: AGPL-3.0-or-later
"""Language models behind OpenAI's chat protocol."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing

from context_chat_backend.domain import Prompt
from context_chat_backend.errors import ModelUnavailable
from context_chat_backend.inference.openai_http import OpenAIServer

_BYTES_PER_TOKEN = 3
"""Fewer than the tokenizers of today need in any language: the estimate errs to the safe side."""


class OpenAIModel:
    """One model of one server."""

    def __init__(
        self, server: OpenAIServer, model: str, *, context_tokens: int, max_tokens: int, temperature: float
    ) -> None:
        """`context_tokens` holds prompt and answer; `max_tokens` is the most an answer may have."""
        self._server = server
        self._model = model
        self._context_tokens = context_tokens
        self._max_tokens = max_tokens
        self._temperature = temperature

    @property
    def name(self) -> str:
        """The model's name at its server."""
        return self._model

    @property
    def context_tokens(self) -> int:
        """See ports.LanguageModel."""
        return self._context_tokens

    def count_tokens(self, text: str) -> int:
        """An upper estimate: the server's tokenizer is not known here."""
        return len(text.encode()) // _BYTES_PER_TOKEN + 1

    async def stream(self, prompt: Prompt) -> AsyncGenerator[str, None]:
        """See ports.LanguageModel. Closing it closes the connection, on which servers stop generating."""
        body = {
            "model": self._model,
            "messages": [{"role": message.role, "content": message.text} for message in prompt.messages],
            "max_tokens": self._max_tokens,
            "temperature": self._temperature,
            "stream": True,
        }
        async with aclosing(self._server.events("/chat/completions", body)) as events:
            async for event in events:
                try:
                    choices = event.get("choices") or []
                    piece = choices[0]["delta"].get("content") if choices else None
                except (AttributeError, KeyError, TypeError, IndexError):
                    raise ModelUnavailable("the model server does not speak OpenAI's protocol") from None
                if isinstance(piece, str) and piece:
                    yield piece

    async def close(self) -> None:
        """Close the connections."""
        await self._server.close()
