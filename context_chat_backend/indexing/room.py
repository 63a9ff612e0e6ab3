# SPDX-License-Identifier: AGPL-3.0-or-later
"""Bounded room for things of different size, entered in turn."""

from __future__ import annotations

import asyncio


class Room:
    """Room for so much; what is larger than all of it enters alone."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._taken = 0
        self._turn = asyncio.Lock()
        self._left = asyncio.Condition()

    async def enter(self, size: int) -> None:
        """Wait until there is room for `size`, behind those who came before."""
        async with self._turn, self._left:
            await self._left.wait_for(lambda: self._taken == 0 or self._taken + size <= self._size)
            self._taken += size

    async def leave(self, size: int) -> None:
        """Give back what `enter` took."""
        async with self._left:
            self._taken -= size
            self._left.notify_all()
