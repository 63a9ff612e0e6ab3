# SPDX-License-Identifier: AGPL-3.0-or-later
"""The ledger of sources: what was admitted, what is due, and what became of it. The ledger is the queue.

A source waits, is claimed by a worker under a lease, and is settled: indexed (store/chunks.py writes the chunks in
the settling transaction), rejected, or due again later. A worker's outcome for a version that was replaced meanwhile,
or for a source that was deleted, changes nothing.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from psycopg.types.json import Jsonb

from context_chat_backend.domain import (
    Admission,
    ClaimedSource,
    Delivery,
    Principal,
    Reason,
    Scope,
    SourceRef,
    State,
)
from context_chat_backend.store import access
from context_chat_backend.store.database import Connection, Database, statement

_PIECE_BYTES = 1024 * 1024
"""Bodies go into the spool in pieces of this size, so that memory stays flat however large they are."""


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
    reason: str
    settled_at: datetime


@dataclass(frozen=True, slots=True)
class _Known:
    id: int
    state: State
    modified_at: datetime
    title: str
    access_set_id: int


class Ledger:
    """Sources, their versions and states."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def admit(self, delivery: Delivery, body: Path | None, size: int) -> Admission | None:
        """Write row, readers and bytes of a delivery in one transaction.

        `body` is a file of `size` bytes. With None only a delivery that needs no bytes (UNCHANGED, WAITING) is
        accepted, and None is returned for one that does. Raises DatabaseUnavailable.
        """
        async with self._database.transaction() as connection:
            await access.admitting(connection)
            known = await _find(connection, delivery)
            if known is None:
                return await _admit_unknown(connection, delivery, body, size)
            stale = known.state is not State.REJECTED and known.modified_at >= delivery.modified_at
            if not stale and body is None:
                return None
            await _refresh(connection, known, delivery)
            if stale:
                return Admission.WAITING if known.state is State.WAITING else Admission.UNCHANGED
            row = await (
                await connection.execute(statement("ledger", "renew"), _columns(delivery, size) | {"id": known.id})
            ).fetchone()
            assert row is not None and body is not None
            await connection.execute(statement("ledger", "empty_spool"), {"id": known.id})
            await _spool(connection, known.id, row[0], body)
            return Admission.ADMITTED

    async def claim(self, limit: int, lease: timedelta) -> list[ClaimedSource]:
        """Lease up to `limit` due sources, most urgent first; each is due again when the lease ends unsettled."""
        async with self._database.transaction() as connection:
            rows = await connection.execute(statement("ledger", "claim"), {"limit": limit, "lease": lease})
            return [
                ClaimedSource(id_, SourceRef.parse(ref), version, title, media_type, modified_at, attempts)
                for id_, ref, version, title, media_type, modified_at, attempts in await rows.fetchall()
            ]

    async def prolong(self, source: ClaimedSource, lease: timedelta) -> None:
        """Keep a lease for another while: the work is long, the worker alive."""
        async with self._database.transaction() as connection:
            await connection.execute(statement("ledger", "prolong"), _version(source) | {"lease": lease})

    async def read(self, source: ClaimedSource) -> AsyncIterator[bytes]:
        """The spooled bytes of a claimed version, in pieces; nothing when the version was replaced meanwhile."""
        piece = 0
        while True:
            async with self._database.transaction() as connection:
                rows = await connection.execute(
                    statement("ledger", "read_piece"), _version(source) | {"piece": piece}
                )
                row = await rows.fetchone()
            if row is None:
                return
            yield row[0]
            piece += 1

    async def reject(self, source: ClaimedSource, reason: Reason) -> None:
        """Settle: this version cannot be indexed. What was indexed of an older version goes too."""
        async with self._database.transaction() as connection:
            await connection.execute(statement("ledger", "reject"), _version(source) | {"reason": str(reason)})
            await connection.execute(statement("ledger", "drop_rejected"), {"id": source.id})

    async def retry_later(self, source: ClaimedSource, reason: Reason, delay: timedelta) -> None:
        """Make the source due again after `delay`; the reason is shown until then."""
        async with self._database.transaction() as connection:
            await connection.execute(
                statement("ledger", "retry_later"), _version(source) | {"reason": str(reason), "delay": delay}
            )

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

    async def is_within_reach(self, asker: Principal, scope: Scope) -> bool:
        """Whether the scope holds any source, indexed or waiting, that the asker may read."""
        async with self._database.transaction() as connection:
            row = await (
                await connection.execute(
                    statement("ledger", "within_reach"),
                    {
                        "realm": asker.realm,
                        "name": asker.name,
                        "providers": None if scope.providers is None else list(scope.providers),
                        "refs": None if scope.sources is None else [str(ref) for ref in scope.sources],
                    },
                )
            ).fetchone()
        return row is not None and bool(row[0])

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

    async def next_due(self) -> datetime | None:
        """When the next waiting source is due; None when nothing waits."""
        async with self._database.transaction() as connection:
            row = await (await connection.execute(statement("ledger", "next_due"))).fetchone()
        return None if row is None else row[0]

    async def setting(self, name: str) -> Any:
        """A setting shared by all processes (any JSON value); None when it was never written."""
        async with self._database.transaction() as connection:
            row = await (await connection.execute(statement("database", "setting"), {"name": name})).fetchone()
        return None if row is None else row[0]

    async def set_setting(self, name: str, value: Any) -> None:
        """Write a setting shared by all processes; `value` is any JSON value."""
        async with self._database.transaction() as connection:
            await connection.execute(statement("database", "set_setting"), {"name": name, "value": Jsonb(value)})


