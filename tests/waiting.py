# SPDX-License-Identifier: AGPL-3.0-or-later
"""Waiting for what must happen, however slow the machine is."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

PATIENCE = 60.0
"""Seconds in which whatever must happen has happened, on a machine that does much else."""
_PAUSE = 0.03


def until(
    holds: Callable[[], object], seconds: float = PATIENCE, *, said: Callable[[], object] = lambda: "it did not happen"
) -> None:
    """Wait until it holds. Raises AssertionError with what is `said` then, when the time is up."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, said()
        time.sleep(_PAUSE)


async def soon(holds: Callable[[], Awaitable[object]]) -> None:
    """Wait until it holds, while other tasks go on. Raises TimeoutError."""
    async with asyncio.timeout(PATIENCE):
        while not await holds():
            await asyncio.sleep(_PAUSE / 3)
