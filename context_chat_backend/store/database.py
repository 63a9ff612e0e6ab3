# SPDX-License-Identifier: AGPL-3.0-or-later
"""The pool, the transactions and the named statements; driver errors become ours here and nowhere else.

Statements live in `sql/*.sql`, each after a line `-- name: <name>` and a sentence saying what it is for. Values travel
as parameters only. Every transaction sets `context_chat.principals` first: row-level security shows readable text to
the asker's principals, to maintenance, or to nobody (ruling 1).
"""

from __future__ import annotations

import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager, suppress
from contextvars import ContextVar
from datetime import UTC, datetime, timedelta
from functools import cache
from importlib import resources
from typing import Any, LiteralString, cast
from weakref import WeakKeyDictionary

import psycopg
from pgvector.psycopg import register_vector_async
from psycopg import AsyncConnection
from psycopg.pq import PipelineStatus
from psycopg.rows import TupleRow
from psycopg_pool import AsyncConnectionPool, PoolClosed, PoolTimeout

from context_chat_backend.domain import Principal
from context_chat_backend.errors import DatabaseUnavailable, DiskFull

Connection = AsyncConnection[TupleRow]

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


_CONNECT_SECONDS = 10
_RECONNECT_SECONDS = 10.0
"""For so long the pauses between attempts to connect double; then they begin anew with the shortest."""
_ASK_SECONDS = 0.01
"""It suffices for the pool to begin another attempt."""
_UNCHECKED_SECONDS = 1.0
_lived: WeakKeyDictionary[Connection, float] = WeakKeyDictionary()
"""When connections of pools were asked last."""


_condition: ContextVar[Callable[[Connection], Awaitable[None]] | None] = ContextVar("condition", default=None)


@contextmanager
def only_if(condition: Callable[[Connection], Awaitable[None]]) -> Iterator[None]:
    """Each transaction begun in the body, also by tasks that are started there, first runs `condition` in itself.

    It raises what is to end the transaction.
    """
    before = _condition.set(condition)
    try:
        yield
    finally:
        _condition.reset(before)


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
            reconnect_timeout=_RECONNECT_SECONDS,
            reconnect_failed=_connect_again,
            configure=_configure,
            check=_check,
            reset=_require_no_pipeline,
            kwargs={"autocommit": True, "prepare_threshold": None, "connect_timeout": _CONNECT_SECONDS},
        )

    async def open(self) -> None:
        """Connect. Raises DatabaseUnavailable when the server does not answer within 30 seconds."""
        with our_errors():
            await self._pool.open(wait=True)

    async def close(self) -> None:
        """Close all connections."""
        await self._pool.close()

    @asynccontextmanager
    async def transaction(self, *, lasting: bool = True) -> AsyncIterator[Connection]:
        """A transaction of the program's own work, committed at the end and rolled back on an exception.

        What is not `lasting` may be undone, as a whole, by a crash of the server a moment after the commit: for work
        that is then simply done again. Raises DatabaseUnavailable when the server is not there, and what `only_if`
        raises.
        """
        with our_errors():
            async with self._pool.connection() as connection, connection.transaction():
                await connection.execute(_MAINTENANCE if lasting else _MAINTENANCE_NOT_LASTING)
                if (condition := _condition.get()) is not None:
                    await condition(connection)
                yield connection

    async def rows(self, text: LiteralString, parameters: Mapping[str, Any]) -> list[TupleRow]:
        """The rows of one statement, which is all there is: for what each request waits for.

        It goes over the line once, not four times as a transaction does. It is for tables that readers' rights do not
        guard, and `only_if` does not hold. Raises DatabaseUnavailable when the server is not there.
        """
        with our_errors():
            async with self._pool.connection() as connection:
                return await (await connection.execute(text, parameters)).fetchall()

    @asynccontextmanager
    async def outside_transactions(self) -> AsyncIterator[Connection]:
        """A connection of its own for what cannot be part of a transaction; its settings end with it.

        Raises DatabaseUnavailable when the server is not there.
        """
        with our_errors():
            async with await AsyncConnection.connect(self._url, autocommit=True) as connection:
                yield connection

    @asynccontextmanager
    async def reading_as(self, asker: Principal) -> AsyncIterator[Connection]:
        """A transaction that sees only text of sources `asker` may read, and his conversations.

        Its statements are sent as one pipeline.
        """
        with our_errors():
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

    async def clock_ahead(self) -> timedelta:
        """How far the server's clock is ahead of ours, within the time the question takes."""
        async with self.transaction() as connection:
            asked = datetime.now(UTC)
            row = await (await connection.execute(statement("database", "clock"))).fetchone()
            answered = datetime.now(UTC)
        assert row is not None
        there: datetime = row[0]
        return there - answered if there > answered else min(there - asked, timedelta())

    async def guards_rows(self) -> bool:
        """Whether row-level security binds this role; a superuser passes it, so that the joins alone guard texts."""
        async with self.transaction() as connection:
            row = await (await connection.execute(statement("database", "guards_rows"))).fetchone()
        return row == (True,)


async def _check(connection: Connection) -> None:
    """Ask a connection whether it lives, unless it has lived a moment ago: a question takes several."""
    now = time.monotonic()
    if now - _lived.get(connection, 0.0) > _UNCHECKED_SECONDS:
        await AsyncConnectionPool.check_connection(connection)
        _lived[connection] = now


async def _connect_again(pool: AsyncConnectionPool[Connection]) -> None:
    """Whoever waits for a connection gets one soon after the server is back, however long it was gone."""
    with suppress(PoolTimeout, PoolClosed):
        await pool.putconn(await pool.getconn(timeout=_ASK_SECONDS))


async def _require_no_pipeline(connection: Connection) -> None:
    """Have the pool discard a connection whose pipeline was not left, as when whoever searched was cancelled.

    What the next ones send there would be looked at too late: a count of rows would be -1.
    """
    if connection.info.pipeline_status is not PipelineStatus.OFF:
        raise psycopg.OperationalError("its pipeline was not left")


async def _configure(connection: Connection) -> None:
    await register_vector_async(connection)


@contextmanager
def our_errors() -> Iterator[None]:
    """Raise what the driver says as DatabaseUnavailable or DiskFull."""
    try:
        yield
    except psycopg.errors.DiskFull as error:
        raise DiskFull("the disk of the database is full") from error
    except (
        psycopg.OperationalError,
        psycopg.InterfaceError,
        psycopg.errors.ReadOnlySqlTransaction,  # a standby answers until its cluster has chosen
        PoolTimeout,
    ) as error:
        raise DatabaseUnavailable(f"the database does not answer ({type(error).__name__})") from error
