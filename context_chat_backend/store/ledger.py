# SPDX-License-Identifier: AGPL-3.0-or-later
"""The ledger of sources: what was admitted, what is due, and what became of it. The ledger is the queue.

A source waits, is claimed by a worker under a lease, and is settled: indexed (store/chunks.py writes the chunks in
the settling transaction), rejected, or due again later. A worker's outcome for a version that was replaced meanwhile,
or for a source that was deleted, changes nothing.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from psycopg.rows import TupleRow

from context_chat_backend.domain import (
    Admission,
    ClaimedSource,
    Delivery,
    Reason,
    SourceRef,
)
from context_chat_backend.store import access_sets
from context_chat_backend.store.database import Connection, Database, statement
from context_chat_backend.store.entering import PIECE_BYTES, enter, find, spool, spooled
from context_chat_backend.store.quarantine import record_killed
from context_chat_backend.store.queued import settle_row

_READERS_AT_ONCE = 100
_SMALL_BYTES = 64 * 1024
"""Bytes of sources up to this size come with the claim."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """How full the waiting list is."""

    sources: int
    bytes: int


@dataclass(frozen=True, slots=True)
class RejectedSource:
    """One line of `status`: what could not be indexed, and why."""

    ref: str
    title: str
    state: str
    """'rejected' or 'quarantined'."""
    reason: str
    settled_at: datetime


class Ledger:
    """Sources, their versions and states."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._turn = 0

    async def admit(
        self, delivery: Delivery, body: Path | bytes, size: int, row: tuple[str, int] | None = None
    ) -> Admission:
        """Write row, readers and bytes of a delivery in one transaction.

        `body` has `size` bytes; those of a remote delivery are fetched later, and `body` is not looked at. `row` is
        the row of Nextcloud's queue that is acknowledged with it (queue and id). Raises DatabaseUnavailable.
        """
        async with self._database.transaction() as connection:
            admission, entry = await enter(connection, delivery, size, row)
            if entry is not None and not delivery.remote:
                await spool(connection, entry, body)
            await settle_row(connection, row)
            return admission

    async def admit_new(self, deliveries: Sequence[tuple[Delivery, bytes]]) -> set[str]:
        """Write those that nobody has heard of, each with its bytes (a piece at most), in one transaction.

        Returns their refs. The others, which are known or subject to an action that came before, are to be admitted
        one by one. All are of one realm, none is there twice, none is remote. Raises DatabaseUnavailable.
        """
        async with self._database.transaction() as connection:
            await access_sets.admitting(connection)
            realm = {"realm": deliveries[0][0].realm}
            named = {
                "refs": [str(delivery.ref) for delivery, _ in deliveries],
                "providers": [delivery.ref.provider for delivery, _ in deliveries],
            }
            rows = await connection.execute(statement("ledger", "unheard_of"), realm | named)
            unheard_of = {row[0] for row in await rows.fetchall()}
            new = [one for one in deliveries if str(one[0].ref) in unheard_of]
            sets = await access_sets.find_or_create_sets(connection, {delivery.readers for delivery, _ in new})
            rows = await connection.execute(statement("ledger", "insert_spooled"), realm | spooled(new, sets))
            return {row[0] for row in await rows.fetchall()}

    async def admit_known(self, delivery: Delivery, size: int) -> Admission | None:
        """Admit a delivery that needs no room in the waiting list; None, and no change, for one that does."""
        async with self._database.transaction() as connection:
            await access_sets.admitting(connection)  # before the row is locked: no deadlock with an action
            known = await find(connection, delivery)
            if known is None or known.is_older_than(delivery, size):
                return None
            admission, _ = await enter(connection, delivery, size)
            return admission

    async def turn_away(
        self, delivery: Delivery, size: int, reason: Reason, row: tuple[str, int] | None = None
    ) -> None:
        """Record the verdict on a delivery that is rejected at the door; an older version answers no more."""
        async with self._database.transaction() as connection:
            _, entry = await enter(connection, delivery, size)
            if entry is not None:
                await _reject(connection, {"id": entry.id, "version": entry.version}, reason)
            await settle_row(connection, row)

    async def claim(self, limit: int, lease: timedelta) -> list[ClaimedSource]:
        """Lease up to `limit` due sources; each is due again when the lease ends unsettled.

        First come those somebody waits for, then those of all readers in turn, the newest and smallest of each. Where
        the turn is, each process decides for itself.
        """
        claimed, last = await self._claim(limit, lease, self._turn)
        if len(claimed) < limit and self._turn > 0:  # once round
            more, last = await self._claim(limit - len(claimed), lease, 0)
            claimed += more
        self._turn = last
        return claimed

    async def _claim(self, limit: int, lease: timedelta, after: int) -> tuple[list[ClaimedSource], int]:
        """What was claimed, and the last access set whose turn it was."""
        parameters = {"limit": limit, "lease": lease, "after": after, "small": _SMALL_BYTES}
        async with self._database.transaction(lasting=False) as connection:
            rows = await (await connection.execute(statement("ledger", "claim"), parameters)).fetchall()
        claimed = [
            ClaimedSource(id_, realm, SourceRef.parse(ref), *columns)
            for id_, realm, ref, *columns, _, _ in sorted(rows, key=_place)
        ]
        return claimed, max((row[-1] for row in rows), default=0)

    async def begin(self, source: ClaimedSource) -> None:
        """Count this attempt before it begins; a first one is counted when it is claimed."""
        if source.attempts > 1:
            async with self._database.transaction() as connection:
                counted = _version(source) | {"attempts": source.attempts}
                await connection.execute(statement("ledger", "begin"), counted)

    async def prolong(self, sources: Collection[ClaimedSource], lease: timedelta) -> None:
        """Keep leases for another while: the work is long, the worker alive."""
        versions = {"ids": [one.id for one in sources], "versions": [one.version for one in sources]}
        async with self._database.transaction(lasting=False) as connection:
            await connection.execute(statement("ledger", "prolong"), versions | {"lease": lease})

    async def give_back(self, sources: Collection[ClaimedSource]) -> None:
        """Make claimed sources due at once, as if they had not been claimed: whoever had them stops."""
        claimed = {
            "ids": [one.id for one in sources],
            "versions": [one.version for one in sources],
            "attempts": [one.attempts for one in sources],
        }
        async with self._database.transaction() as connection:
            await connection.execute(statement("ledger", "give_back"), claimed)

    async def read(self, source: ClaimedSource) -> AsyncIterator[bytes]:
        """The spooled bytes of a claimed version, in pieces; nothing when the version was replaced meanwhile."""
        if source.body is not None:
            yield source.body
            return
        piece = 0
        while True:
            async with self._database.transaction() as connection:
                rows = await connection.execute(statement("ledger", "read_piece"), _version(source) | {"piece": piece})
                row = await rows.fetchone()
            if row is None:
                return
            yield row[0]
            if len(row[0]) < PIECE_BYTES:
                return
            piece += 1

    async def reject(self, source: ClaimedSource, reason: Reason) -> None:
        """Settle: this version cannot be indexed. What was indexed of an older version goes too."""
        async with self._database.transaction() as connection:
            await _reject(connection, _version(source), reason)

    async def reject_unseen(self, source: ClaimedSource, users: Collection[str]) -> bool:
        """Settle a file that none of `users` sees; False, and no change, when others may read it by now."""
        async with self._database.transaction() as connection:
            await access_sets.admitting(connection)  # who is let in afterwards has it sought again
            rows = await connection.execute(
                statement("ledger", "has_other_readers"), {"id": source.id, "names": list(users)}
            )
            row = await rows.fetchone()
            if row is not None and row[0]:
                return False
            await _reject(connection, _version(source), Reason.NOT_FOUND)
            return True

    async def retry_later(self, source: ClaimedSource, reason: Reason, delay: timedelta) -> None:
        """Make the source due again after `delay`; the reason is shown until then."""
        async with self._database.transaction() as connection:
            await connection.execute(
                statement("ledger", "retry_later"), _version(source) | {"reason": str(reason), "delay": delay}
            )

    async def killed_its_parser(self, source: ClaimedSource, reason: Reason, delay: timedelta) -> bool:
        """Record that the process that read this version died or had to be stopped; returns whether it is quarantined.

        The first time it is due again after `delay`. What was indexed of an older version goes with a quarantined one.
        """
        async with self._database.transaction() as connection:
            return await record_killed(connection, source, reason, delay)

    async def postpone(self, source: ClaimedSource, reason: Reason, delay: timedelta) -> None:
        """Make the source due again after `delay`, without counting the attempt: something it needs is down."""
        async with self._database.transaction() as connection:
            await connection.execute(
                statement("ledger", "postpone"), _version(source) | {"reason": str(reason), "delay": delay}
            )

    async def readers(self, source: ClaimedSource) -> AsyncIterator[str]:
        """The names of all who may read the source now; each attempt to index it begins with others."""
        page = {"id": source.id, "attempt": source.attempts, "limit": _READERS_AT_ONCE}
        place = after = None
        while True:
            async with self._database.transaction() as connection:
                rows = await connection.execute(statement("ledger", "readers"), page | {"place": place, "after": after})
                found = await rows.fetchall()
            for name, _, _ in found:
                yield name
            if len(found) < _READERS_AT_ONCE:
                return
            _, place, after = found[-1]

    async def waiting(self) -> Waiting:
        """How many sources and bytes wait to be indexed."""
        async with self._database.transaction() as connection:
            row = await (await connection.execute(statement("ledger", "waiting"))).fetchone()
        assert row is not None
        return Waiting(*row)

    async def prefer(self, realm: str, refs: Sequence[SourceRef]) -> int:
        """Let these sources jump the queue; returns how many of them still wait."""
        async with self._database.transaction() as connection:
            rows = await connection.execute(
                statement("ledger", "prefer"), {"realm": realm, "refs": [str(ref) for ref in refs]}
            )
            return rows.rowcount

    async def count_indexed(self, realm: str) -> dict[str, int]:
        """How many sources of each provider are indexed."""
        async with self._database.transaction() as connection:
            rows = await connection.execute(statement("ledger", "count_indexed"), {"realm": realm})
            return dict(await rows.fetchall())

    async def count_states(self) -> dict[str, int]:
        """How many sources are in each state, for `status`."""
        async with self._database.transaction() as connection:
            rows = await connection.execute(statement("ledger", "count_states"))
            return dict(await rows.fetchall())

    async def rejected(self, limit: int = 50) -> list[RejectedSource]:
        """The sources rejected last, with their reasons, for the administrator's `status`."""
        async with self._database.transaction() as connection:
            rows = await connection.execute(statement("ledger", "rejected"), {"limit": limit})
            return [RejectedSource(*row) for row in await rows.fetchall()]


async def _reject(connection: Connection, version: dict[str, object], reason: Reason) -> None:
    await connection.execute(statement("ledger", "reject"), version | {"reason": str(reason)})
    await connection.execute(statement("ledger", "drop_rejected"), version)


def _place(row: TupleRow) -> int:
    """Where a claimed row stands among those of its readers."""
    return int(row[-2])


def _version(source: ClaimedSource) -> dict[str, object]:
    return {"id": source.id, "version": source.version}
