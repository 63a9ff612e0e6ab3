# SPDX-License-Identifier: AGPL-3.0-or-later
"""How long a loop waits: little after work, more the longer there is none, and the longer something is down."""

from __future__ import annotations

import asyncio
import random

from context_chat_backend.errors import NextcloudUnavailable


class Pauses:
    """The pauses of one loop, which a call may end early."""

    def __init__(self, *, shortest: float = 1.0, longest: float = 30.0) -> None:
        """In seconds."""
        self._shortest = shortest
        self._longest = longest
        self._next = shortest
        self._woken = asyncio.Event()

    def wake(self) -> None:
        """There may be work: end the pause, or leave out the next one."""
        self._woken.set()

    def begin(self) -> None:
        """Whoever wakes from here on has work this round may not see: the pause after it is left out."""
        self._woken.clear()

    async def after(self, *, busy: bool) -> None:
        """Wait, but not when there was work."""
        if busy:
            self._next = self._shortest
            return
        await self._wait(self._next)
        self._next = min(self._longest, 2 * self._next)

    async def after_failure(self, error: Exception) -> None:
        """Wait for something that is down, as long as Nextcloud asks for, with jitter."""
        asked = error.retry_after if isinstance(error, NextcloudUnavailable) else None
        await self._wait(max(asked or 0.0, self._next * random.uniform(0.5, 1.0)))  # noqa: S311
        self._next = min(self._longest / 2, 2 * self._next)  # what comes back is noticed soon, however long it was gone

    async def _wait(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._woken.wait()
        except TimeoutError:
            return
        self._next = self._shortest
