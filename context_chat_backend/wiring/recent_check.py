# SPDX-License-Identifier: AGPL-3.0-or-later
"""Whether a language model could write, asked of it once in a while however many want to know."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from context_chat_backend.errors import ModelFailure, ModelUnavailable
from context_chat_backend.ports import LanguageModel

_FRESH_SECONDS = 5.0


class RecentCheck:
    """The last check of one model."""

    def __init__(self, model: LanguageModel, clock: Callable[[], float] = time.monotonic) -> None:
        self._model = model
        self._clock = clock
        self._checked_at = float("-inf")
        self._failure: ModelFailure | None = None
        self._checking = asyncio.Lock()

    async def failure(self) -> ModelFailure | None:
        """Why the model could not write at most five seconds ago; None where it could."""
        async with self._checking:
            if self._clock() - self._checked_at > _FRESH_SECONDS:
                self._failure = await self._checked()
                self._checked_at = self._clock()
            return self._failure

    async def _checked(self) -> ModelFailure | None:
        try:
            await self._model.check()
        except ModelUnavailable as error:
            return error.failure
        return None
