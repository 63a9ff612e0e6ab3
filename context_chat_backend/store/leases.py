# SPDX-License-Identifier: AGPL-3.0-or-later
"""Work that one process at a time may do: a row says who does it, and until when without another word (ruling 13)."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from contextlib import AbstractContextManager, asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta

from context_chat_backend.errors import DatabaseUnavailable, LeaseLost
from context_chat_backend.store.database import Connection, Database, only_if, statement


@dataclass(frozen=True, slots=True)
class Held:
    """A lease, from the time it is taken until it is given back or somebody else takes it."""

    name: str
    holder: str
    lease: timedelta


class Leases:
    """The leases of one process."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._not_given_back: dict[str, str] = {}
        """Holders of leases whose end the database has not heard of, by name: whoever held one here is done with it."""

    @asynccontextmanager
    async def hold(self, name: str, lease: timedelta) -> AsyncIterator[Held | None]:
        """Hold the lease `name` while the body runs; gives None when it is held already.

        It is prolonged meanwhile, and given back at the end. When this process dies it ends by itself after `lease`.
        A process that is halted for longer may have lost it without having noticed: see `while_ours`.
        Raises DatabaseUnavailable.
        """
        held = Held(name, uuid.uuid4().hex, lease)
        if not await self._changed("take", held):
            yield None
            return
        keeper = asyncio.create_task(self._keep(held))
        try:
            yield held
        finally:
            keeper.cancel()
            await asyncio.wait([keeper])
            self._not_given_back[name] = held.holder
            await self._give_back(held)

    async def prolong(self, held: Held) -> bool:
        """Keep a lease; False when somebody else has taken it. Raises DatabaseUnavailable."""
        return await self._changed("prolong", held)

    async def is_held(self, name: str) -> bool:
        """Whether some process holds the lease. Raises DatabaseUnavailable."""
        async with self._database.transaction() as connection:
            row = await (await connection.execute(statement("leases", "held"), {"name": name})).fetchone()
        return row is not None

    async def _changed(self, name: str, held: Held) -> bool:
        former = self._not_given_back.get(held.name, held.holder)
        parameters = {"name": held.name, "holder": held.holder, "lease": held.lease, "former": former}
        async with self._database.transaction() as connection:
            row = await (await connection.execute(statement("leases", name), parameters)).fetchone()
        return row is not None

    async def _keep(self, held: Held) -> None:
        is_ours = True
        while is_ours:
            await asyncio.sleep(held.lease.total_seconds() / 3)
            try:
                is_ours = await self.prolong(held)
            except DatabaseUnavailable:
                continue  # the work meets the same fault, and ends by it

    async def _give_back(self, held: Held) -> None:
        async with self._database.transaction() as connection:
            await connection.execute(statement("leases", "give_back"), {"name": held.name, "holder": held.holder})


def while_ours(held: Held) -> AbstractContextManager[None]:
    """Transactions begun in the body raise LeaseLost once somebody else has the lease; nobody takes it during one.

    So whoever was halted beyond his lease changes nothing any more, however far he had come.
    """

    async def ours(connection: Connection) -> None:
        parameters = {"name": held.name, "holder": held.holder}
        rows = await connection.execute(statement("leases", "still_ours"), parameters)
        if await rows.fetchone() is None:
            raise LeaseLost(f"another process has taken over: {held.name}")

    return only_if(ours)
