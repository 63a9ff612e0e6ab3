# SPDX-License-Identifier: AGPL-3.0-or-later
"""What programs and end users have used: a row for each answer, and how often somebody asked in this minute.

Nothing of what was asked is kept. Rows go after 90 days.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from context_chat_backend.domain import Principal
from context_chat_backend.errors import DatabaseUnavailable
from context_chat_backend.logs import get_logger
from context_chat_backend.store.database import Database, statement

_SWEEP_SECONDS = 3600.0
_MOST_DUE = 10_000
"""Uses that wait for a database that is away."""
_LARGEST = 2**31 - 1
"""What a column holds: models may tell any number."""
_log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Use:
    """One call of a route that a model answers."""

    key_id: str | None
    """The key it is booked on."""
    asker: Principal
    surface: str
    model: str
    """Who wrote; empty where nobody did."""
    prompt_tokens: int
    answer_tokens: int
    first_byte_ms: int | None
    """Milliseconds to the first event; None where none came."""
    total_ms: int
    status: int
    cancelled: bool = False
    """Whether the caller left before the end."""


class Uses:
    """The uses of this installation. All methods raise DatabaseUnavailable."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._writing = asyncio.Lock()
        self._due: list[Use] = []

    async def book(self, use: Use) -> None:
        """Remember a use, and count its tokens for its key.

        Those that come while others are written are written together. What cannot be written now is with the next.
        """
        self._due.append(use)
        async with self._writing:
            due, self._due = self._due, []
            try:
                await self._write(due)
            except (DatabaseUnavailable, asyncio.CancelledError):
                self._due = [*due, *self._due][-_MOST_DUE:]
                raise

    async def _write(self, uses: Sequence[Use]) -> None:
        if not uses:  # somebody else wrote ours
            return
        rows = sorted(map(_row, uses), key=lambda row: row["key_id"] or "")  # all processes lock keys in one order
        # What a crash forgets of it does not matter.
        async with self._database.transaction(lasting=False) as connection, connection.cursor() as cursor:
            await cursor.executemany(statement("uses", "book"), rows)

    async def asked(self, asker: Principal) -> tuple[int, float]:
        """Count that `asker` asks; returns how often in this minute, and the seconds until it ends."""
        parameters = {"realm": asker.realm, "name": asker.name}
        ((used, seconds_left),) = await self._database.rows(statement("uses", "asked"), parameters)
        return used, seconds_left

    async def stop(self, request_id: str, key_id: str) -> None:
        """Let the answer to a request of this key end, whichever process writes it."""
        parameters = {"request_id": request_id, "key_id": key_id}
        async with self._database.transaction(lasting=False) as connection:
            await connection.execute(statement("uses", "stop"), parameters)

    async def is_stopped(self, request_id: str, key_id: str) -> bool:
        """Whether the key wants no more of the answer to this request."""
        parameters = {"request_id": request_id, "key_id": key_id}
        return bool(await self._database.rows(statement("uses", "stopped"), parameters))

    async def keep_swept(self) -> None:
        """Forget what is old, now and then, for ever."""
        while True:
            try:
                async with self._database.transaction(lasting=False) as connection:
                    for name in ("sweep", "sweep_feedback", "sweep_askers", "sweep_stops"):
                        await connection.execute(statement("uses", name))
            except DatabaseUnavailable as error:
                _log.warning("uses_not_swept", error=type(error).__name__)
            await asyncio.sleep(_SWEEP_SECONDS)


def _row(use: Use) -> dict[str, Any]:
    read, written = min(use.prompt_tokens, _LARGEST), min(use.answer_tokens, _LARGEST)
    return {
        "key_id": use.key_id,
        "principal": f"{use.asker.realm}:{use.asker.name}",
        "surface": use.surface,
        "model": use.model.replace("\0", ""),  # servers of models may call themselves anything
        "prompt_tokens": read,
        "answer_tokens": written,
        "first_byte_ms": use.first_byte_ms,
        "total_ms": use.total_ms,
        "status": use.status,
        "cancelled": use.cancelled,
        "tokens": read + written,
    }
