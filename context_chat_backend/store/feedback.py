# SPDX-License-Identifier: AGPL-3.0-or-later
"""What those who asked thought of answers."""

from __future__ import annotations

from context_chat_backend.store.database import Database, statement


class Feedback:
    """The feedback of this installation. All methods raise DatabaseUnavailable."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def give(self, request_id: str, key_id: str, *, up: bool, comment: str) -> None:
        """Remember what a key thinks of an answer to it; the last word counts."""
        parameters = {"request_id": request_id, "key_id": key_id, "rating": 1 if up else -1, "comment": comment}
        async with self._database.transaction() as connection:
            await connection.execute(statement("feedback", "give"), parameters)
