# SPDX-License-Identifier: AGPL-3.0-or-later
"""What the ledger tells administrators: how many sources stand where, how fast it goes, and why one is not indexed."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta

from context_chat_backend.store.database import Database, statement

PACE_WINDOW = timedelta(minutes=10)
"""What the present pace is measured over."""

KEPT_BYTES = 1024**3
KEPT_TIME = timedelta(days=30)
"""Of rejected sources this much is kept this long, so that they can be tried again without being delivered again."""

_SLOWEST_WINDOW = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class StateCount:
    """Sources of one provider in one state."""

    provider: str
    state: str
    reason: str | None
    sources: int


@dataclass(frozen=True, slots=True)
class SlowSource:
    """A source that took long."""

    ref: str
    title: str
    parse_ms: int
    embed_ms: int | None


@dataclass(frozen=True, slots=True)
class SourceReport:
    """All that is known of one source but its text and its readers' names. Times are aware, durations milliseconds."""

    id: int
    realm: str
    ref: str
    provider: str
    title: str
    media_type: str
    size: int
    modified_at: datetime
    state: str
    reason: str | None
    attempts: int
    admitted_at: datetime
    started_at: datetime | None
    settled_at: datetime | None
    next_attempt_at: datetime
    leased_until: datetime | None
    parser: str | None
    characters: int | None
    chunk_count: int
    parse_ms: int | None
    embed_ms: int | None
    indexed_modified_at: datetime | None
    readers: int
    bytes_kept: bool
    """Whether it can be tried again without being delivered again."""


@dataclass(frozen=True, slots=True)
class Retried:
    """What became of a wish to try again."""

    due: int
    """These are due now."""
    to_be_delivered: int
    """The bytes of these are gone: they are tried when they are delivered again."""


class Overview:
    """Looks at the ledger. All methods raise DatabaseUnavailable."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def counts(self) -> list[StateCount]:
        """Sources by provider, state and reason."""
        async with self._database.transaction() as connection:
            rows = await connection.execute(statement("overview", "counts"))
            return [StateCount(*row) for row in await rows.fetchall()]

    async def sources_per_second(self) -> float | None:
        """How many sources were indexed a second of late; None when too few were to tell."""
        async with self._database.transaction() as connection:
            row = await (await connection.execute(statement("overview", "pace"), {"window": PACE_WINDOW})).fetchone()
        assert row is not None
        count, seconds = row
        return count / seconds if count > 1 and seconds > 0 else None

    async def slowest(self, limit: int = 5) -> list[SlowSource]:
        """What took longest in the last hour."""
        parameters = {"window": _SLOWEST_WINDOW, "limit": limit}
        async with self._database.transaction() as connection:
            rows = await connection.execute(statement("overview", "slowest"), parameters)
            return [SlowSource(*row) for row in await rows.fetchall()]

    async def find(self, wanted: str, limit: int = 10) -> list[SourceReport]:
        """Sources whose id or title is `wanted`, else those whose title holds it; the latest delivered first."""
        async with self._database.transaction() as connection:
            rows = await connection.execute(statement("overview", "find"), {"wanted": wanted, "limit": limit})
            return [SourceReport(*row) for row in await rows.fetchall()]

    async def there(self, realm: str, refs: Collection[str]) -> set[str]:
        """Those of the source ids that are there."""
        async with self._database.transaction() as connection:
            rows = await connection.execute(statement("overview", "there"), {"realm": realm, "refs": list(refs)})
            return {ref for (ref,) in await rows.fetchall()}

    async def retry(self, *, ref: str | None = None, provider: str | None = None, reason: str | None = None) -> Retried:
        """Make rejected sources, and those that wait after a failed attempt, due now; None means any.

        Quarantined ones are let out only when the source or the reason is named.
        """
        wanted = {"ref": ref, "provider": provider, "reason": reason}
        async with self._database.transaction() as connection:
            await connection.execute(statement("overview", "let_out"), wanted)
            row = await (await connection.execute(statement("overview", "out_of_reach"), wanted)).fetchone()
            assert row is not None
            due = (await connection.execute(statement("overview", "retry"), wanted)).rowcount
        return Retried(due, row[0])

    async def reindex(self, *, ref: str | None = None, provider: str | None = None) -> int:
        """Let indexed sources be indexed anew at their next delivery; returns how many."""
        async with self._database.transaction() as connection:
            wanted = {"ref": ref, "provider": provider}
            return (await connection.execute(statement("overview", "reindex"), wanted)).rowcount

    async def drop_kept(self) -> int:
        """Drop bytes of rejected sources that were kept long enough; returns how many pieces."""
        async with self._database.transaction() as connection:
            kept = {"bytes": KEPT_BYTES, "time": KEPT_TIME}
            return (await connection.execute(statement("overview", "drop_kept"), kept)).rowcount
