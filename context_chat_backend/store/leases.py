# SPDX-License-Identifier: AGPL-3.0-or-later
"""Work that one process at a time may do: a row says who does it, and until when without another word (ruling 13)."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

from context_chat_backend.errors import DatabaseUnavailable
from context_chat_backend.store.database import Database, statement


class Leases:
    """The leases of one process."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._holder = uuid.uuid4().hex

    @asynccontextmanager
    async def hold(self, name: str, lease: timedelta) -> AsyncIterator[bool]:
        """Hold the lease `name` while the body runs; gives False when another process has it.

        It is prolonged meanwhile, and given back at the end. When this process dies it ends by itself after `lease`.
        Raises DatabaseUnavailable.
        """
        if not await self._take(name, lease):
            yield False
            return
        keeper = asyncio.create_task(self._keep(name, lease))
        try:
            yield True
        finally:
            keeper.cancel()
            await asyncio.wait([keeper])
            await self._give_back(name)

    async def prolong(self, name: str, lease: timedelta) -> bool:
        """Keep a lease that this process holds; False when another has it by now. Raises DatabaseUnavailable."""
        return await self._take(name, lease)

    async def is_held(self, name: str) -> bool:
        """Whether some process holds the lease. Raises DatabaseUnavailable."""
        async with self._database.transaction() as connection:
            row = await (await connection.execute(statement("leases", "held"), {"name": name})).fetchone()
        return row is not None

    async def _take(self, name: str, lease: timedelta) -> bool:
        parameters = {"name": name, "holder": self._holder, "lease": lease}
        async with self._database.transaction() as connection:
            row = await (await connection.execute(statement("leases", "take"), parameters)).fetchone()
        return row is not None

    async def _keep(self, name: str, lease: timedelta) -> None:
        while True:
            await asyncio.sleep(lease.total_seconds() / 3)
            try:
                await self._take(name, lease)
            except DatabaseUnavailable:
                continue  # the work meets the same fault, and ends by it

    async def _give_back(self, name: str) -> None:
        async with self._database.transaction() as connection:
            await connection.execute(statement("leases", "give_back"), {"name": name, "holder": self._holder})
