# SPDX-License-Identifier: AGPL-3.0-or-later
"""The database is made, or brought to today's schema by the steps in `repairs/*.sql` it has not had.

Each step runs in one transaction together with the note that it is done: one that was cut off has changed nothing and
is run again. A database that has had a step this program does not know was written by a newer one, and is refused.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import psycopg
from psycopg import AsyncConnection, sql

import context_chat_backend
from context_chat_backend.errors import ConfigurationError, StartError
from context_chat_backend.logs import get_logger
from context_chat_backend.store.database import Connection, our_errors, statement

REPAIRS = Path(context_chat_backend.__file__).resolve().parents[1] / "repairs"

SCHEMA = Path(__file__).with_name("schema.sql")
_INSTALLATION_LOCK = 5_004_000_001
_MIN_SERVER = 150_000
_MIN_VECTOR = (0, 8)
"""Iterative index scans, without which a search within rights finds too little."""
_STEP = re.compile(r"repair\d{4,}_date\d+\.sql")
_log = get_logger(__name__)


def steps(repairs: Path = REPAIRS) -> list[Path]:
    """All steps for databases, in order."""
    return sorted(path for path in repairs.glob("repair*.sql") if _STEP.fullmatch(path.name))


async def install_schema(url: str, repairs: Path = REPAIRS) -> list[str]:
    """Bring the database at `url` to today's schema; returns the names of the steps that ran, none for a fresh one.

    Raises ConfigurationError when the server or its extension `vector` is missing or too old, StartError when a step
    fails or a newer program has changed the database, DatabaseUnavailable.
    """
    with our_errors():
        async with await AsyncConnection.connect(url) as connection:
            # Two programs may start on one database: the second waits here and then finds everything done.
            async with alone(connection):
                await _require_server(connection)
                await require_extension(connection)
                if not await has_table(connection, "source"):
                    await connection.execute(_text(SCHEMA))
                    await _note(connection, [step.name for step in steps(repairs)])
                    return []
            return await _repair(connection, repairs)


async def _repair(connection: Connection, repairs: Path) -> list[str]:
    ran: list[str] = []
    known = steps(repairs)
    while True:
        async with alone(connection):
            done = await noted_steps(connection)
            _refuse_newer({name: version for name, version in done.items() if name not in {s.name for s in known}})
            step = next((one for one in known if one.name not in done), None)
            if step is None:
                return ran
            _log.info("database_repair", step=step.name)
            try:
                await connection.execute(_text(step))
            except psycopg.OperationalError:
                raise
            except psycopg.Error as error:
                raise StartError(
                    f"the repair step {step.name} failed ({type(error).__name__}: {error.diag.message_primary}). The "
                    "database is as it was. Mend the cause and start again, or run the version that ran before, "
                    "or restore a backup (docs/upgrade.md)"
                ) from error
            await _note(connection, [step.name])
            ran.append(step.name)


def _refuse_newer(unknown: dict[str, str]) -> None:
    if unknown:
        raise StartError(
            f"version {max(unknown.values())} has changed this database, and this is {context_chat_backend.__version__}"
            f" (unknown here: {', '.join(sorted(unknown))}): run that version or a later one, or restore a backup made "
            "before (docs/upgrade.md)"
        )


@asynccontextmanager
async def alone(connection: Connection) -> AsyncIterator[None]:
    """A transaction in which nobody else brings this database up to date."""
    async with connection.transaction():
        await connection.execute("SELECT pg_advisory_xact_lock(%s)", (_INSTALLATION_LOCK,))
        yield


async def noted_steps(connection: Connection) -> dict[str, str]:
    """The steps this database has had, each with the version that made it. One from before they were noted has none."""
    if not await has_table(connection, "repair"):
        return {}
    return dict(await (await connection.execute(statement("history", "done"))).fetchall())


async def _note(connection: Connection, names: list[str]) -> None:
    parameters = {"names": names, "version": context_chat_backend.__version__}
    await connection.execute(statement("history", "note"), parameters)


async def has_table(connection: Connection, table: str) -> bool:
    """Whether the database has this table."""
    row = await (await connection.execute(statement("history", "has"), {"table": table})).fetchone()
    return row == (True,)


def _text(file: Path) -> sql.SQL:
    # The files are part of the program, so their text is as trustworthy as a literal.
    return sql.SQL(file.read_text(encoding="utf-8"))


async def _require_server(connection: Connection) -> None:
    version = connection.info.server_version
    if version < _MIN_SERVER:
        raise ConfigurationError(
            f"the database server is PostgreSQL {version // 10_000}, at least {_MIN_SERVER // 10_000} is needed: "
            "upgrade it, or leave out CCB_DB_URL to use the embedded one"
        )


async def require_extension(connection: Connection) -> None:
    """Make `vector` where it is missing. Raises ConfigurationError when that is not allowed, or when it is too old."""
    try:
        async with connection.transaction():
            await connection.execute("CREATE EXTENSION IF NOT EXISTS vector")
    except psycopg.Error as error:
        raise ConfigurationError(
            "the database lacks the extension 'vector' (pgvector): install pgvector on its server, then run "
            "'CREATE EXTENSION vector' in this database as a superuser"
        ) from error
    rows = await connection.execute("SELECT extversion FROM pg_extension WHERE extname = 'vector'")
    row = await rows.fetchone()
    version = row[0] if row else "0"
    if tuple(int(number) for number in re.findall(r"\d+", version)[:2]) < _MIN_VECTOR:
        raise ConfigurationError(
            f"the extension 'vector' of the database is {version}, at least 0.8 is needed: upgrade pgvector on its "
            "server, then run 'ALTER EXTENSION vector UPDATE' in this database as a superuser"
        )
