# SPDX-License-Identifier: AGPL-3.0-or-later
"""Quarantine: sources that killed the process that read them, twice. They are kept away from it from then on.

They leave it as a newer version, or when the administrator lets them out (overview.py: retry).
"""

from __future__ import annotations

from datetime import timedelta

from context_chat_backend.domain import ClaimedSource, Reason
from context_chat_backend.store.database import Connection, statement

_KILLED = {str(reason) for reason in (Reason.PARSER_DIED, Reason.PARSER_TIMEOUT, Reason.PARSER_MEMORY)}


async def record_killed(connection: Connection, source: ClaimedSource, reason: Reason, delay: timedelta) -> bool:
    """The first time `source` is due again after `delay`; the second time in a row it is quarantined: returns which."""
    version = {"id": source.id, "version": source.version, "reason": str(reason)}
    row = await (await connection.execute(statement("quarantine", "reason"), version)).fetchone()
    if row is None:
        return False  # replaced or deleted meanwhile
    if row[0] in _KILLED:
        await connection.execute(statement("quarantine", "enter"), version)
        return True
    await connection.execute(statement("ledger", "retry_later"), version | {"delay": delay})
    return False
