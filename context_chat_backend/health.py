# SPDX-License-Identifier: AGPL-3.0-or-later
"""Whether the program can do its work."""

from __future__ import annotations

import asyncio


class Health:
    """What the surfaces look at before they pass a request on."""

    def __init__(self) -> None:
        self._ready = asyncio.Event()
        self.percent = 0
        """How far the start is, 0 to 99; what is left is to be ready."""

    @property
    def ready(self) -> bool:
        """False while starting and stopping: everything but the heartbeat answers 503."""
        return self._ready.is_set()

    @ready.setter
    def ready(self, ready: bool) -> None:
        if ready:
            self._ready.set()
        else:
            self._ready.clear()

    async def wait_until_ready(self, timeout_seconds: float | None = None) -> bool:
        """Wait for the start to end; False when it has not after `timeout_seconds` (None: for ever)."""
        try:
            await asyncio.wait_for(self._ready.wait(), timeout_seconds)
        except TimeoutError:
            return False
        return True
