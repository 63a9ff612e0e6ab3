# SPDX-License-Identifier: AGPL-3.0-or-later
"""Requests on their way to a model: so many at once, and after a judge where there is one."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import Any

from context_chat_backend.completing.models import ServedModel, ServedModels
from context_chat_backend.completing.recent import Recent
from context_chat_backend.errors import TooManyAtOnce
from context_chat_backend.ports import Exchange


class Passing:
    """The models that requests are passed on to."""

    def __init__(self, models: ServedModels, *, most_at_once: int = 64) -> None:
        self.models = models
        self.recent: Recent[tuple[str, int]] = Recent()
        """Completions of code by who asked for what: the text, and the tokens of its prompt."""
        self._most_at_once = most_at_once
        self._at_once = 0

    async def passed(
        self, model: ServedModel, exchange: Exchange, body: Mapping[str, Any]
    ) -> AsyncGenerator[dict[str, Any], None]:
        """See ports.Relay. Raises TooManyAtOnce, too."""
        if self._at_once >= self._most_at_once:
            raise TooManyAtOnce("as many requests as may be are with the models")
        self._at_once += 1
        try:
            async with aclosing(model.relay.passed(exchange, body)) as events:
                async for event in events:
                    yield event
        finally:
            self._at_once -= 1
