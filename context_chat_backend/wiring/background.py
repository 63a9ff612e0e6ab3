# SPDX-License-Identifier: AGPL-3.0-or-later
"""What runs beside questions and deliveries from the start of the program to its end."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack

from context_chat_backend.health import Health
from context_chat_backend.logs import get_logger

_CANCEL_SECONDS = 1.0
_log = get_logger(__name__)


class Background:
    """Runs work until the stack is closed; a fault in it is logged and turns the health to not ready."""

    def __init__(self, stack: AsyncExitStack, health: Health) -> None:
        self._stack = stack
        self._health = health

    def run(self, work: Callable[[], Awaitable[None]], name: str) -> None:
        """Start `work`, called `name` in the log."""
        task = asyncio.ensure_future(work())
        task.add_done_callback(lambda done: self._ended(done, name))
        self._stack.push_async_callback(_cancel, task)

    def _ended(self, task: asyncio.Future[None], name: str) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.error("background_work_failed", work=name, error=type(error).__name__)
            self._health.ready = False


async def _cancel(task: asyncio.Future[None]) -> None:
    """Cancel until it has ended: a library may swallow one cancellation."""
    while not task.done():
        task.cancel()
        await asyncio.wait([task], timeout=_CANCEL_SECONDS)
