# SPDX-License-Identifier: AGPL-3.0-or-later
"""A backup becomes the database: all of it in one transaction, so that one that was cut off has changed nothing."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import psycopg
from psycopg import AsyncConnection, sql

import context_chat_backend
from context_chat_backend.errors import StartError
from context_chat_backend.store.archive import ArchivedTable, ArchiveReader, Manifest, read
from context_chat_backend.store.backup import copying, tables_of
from context_chat_backend.store.database import Connection, our_errors, statement
from context_chat_backend.store.history import REPAIRS, SCHEMA, alone, has_table, require_extension, steps
from context_chat_backend.store.indexes import WORDS

_BLOCK = 1024 * 1024
_IN_THE_WAY = (
    psycopg.errors.DependentObjectsStillExist,
    psycopg.errors.DuplicateFunction,
    psycopg.errors.DuplicateObject,
    psycopg.errors.DuplicateSchema,
    psycopg.errors.DuplicateTable,
)


async def restore(
    url: str,
    file: Path,
    *,
    replace: bool = False,
    repairs: Path = REPAIRS,
    progress: Callable[[str], None] = lambda _table: None,
) -> Manifest:
    """Make the database at `url` what it was when `file` was written; repair steps and indexes come afterwards.

    What is there already is replaced only when `replace` says so. `progress` is told each table. Raises StartError when
    the file is no whole backup or one of a later version, when the program runs, or when there is an index already;
    ConfigurationError when the server cannot be used; DatabaseUnavailable.
    """
    with read(file) as archive, our_errors():
        manifest = archive.manifest
        _refuse_newer(manifest, repairs)
        async with await AsyncConnection.connect(url) as connection, alone(connection):
            await require_extension(connection)
            await _refuse_in_use(connection)
            try:
                await _remove_present(connection, manifest, replace=replace)
                await _fill(connection, archive, progress)
            except psycopg.OperationalError:
                raise
            except _IN_THE_WAY as error:
                what = (error.diag.message_detail or error.diag.message_primary or "").partition("\n")[0]
                raise StartError(
                    f"something of another program is in the way ({what}); nothing was changed: "
                    "restore into a database of its own, or rename or remove that first"
                ) from error
            except psycopg.Error as error:
                raise StartError(
                    f"the backup cannot be restored ({type(error).__name__}); the database is as it was: "
                    f"restore it with version {manifest.version}, or restore another one"
                ) from error
    return manifest


def _refuse_newer(manifest: Manifest, repairs: Path) -> None:
    known = {step.name for step in steps(repairs)}
    if unknown := sorted(set(manifest.steps) - known):
        raise StartError(
            f"the backup was made by version {manifest.version}, and this is {context_chat_backend.__version__} "
            f"(unknown here: {', '.join(unknown)}): restore it with that version or a later one"
        )


async def _refuse_in_use(connection: Connection) -> None:
    row = await (await connection.execute(statement("backup", "users"))).fetchone()
    if row != (0,):
        raise StartError("the database is in use: stop the program in all its processes, then restore")


async def _remove_present(connection: Connection, manifest: Manifest, *, replace: bool) -> None:
    """Everything of ours; what other programs keep in this database stays, also where it has a name of ours.

    Nothing is dropped with what depends on it: that would be somebody else's.
    """
    if not (await has_table(connection, "source") and await has_table(connection, "embedding_space")):
        return
    row = await (await connection.execute(statement("backup", "sources"))).fetchone()
    if row != (0,) and not replace:
        raise StartError(
            f"the database holds an index of {row[0] if row else 0} sources: --replace puts the backup in its place"
        )
    for (function,) in await (await connection.execute(statement("backup", "searches"))).fetchall():
        await connection.execute(sql.SQL("DROP FUNCTION {}").format(sql.SQL(function)))
    made = re.findall(
        r"^CREATE (?:UNLOGGED )?(TABLE|FUNCTION|TYPE|SCHEMA) ([\w.]+)",
        f"{SCHEMA.read_text(encoding='utf-8')}\n{manifest.schema}",
        re.MULTILINE,
    )
    spaces = await (await connection.execute(statement("backup", "space_tables"))).fetchall()
    made += [("TABLE", table) for (table,) in spaces]
    # Those of one kind go together, for they refer to each other; tables go before what they are made with and lie in.
    for kind in ("TABLE", "FUNCTION", "TYPE", "SCHEMA"):
        names = sorted({name for of, name in made if of == kind})
        listed = sql.SQL(", ").join(sql.Identifier(*name.split(".")) for name in names)
        await connection.execute(sql.SQL("DROP {} IF EXISTS {}").format(sql.SQL(kind), listed))


async def _fill(connection: Connection, archive: ArchiveReader, progress: Callable[[str], None]) -> None:
    manifest = archive.manifest
    await connection.execute(sql.SQL(manifest.schema))
    for creation in manifest.spaces:
        await connection.execute(sql.SQL(creation))
    await connection.execute(sql.SQL("DROP INDEX IF EXISTS {}").format(sql.Identifier(WORDS)))
    own = tables_of(manifest.schema)
    guarded = [
        row[0] for row in await (await connection.execute(statement("backup", "guarded"), {"tables": own})).fetchall()
    ]
    await _force(connection, guarded, "NO FORCE")
    for table in manifest.tables:
        progress(table.name)
        await _copy(connection, archive, table)
    await _force(connection, guarded, "FORCE")
    if not manifest.vectors:
        await connection.execute(statement("backup", "without_vectors"))
    await _go_on_numbering(connection, own)


async def _copy(connection: Connection, archive: ArchiveReader, table: ArchivedTable) -> None:
    async with connection.cursor() as cursor:
        with archive.table(table) as stream:
            async with cursor.copy(copying("copy_in", table.name, table.columns, binary=table.binary)) as copy:
                while block := stream.read(_BLOCK):
                    await copy.write(block)
        if cursor.rowcount != table.rows:
            raise StartError(f"the backup is damaged: {table.name} has {cursor.rowcount} rows, not {table.rows}")


async def _force(connection: Connection, tables: list[str], force: str) -> None:
    for table in tables:
        await connection.execute(
            sql.SQL("ALTER TABLE {} {} ROW LEVEL SECURITY").format(sql.Identifier(*table.split(".")), sql.SQL(force))
        )


async def _go_on_numbering(connection: Connection, tables: list[str]) -> None:
    found = await connection.execute(statement("backup", "identities"), {"tables": tables})
    for table, column, sequence in await found.fetchall():
        query = sql.SQL(statement("backup", "go_on_numbering"))
        await connection.execute(
            query.format(column=sql.Identifier(column), table=sql.Identifier(*table.split("."))), {"sequence": sequence}
        )
