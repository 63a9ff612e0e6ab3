# SPDX-License-Identifier: AGPL-3.0-or-later
"""All of the database in one file, as it is at one moment, while everybody goes on working."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from psycopg import AsyncConnection, sql

import context_chat_backend
from context_chat_backend.store.archive import ArchivedTable, ArchiveWriter, Manifest, written
from context_chat_backend.store.database import Connection, our_errors, statement
from context_chat_backend.store.history import SCHEMA, noted_steps
from context_chat_backend.store.spaces import Spaces, creation, vector_tables

_WITHOUT_ROWS = ("lease",)
"""Who does what at this moment is nothing to go back to."""


def tables_of(schema: str) -> list[str]:
    """The tables that the statements of a schema make, in an order in which they can be filled.

    Unlogged ones, which a crash empties, hold nothing to go back to, and are none of them.
    """
    return re.findall(r"^CREATE TABLE ([\w.]+)", schema, re.MULTILINE)


async def back_up(
    url: str, file: Path, *, vectors: bool = True, progress: Callable[[str], None] = lambda _table: None
) -> Manifest:
    """Write the database at `url` into a new file; `progress` is told each table.

    Without `vectors` the file is much smaller, and texts are embedded again after it was restored. Raises StartError
    when the file cannot be written, DatabaseUnavailable.
    """
    with our_errors(), written(file) as archive:
        async with await AsyncConnection.connect(url) as connection:
            await connection.execute(statement("backup", "snapshot"))
            await connection.execute(statement("database", "maintenance"))
            manifest = await _write(connection, archive, vectors, progress)
        archive.finish(manifest)
    return manifest


async def _write(
    connection: Connection, archive: ArchiveWriter, vectors: bool, progress: Callable[[str], None]
) -> Manifest:
    schema = SCHEMA.read_text(encoding="utf-8")
    spaces = await Spaces.listed(connection)
    own = [table for table in tables_of(schema) if table not in _WITHOUT_ROWS]
    of_spaces = [table for space in spaces for table in vector_tables(space.stored)]
    for table in (*own, *of_spaces):
        await connection.execute(sql.SQL(statement("backup", "hold")).format(table=_named(table)))
    tables = []
    for table in own:
        progress(table)
        tables.append(await _copy(connection, archive, table, binary=False))
    for table in of_spaces if vectors else ():
        progress(table)
        tables.append(await _copy(connection, archive, table, binary=True))
    row = await (await connection.execute(statement("backup", "counts"))).fetchone()
    assert row is not None
    return Manifest(
        version=context_chat_backend.__version__,
        made_at=datetime.now(UTC).isoformat(timespec="seconds"),
        steps=await noted_steps(connection),
        vectors=vectors,
        schema=schema,
        spaces=[one.as_string(connection) for space in spaces for one in creation(space.stored)],
        tables=tables,
        counts={"sources": row[0], "chunks": row[1]},
    )


async def _copy(connection: Connection, archive: ArchiveWriter, table: str, *, binary: bool) -> ArchivedTable:
    rows = await (await connection.execute(statement("backup", "columns"), {"table": table})).fetchall()
    columns = tuple(row[0] for row in rows)
    copy = copying("copy_out", table, columns, binary=binary)
    async with connection.cursor() as cursor:
        with archive.table(table, binary=binary) as stream:
            async with cursor.copy(copy) as blocks:
                async for block in blocks:
                    stream.write(block)
        return ArchivedTable(table, columns, binary, cursor.rowcount)


def copying(direction: str, table: str, columns: tuple[str, ...], *, binary: bool) -> sql.Composed:
    """The statement that copies a table out of the database ('copy_out') or into it ('copy_in')."""
    return sql.SQL(statement("backup", direction)).format(
        table=_named(table),
        columns=sql.SQL(", ").join(map(sql.Identifier, columns)),
        format=sql.SQL("binary" if binary else "text"),
    )


def _named(table: str) -> sql.Identifier:
    return sql.Identifier(*table.split("."))