async def _find(connection: Connection, delivery: Delivery) -> _Known | None:
    rows = await connection.execute(
        statement("ledger", "find"), {"realm": delivery.realm, "ref": str(delivery.ref)}
    )
    row = await rows.fetchone()
    if row is None:
        return None
    id_, state, modified_at, title, access_set_id = row
    return _Known(id_, State(state), modified_at, title, access_set_id)


async def _admit_unknown(
    connection: Connection, delivery: Delivery, body: Path | None, size: int
) -> Admission | None:
    if body is None:
        return None
    readers = await access.remembered_readers(
        connection, delivery.realm, delivery.ref, delivery.readers, delivery.received_at
    )
    if not readers:
        return Admission.UNCHANGED  # everybody who was to read it has lost it on the way
    access_set_id = await access.find_or_create_set(connection, await access.principal_ids(connection, readers))
    rows = await connection.execute(
        statement("ledger", "insert"), _columns(delivery, size) | {"access_set_id": access_set_id}
    )
    row = await rows.fetchone()
    if row is None:  # another request has admitted the same source a moment ago: what it found stands
        known = await _find(connection, delivery)
        assert known is not None
        return Admission.WAITING
    await _spool(connection, row[0], 1, body)
    return Admission.ADMITTED


async def _refresh(connection: Connection, known: _Known, delivery: Delivery) -> None:
    """Readers and title follow every delivery, indexed anew or not (ruling 5)."""
    ids = set(await access.principal_ids(connection, delivery.readers))
    if delivery.adds_readers and known.modified_at >= delivery.modified_at:
        rows = await connection.execute(statement("ledger", "members"), {"access_set_id": known.access_set_id})
        ids |= {row[0] for row in await rows.fetchall()}
    access_set_id = await access.find_or_create_set(connection, ids)
    await connection.execute(
        statement("ledger", "refresh"),
        {"id": known.id, "access_set_id": access_set_id, "title": delivery.title},
    )
    if delivery.title != known.title:
        await connection.execute(statement("ledger", "retitle_words"), {"id": known.id})


async def _spool(connection: Connection, source_id: int, version: int, body: Path) -> None:
    with body.open("rb") as stream:
        piece = 0
        while read := stream.read(_PIECE_BYTES):
            await connection.execute(
                statement("ledger", "spool"),
                {"source_id": source_id, "version": version, "piece": piece, "bytes": read},
            )
            piece += 1


def _columns(delivery: Delivery, size: int) -> dict[str, object]:
    return {
        "realm": delivery.realm,
        "ref": str(delivery.ref),
        "provider": delivery.ref.provider,
        "title": delivery.title,
        "media_type": delivery.media_type,
        "size": size,
        "modified_at": delivery.modified_at,
    }


def _version(source: ClaimedSource) -> dict[str, object]:
    return {"id": source.id, "version": source.version}
