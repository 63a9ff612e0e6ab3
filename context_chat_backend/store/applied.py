# SPDX-License-Identifier: AGPL-3.0-or-later
"""Numbered actions of Nextcloud that were applied, so that one that comes late takes the place it should have had."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from context_chat_backend.domain import SourceRef
from context_chat_backend.store.database import Connection, Database, statement

_ALL = ""
"""The target of which the highest id of all is kept."""


@dataclass(frozen=True, slots=True)
class AppliedAction:
    """What an action did to one target."""

    id: int
    kind: str
    target: str
    """A source, a provider, or '' where a user is deleted."""
    readers: tuple[str, ...] = ()


class Applied:
    """How far actions have come. All here raises DatabaseUnavailable."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def highest(self) -> int:
        """The highest id of an action that was applied; 0 before the first."""
        return (await self.listed([_ALL])).get(_ALL, 0)

    async def newer(self, targets: Collection[str], than: int) -> list[AppliedAction]:
        """What was done to these targets by actions with a higher id, as far as three days back, by ascending id."""
        async with self._database.transaction() as connection:
            rows = await connection.execute(
                statement("applied", "newer"), {"targets": sorted(set(targets)), "than": than}
            )
            return [
                AppliedAction(id_, kind, target, tuple(readers)) for id_, kind, target, readers in await rows.fetchall()
            ]

    async def listed(self, targets: Collection[str]) -> dict[str, int]:
        """By source, the highest id that had been applied when its readers were listed last."""
        async with self._database.transaction() as connection:
            rows = await connection.execute(statement("applied", "listed"), {"targets": list(targets)})
            return dict(await rows.fetchall())

    async def note_listed(self, refs: Sequence[SourceRef]) -> None:
        """The readers of these sources were listed just now: all actions applied so far are in them."""
        async with self._database.transaction() as connection:
            await connection.execute(statement("applied", "note_listed"), {"refs": sorted(map(str, refs))})

    async def sources_of(self, realm: str, provider: str) -> list[SourceRef]:
        """All sources of a provider."""
        async with self._database.transaction() as connection:
            rows = await connection.execute(statement("applied", "sources"), {"realm": realm, "provider": provider})
            return [SourceRef.parse(row[0]) for row in await rows.fetchall()]


async def note_applied(connection: Connection, actions: Sequence[AppliedAction]) -> None:
    """Keep what was applied, within the transaction that settles the rows it came in."""
    if not actions:
        return
    await connection.execute(
        statement("applied", "note_applied"),
        {
            "targets": [action.target for action in actions],
            "ids": [action.id for action in actions],
            "kinds": [action.kind for action in actions],
            "readers": [json.dumps(action.readers) for action in actions],
        },
    )
    await connection.execute(statement("applied", "note_highest"), {"id": max(action.id for action in actions)})
