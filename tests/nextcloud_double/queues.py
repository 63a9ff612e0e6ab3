# SPDX-License-Identifier: AGPL-3.0-or-later
"""The companion's queues (contract pull-5x 2): leases of 24 hours, no way to give one back, ids per table."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

LEASE_SECONDS = 86_400


@dataclass
class Row:
    """One row of a queue."""

    id: int
    key: str
    """What it is about; '' where several rows may be about the same."""
    payload: dict[str, Any]
    locked_at: float | None = None


class Queue:
    """One table. Ids begin at 1 in each, so that the ids of two queues overlap."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._next = 1
        self.rows: dict[int, Row] = {}

    def add(self, payload: dict[str, Any], key: str = "") -> int | None:
        """The new row's id; None when a row with this key exists, leased or not (trap 2 of the contract)."""
        if key and any(row.key == key for row in self.rows.values()):
            return None
        row = Row(self._next, key, payload)
        self._next += 1
        self.rows[row.id] = row
        return row.id

    def lease(self, limit: int) -> list[Row]:
        """At most `limit` available rows, oldest first; nobody else gets them for a day."""
        available = [row for row in self.rows.values() if self._is_available(row)]
        leased = sorted(available, key=lambda row: row.id)[: max(limit, 0)]
        for row in leased:
            row.locked_at = self._now()
        return leased

    def delete(self, ids: Iterable[int]) -> None:
        """Remove rows, leased or not; unknown ids are ignored."""
        for id_ in ids:
            self.rows.pop(id_, None)

    def stats(self) -> dict[str, int]:
        """What autoscalers ask."""
        scheduled = sum(self._is_available(row) for row in self.rows.values())
        return {"scheduled": scheduled, "running": len(self.rows) - scheduled}

    def _is_available(self, row: Row) -> bool:
        return row.locked_at is None or row.locked_at <= self._now() - LEASE_SECONDS
