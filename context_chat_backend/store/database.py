# SPDX-License-Identifier: AGPL-3.0-or-later
"""The pool, the transactions and the named statements; driver errors become ours here and nowhere else.

Statements live in `sql/*.sql`, each after a line `-- name: <name>` and a sentence saying what it is for. Values travel
as parameters only. Every transaction sets `context_chat.principals` first: row-level security shows readable text to
the asker's principals, to maintenance, or to nobody (ruling 1).
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from functools import cache
from importlib import resources
from typing import LiteralString, cast

import psycopg
from pgvector.psycopg import register_vector_async
from psycopg import AsyncConnection, sql
from psycopg.rows import TupleRow
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from context_chat_backend.domain import Principal
from context_chat_backend.errors import ConfigurationError, DatabaseUnavailable, DiskFull

Connection = AsyncConnection[TupleRow]

_INSTALLATION_LOCK = 5_004_000_001
_MIN_VECTOR = (0, 8)
"""Iterative index scans, without which a search within rights finds too little."""

_MAINTENANCE = "SELECT set_config('context_chat.principals', '{0}', true)"
_MAINTENANCE_NOT_LASTING = f"{_MAINTENANCE}, set_config('synchronous_commit', 'off', true)"
_READER = """
SELECT set_config('context_chat.principals', coalesce(array_agg(id)::text, ''), true),
    set_config('context_chat.realm', %(realm)s, true), set_config('context_chat.name', %(name)s, true)
FROM principal WHERE realm = %(realm)s AND name = %(name)s
"""


@cache
def statement(subject: str, name: str) -> LiteralString:
    """The text of a named statement in `sql/<subject>.sql`. Raises KeyError when there is none."""
    return _statements(subject)[name]


@cache
def _statements(subject: str) -> dict[str, LiteralString]:
    text = (resources.files(__package__) / "sql" / f"{subject}.sql").read_text(encoding="utf-8")
    named = re.split(r"^-- name: (\w+)\n", text, flags=re.MULTILINE)[1:]
    # The files are part of the program, so their text is as trustworthy as a literal.
    return {name: cast(LiteralString, body.strip()) for name, body in zip(named[::2], named[1::2], strict=True)}


async def install_schema(url: str) -> None:
    """Create every table of a fresh installation in the database at `url` when it has none, in one transaction.

    Raises ConfigurationError when the extension `vector` is missing or too old, DatabaseUnavailable.
    """
    text = (resources.files(__package__) / "schema.sql").read_text(encoding="utf-8")
    with _our_errors():
        async with await AsyncConnection.connect(url) as connection:
            # Two programs may start on one empty database: the second waits here and then finds the tables.
            await connection.execute("SELECT pg_advisory_xact_lock(%s)", (_INSTALLATION_LOCK,))
            await _require_vector(connection)
            found = await (await connection.execute("SELECT to_regclass('source') IS NOT NULL")).fetchone()
            if found == (False,):
                await connection.execute(sql.SQL(text))


async def _require_vector(connection: Connection) -> None:
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


class Database:
    """A pool of connections to one database."""

    def __init__(self, url: str, *, connections: int = 10) -> None:
        self._url = url
        self._pool = AsyncConnectionPool(
            url,
            min_size=1,
            max_size=connections,
            open=False,
            timeout=30,
            configure=_configure,
            check=AsyncConnectionPool.check_connection,
            kwargs={"prepare_threshold": None},
        )

    async def open(self) -> None:
        """Connect. Raises DatabaseUnavailable when the server does not answer within 30 seconds."""
        with _our_errors():
            await self._pool.open(wait=True)

    async def close(self) -> None:
        """Close all connections."""
        await self._pool.close()

    @asynccontextmanager
    async def transaction(self, *, lasting: bool = True) -> AsyncIterator[Connection]:
        """A transaction of the program's own work, committed at the end and rolled back on an exception.

        What is not `lasting` may be undone, as a whole, by a crash of the server a moment after the commit: for work
        that is then simply done again. Raises DatabaseUnavailable when the server is not there.
        """
        with _our_errors():
            async with self._pool.connection() as connection, connection.transaction():
                await connection.execute(_MAINTENANCE if lasting else _MAINTENANCE_NOT_LASTING)
                yield connection

    @asynccontextmanager
    async def outside_transactions(self) -> AsyncIterator[Connection]:
        """A connection of its own for what cannot be part of a transaction; its settings end with it.

        Raises DatabaseUnavailable when the server is not there.
        """
        with _our_errors():
            async with await AsyncConnection.connect(self._url, autocommit=True) as connection:
                yield connection

    @asynccontextmanager
    async def reading_as(self, asker: Principal) -> AsyncIterator[Connection]:
        """A transaction that sees only text of sources `asker` may read, and his conversations.

        Its statements are sent as one pipeline.
        """
        with _our_errors():
            async with self._pool.connection() as connection, connection.pipeline(), connection.transaction():
                await connection.execute(_READER, {"realm": asker.realm, "name": asker.name})
                yield connection

    def pool(self) -> tuple[int, int, int]:
        """Connections of the pool: in use, idle; and who waits for one."""
        known = self._pool.get_stats()
        idle = known.get("pool_available", 0)
        return known.get("pool_size", 0) - idle, idle, known.get("requests_waiting", 0)

    async def version(self) -> dict[str, str]:
        """Versions of the server and of the extension `vector`, for `doctor`; 'vector' is missing where it is not."""
        async with self.transaction() as connection:
            rows = await connection.execute(statement("database", "versions"))
            return dict(await rows.fetchall())

    async def guards_rows(self) -> bool:
        """Whether row-level security binds this role; a superuser passes it, so that the joins alone guard texts."""
        async with self.transaction() as connection:
            row = await (await connection.execute(statement("database", "guards_rows"))).fetchone()
        return row == (True,)


async def _configure(connection: Connection) -> None:
    await register_vector_async(connection)
    await connection.commit()


@contextmanager
def _our_errors() -> Iterator[None]:
    try:
        yield
    except psycopg.errors.DiskFull as error:
        raise DiskFull("the disk of the database is full") from error
    except (psycopg.OperationalError, psycopg.InterfaceError, PoolTimeout) as error:
        raise DatabaseUnavailable(f"the database does not answer ({type(error).__name__})") from error
