# SPDX-License-Identifier: AGPL-3.0-or-later
"""What the database keeps about a user, or of a text: looked for in every table, so that none can be forgotten."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import Any

from psycopg import sql

from context_chat_backend.domain import Principal, Realm
from context_chat_backend.store.database import Connection, Database, statement

MARKS_OF_DELETION = frozenset({"action_log", "applied_action", "listed_after"})
"""Here names stand so that a delivery that comes late does not bring back what was deleted; for three days at most."""


_OF_LOCAL_USERS = frozenset({("access", "api_keys")})
"""Tables without a realm, whose names are those of local users."""


class Kept:
    """Looks through all tables. It reads all of them: for administrators who have been asked, not for every day."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def about(self, user: Principal) -> dict[str, int]:
        """How many rows name the user, by table; without those that have none. Raises DatabaseUnavailable."""
        return await self._look("named", {"realm": str(user.realm), "name": user.name}, ("text", "names", "jsonb"))

    async def holding(self, text: str) -> dict[str, int]:
        """How many rows hold the text, by table; without those that have none. Raises DatabaseUnavailable."""
        return await self._look("held", {"text": text}, ("text", "names", "jsonb", "bytes"))

    async def _look(self, how: str, parameters: Mapping[str, Any], kinds: tuple[str, ...]) -> dict[str, int]:
        async with self._database.transaction() as connection:
            tables = await _tables(connection)
            found = {
                ".".join(table).removeprefix("public."): await _count(
                    connection, table, columns, how, parameters, kinds
                )
                for table, columns in tables.items()
                if how != "named" or table not in _OF_LOCAL_USERS or parameters["realm"] == Realm.LOCAL
            }
        return {table: rows for table, rows in found.items() if rows}


_Columns = list[tuple[str, str, bool]]


async def _tables(connection: Connection) -> dict[tuple[str, str], _Columns]:
    rows = await connection.execute(statement("kept", "columns"))
    tables: defaultdict[tuple[str, str], _Columns] = defaultdict(list)
    for schema, table, column, kind, has_realm in await rows.fetchall():
        tables[schema, table].append((column, kind, has_realm))
    return tables


async def _count(
    connection: Connection,
    table: tuple[str, str],
    columns: _Columns,
    how: str,
    parameters: Mapping[str, Any],
    kinds: tuple[str, ...],
) -> int:
    conditions: list[sql.Composable] = []
    for column, kind, has_realm in columns:
        if kind not in kinds:
            continue
        condition = sql.SQL(statement("kept", f"{how}_in_{kind}")).format(column=sql.Identifier(column))
        if how == "named" and has_realm:
            condition = sql.SQL(statement("kept", "of_realm")).format(condition=condition)
        conditions.append(condition)
    if not conditions:
        return 0
    query = sql.SQL(statement("kept", "naming")).format(
        table=sql.Identifier(*table), condition=sql.SQL(" OR ").join(conditions)
    )
    row = await (await connection.execute(query, parameters)).fetchone()
    assert row is not None
    return int(row[0])
