# SPDX-License-Identifier: AGPL-3.0-or-later
"""How a delivery enters the ledger: its row is written or brought up to date, its readers replaced, its bytes spooled.

All of it happens in the transaction of whoever admits it (store/ledger.py).
"""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from context_chat_backend.domain import Admission, Delivery, Principal, State
from context_chat_backend.store import access, access_sets
from context_chat_backend.store.database import Connection, statement
from context_chat_backend.store.words import retitle_words

PIECE_BYTES = 1024 * 1024
"""Bodies go into the spool in pieces of this size, so that memory stays flat however large they are."""
_SECONDS_A_DOUBLING = 12 * 3600
_SAME_TIME = timedelta(seconds=60)
"""A file that was admitted so soon after it was changed is fetched again when it is delivered with the same time;
leaves room for clocks that differ."""


@dataclass(frozen=True, slots=True)
class Known:
    """What the ledger holds of a source that is delivered again."""

    id: int
    state: State
    modified_at: datetime
    title: str
    access_set_id: int
    outdated: bool
    size: int
    admitted_at: datetime

    def is_older_than(self, delivery: Delivery, size: int) -> bool:
        """Whether the delivery is to be indexed. A rejected version gets another chance when it is delivered again."""
        if self.state is State.REJECTED or self.outdated or self.modified_at < delivery.modified_at:
            return True
        # A file may change twice in the second its time is counted in, once before and once after it was fetched.
        same_time = delivery.remote and self.modified_at == delivery.modified_at
        other_size = size != self.size and self.size > 0  # 0: it was taken over, and nobody knows
        return same_time and (other_size or self.admitted_at < self.modified_at + _SAME_TIME)


@dataclass(frozen=True, slots=True)
class Entry:
    """A version of a source that is to be indexed."""

    id: int
    version: int


async def find(connection: Connection, delivery: Delivery) -> Known | None:
    """The row of the delivered source."""
    rows = await connection.execute(statement("ledger", "find"), {"realm": delivery.realm, "ref": str(delivery.ref)})
    row = await rows.fetchone()
    if row is None:
        return None
    id_, state, *columns = row
    return Known(id_, State(state), *columns)


async def enter(
    connection: Connection, delivery: Delivery, size: int, row: tuple[str, int] | None = None
) -> tuple[Admission, Entry | None]:
    """Bring the row of a delivery up to date; an entry is returned when this version is to be indexed."""
    await access_sets.admitting(connection)
    columns = _columns(delivery, size) | {"file_row": row[1] if row is not None and delivery.remote else None}
    known = await find(connection, delivery)
    if known is None:
        return await _enter_unknown(connection, delivery, columns)
    if delivery.readers_since is not None:
        delivery = replace(delivery, readers=frozenset(await access.readers_left(connection, delivery)))
        if not delivery.readers:
            return Admission.UNCHANGED, None  # an action that came after it may have been composed took it from all
    await _refresh(connection, known, delivery)
    if not known.is_older_than(delivery, size):
        return (Admission.WAITING if known.state is State.WAITING else Admission.UNCHANGED), None
    rows = await connection.execute(statement("ledger", "renew"), columns | {"id": known.id})
    renewed = await rows.fetchone()
    assert renewed is not None
    await connection.execute(statement("ledger", "empty_spool"), {"id": known.id})
    return Admission.ADMITTED, Entry(known.id, renewed[0])


async def _enter_unknown(
    connection: Connection, delivery: Delivery, columns: dict[str, object]
) -> tuple[Admission, Entry | None]:
    readers = await access.remembered_readers(connection, delivery)
    if not readers:
        return Admission.UNCHANGED, None  # everybody who was to read it has lost it on the way
    access_set_id = await access_sets.find_or_create_set(
        connection, await access_sets.principal_ids(connection, readers)
    )
    rows = await connection.execute(statement("ledger", "insert"), columns | {"access_set_id": access_set_id})
    row = await rows.fetchone()
    if row is None:
        return Admission.WAITING, None  # another request has admitted the same source a moment ago
    return Admission.ADMITTED, Entry(row[0], 1)


async def _refresh(connection: Connection, known: Known, delivery: Delivery) -> None:
    """Readers and title follow every delivery, indexed anew or not (ruling 5)."""
    ids = set(await access_sets.principal_ids(connection, delivery.readers))
    if delivery.adds_readers and known.modified_at >= delivery.modified_at:
        rows = await connection.execute(statement("ledger", "members"), {"access_set_id": known.access_set_id})
        ids |= {row[0] for row in await rows.fetchall()}
    access_set_id = await access_sets.find_or_create_set(connection, ids)
    await connection.execute(
        statement("ledger", "refresh"),
        {"id": known.id, "access_set_id": access_set_id, "title": delivery.title},
    )
    if delivery.title != known.title:
        await retitle_words(connection, known.id)


async def spool(connection: Connection, entry: Entry, body: Path | bytes) -> None:
    """Keep the bytes of a version until it is indexed."""
    with io.BytesIO(body) if isinstance(body, bytes) else body.open("rb") as stream:
        piece = 0
        while read := stream.read(PIECE_BYTES):
            await connection.execute(
                statement("ledger", "spool"),
                {"source_id": entry.id, "version": entry.version, "piece": piece, "bytes": read},
            )
            piece += 1


def spooled(
    deliveries: Sequence[tuple[Delivery, bytes]], sets: Mapping[frozenset[Principal], int]
) -> dict[str, object]:
    """The columns of new rows and of their bytes, as arrays; `sets` are the ids of their access sets."""
    rows = [_columns(delivery, len(body)) for delivery, body in deliveries]
    names = ("ref", "provider", "title", "media_type", "size", "modified_at", "precedence")
    columns: dict[str, object] = {f"{name}s": [row[name] for row in rows] for name in names}
    return columns | {
        "access_set_ids": [sets[delivery.readers] for delivery, _ in deliveries],
        "bodies": [body for _, body in deliveries],
    }


def _columns(delivery: Delivery, size: int) -> dict[str, object]:
    return {
        "realm": delivery.realm,
        "ref": str(delivery.ref),
        "provider": delivery.ref.provider,
        "title": delivery.title,
        "media_type": delivery.media_type,
        "size": size,
        "modified_at": delivery.modified_at,
        "precedence": _precedence(delivery, size),
        "remote": delivery.remote,
    }


def _precedence(delivery: Delivery, size: int) -> float:
    """Newer first, and twice the size counts as half a day older: a question about today's file finds it early."""
    modified = min(delivery.modified_at, datetime.now(UTC)).timestamp()
    return modified - _SECONDS_A_DOUBLING * math.log2(1 + size)
