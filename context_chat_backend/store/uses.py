# SPDX-License-Identifier: AGPL-3.0-or-later
"""What programs and end users have used: a row for each answer, and how often somebody asked in this minute.

Nothing of what was asked is kept. Rows go after 90 days.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from context_chat_backend.domain import Principal
from context_chat_backend.errors import DatabaseUnavailable
from context_chat_backend.logs import get_logger
from context_chat_backend.store.database import Database, statement

_SWEEP_SECONDS = 3600.0
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

    async def book(self, use: Use) -> None:
        """Remember a use, and count its tokens for its key."""
        parameters = {
            "key_id": use.key_id,
            "principal": f"{use.asker.realm}:{use.asker.name}",
            "surface": use.surface,
            "model": use.model,
            "prompt_tokens": use.prompt_tokens,
            "answer_tokens": use.answer_tokens,
            "first_byte_ms": use.first_byte_ms,
            "total_ms": use.total_ms,
            "status": use.status,
            "cancelled": use.cancelled,
            "tokens": use.prompt_tokens + use.answer_tokens,
        }
        # What a crash forgets of it does not matter.
        async with self._database.transaction(lasting=False) as connection:
            await connection.execute(statement("uses", "book"), parameters)

    async def asked(self, asker: Principal) -> tuple[int, float]:
        """Count that `asker` asks; returns how often in this minute, and the seconds until it ends."""
        async with self._database.transaction(lasting=False) as connection:
            parameters = {"realm": asker.realm, "name": asker.name}
            row = await (await connection.execute(statement("uses", "asked"), parameters)).fetchone()
        assert row is not None
        return row[0], row[1]

    async def stop(self, request_id: str, key_id: str) -> None:
        """Let the answer to a request of this key end, whichever process writes it."""
        parameters = {"request_id": request_id, "key_id": key_id}
        async with self._database.transaction(lasting=False) as connection:
            await connection.execute(statement("uses", "stop"), parameters)

    async def is_stopped(self, request_id: str, key_id: str) -> bool:
        """Whether the key wants no more of the answer to this request."""
        parameters = {"request_id": request_id, "key_id": key_id}
        async with self._database.transaction(lasting=False) as connection:
            return await (await connection.execute(statement("uses", "stopped"), parameters)).fetchone() is not None

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
