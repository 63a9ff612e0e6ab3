# SPDX-License-Identifier: AGPL-3.0-or-later
"""Servers that speak OpenAI's protocol get a request as it is, and their answer is passed on as it is."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import Any

from context_chat_backend.errors import InvalidRequest, ModelFailure, ModelUnavailable, PromptTooLong
from context_chat_backend.inference.answers import BrokeOff, ServerRefuses
from context_chat_backend.inference.language.openai import is_too_long
from context_chat_backend.inference.openai_http import OpenAIServer
from context_chat_backend.ports import Exchange

_OF_THE_REQUEST = frozenset({400, 413, 422})
_FOREIGN = "the model server does not speak OpenAI's protocol"


class OpenAIRelay:
    """One model of one server."""

    def __init__(self, server: OpenAIServer, model: str) -> None:
        self._server = server
        self._model = model

    async def passed(self, exchange: Exchange, body: Mapping[str, Any]) -> AsyncGenerator[dict[str, Any], None]:
        """See ports.Relay."""
        finished = False
        try:
            async with aclosing(self._server.events(f"/{exchange}", {**body, "model": self._model})) as events:
                async for event in events:
                    if not isinstance(event, dict) or not isinstance(event.get("choices"), list):
                        raise ModelUnavailable(_FOREIGN, ModelFailure.BROKEN)
                    finished = finished or any(_ends(choice) for choice in event["choices"])
                    yield event
        except ServerRefuses as refusal:
            if is_too_long(refusal.error):
                raise PromptTooLong("prompt: it is longer than the model reads: shorten it") from None
            if refusal.status in _OF_THE_REQUEST:
                raise InvalidRequest("the server of the model does not take this request") from None
            raise
        except BrokeOff:
            if not finished:  # some leave out what comes after the last piece
                raise


def _ends(choice: Any) -> bool:
    return isinstance(choice, dict) and bool(choice.get("finish_reason"))
