# SPDX-License-Identifier: AGPL-3.0-or-later
"""The databases a command works on: ours, embedded or not, and that of the reference, wherever it lies."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from context_chat_backend.config import Config
from context_chat_backend.errors import DatabaseUnavailable, StartError
from context_chat_backend.logs import get_logger
from context_chat_backend.store.database import Database
from context_chat_backend.store.dump import loaded
from context_chat_backend.store.embedded import EmbeddedPostgres
from context_chat_backend.store.old_server import OldServer, cluster_in
from context_chat_backend.store.reference import TABLES, Reference
from context_chat_backend.store.takeover import Takeover

OLD_VOLUME = "vector_db_data"
"""Where the reference keeps its cluster in the storage."""
_log = get_logger(__name__)


@dataclass(frozen=True)
class OurDatabase:
    """A server that runs, and the database the program uses."""

    url: str
    server: EmbeddedPostgres | None
    """None: it is an external one."""


@asynccontextmanager
async def our_database(config: Config) -> AsyncIterator[OurDatabase]:
    """The configured database; the embedded server is started, and left at the end. Raises StartError."""
    if config.database_url is not None:
        yield OurDatabase(config.database_url.reveal(), None)
        return
    server = EmbeddedPostgres(config.storage)
    url = await server.start()
    try:
        yield OurDatabase(url, server)
    finally:
        await server.stop()


async def index_not_taken_over(database: Database, storage: Path) -> str | None:
    """Where an old index lies that nobody took over yet; None where there is none. Raises DatabaseUnavailable."""
    finished = await Takeover(database).finished()
    try:
        reference = Reference(database)
        if await reference.is_there() and (await reference.counts()).digest not in finished:
            return "in the database"
    except StartError as error:
        _log.warning("old_index_cannot_be_read", error=str(error))
        return None
    if finished:  # what is in a cluster that does not run cannot be told
        return None
    cluster = await asyncio.to_thread(cluster_in, storage / OLD_VOLUME)
    return None if cluster is None else f"in {cluster}"


@asynccontextmanager
async def old_index(
    ours: OurDatabase, database: Database, storage: Path, place: str | None, postgres: Path | None
) -> AsyncIterator[Reference]:
    """The tables of the reference at `place`: a URL, a dump, or the folder of a cluster.

    Where none is named, they are looked for in our own `database`, then in the old volume inside `storage`. `postgres`
    is the folder of programs a cluster is run with. Raises StartError when there are none, with what to do.
    """
    async with AsyncExitStack() as stack:
        if place is None and await Reference(database).is_there():
            yield Reference(database)
            return
        url = await _url_of(ours, storage, place, postgres, stack)
        old = Database(url, connections=4)
        try:
            await old.open()
        except DatabaseUnavailable as error:
            raise StartError(f"the database of the old index does not answer: {error}") from error
        stack.push_async_callback(old.close)
        reference = Reference(old)
        if not await reference.is_there():
            raise StartError(f"there is no old index there: the database lacks the tables {', '.join(TABLES)}")
        yield reference


async def _url_of(
    ours: OurDatabase, storage: Path, place: str | None, postgres: Path | None, stack: AsyncExitStack
) -> str:
    if place is not None and "://" in place:
        scheme, _, rest = place.partition("://")
        if scheme not in ("postgresql", "postgres", "postgresql+psycopg"):
            raise StartError("the old index: expected a URL postgresql://user:password@host/database")
        return f"postgresql://{rest}"
    path = storage / OLD_VOLUME if place is None else Path(place)
    cluster = cluster_in(path)
    if cluster is not None:
        server = OldServer(cluster, postgres)
        await server.start()
        stack.push_async_callback(server.stop)
        found = await server.database_with(*TABLES)
        if found is None:
            raise StartError(f"the cluster in {cluster} holds no old index: no database has the table docs")
        return found
    if not path.is_file():
        raise StartError(
            "there is no old index in the database and none in the storage: name its database "
            "(postgresql://user:password@host/database), a dump of it, or the folder of its PostgreSQL"
            if place is None
            else f"{path} is neither a dump nor the folder of a PostgreSQL"
        )
    if ours.server is None:
        raise StartError(
            "a dump is loaded beside the embedded database, and an external one is configured: restore it into a "
            "database of its own there (createdb, pg_restore), and name that with a URL"
        )
    return await stack.enter_async_context(loaded(path, ours.server))
