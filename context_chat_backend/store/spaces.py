# SPDX-License-Identifier: AGPL-3.0-or-later
"""Embedding spaces: one table of vectors for each, made and dropped here (ruling 2).

Vectors of two spaces are never compared. One space answers. When the configured model is another, its space is made
and filled beside it; once no chunk lacks a vector it answers in one transaction, and the old one is retired: searches
that had begun end in it, then it is dropped. Whoever stores vectors holds a shared lock, whoever changes what is live
an exclusive one; both end with their transaction.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum

import psycopg
from psycopg import sql
from psycopg.types.json import Jsonb

from context_chat_backend.domain import EmbeddingSpace
from context_chat_backend.errors import ConfigurationError, DatabaseUnavailable, SpaceGone
from context_chat_backend.settings import ModelChoice
from context_chat_backend.store.database import Connection, Database, statement

MAX_DIMENSION = 4000
"""What pgvector can index of half precision vectors."""

_LOCK = 5_004_000_003


class SpaceState(StrEnum):
    """What becomes of a space."""

    FILLING = "filling"
    """It is to answer as soon as all chunks have a vector in it."""
    ANSWERING = "answering"
    RETIRED = "retired"
    """Nobody asks it any more; it is about to be dropped."""


@dataclass(frozen=True, slots=True)
class StoredSpace:
    """A space and the table its vectors are in."""

    id: int
    space: EmbeddingSpace

    @property
    def table(self) -> sql.Identifier:
        """The table of its vectors."""
        return _table(self.id)

    @property
    def tail(self) -> sql.Identifier:
        """The table of those that came a moment ago and are not indexed yet (store/tails.py); a part of `table`."""
        return _tail(self.id)

    @property
    def index(self) -> str:
        """The name of the index that finds the nearest of them."""
        return f"embedding_{self.id}_by_meaning"

    @property
    def function(self) -> sql.Identifier:
        """The function that searches it."""
        return _function(self.id)


@dataclass(frozen=True, slots=True)
class ListedSpace:
    """A space as it stands."""

    stored: StoredSpace
    state: SpaceState
    complete: bool
    """False: there may be chunks without a vector in it."""
    model: ModelChoice | None
    """What builds its embedder, without secrets; None when it is not known."""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a space is filled."""

    embedded: int
    """Chunks that have a vector in it."""
    chunks: int
    """All chunks there are."""
    chunks_per_second: float | None
    """Of late; None before anything was measured."""

    @property
    def share(self) -> float:
        """What is done, from 0 to 1."""
        return min(1.0, self.embedded / self.chunks) if self.chunks else 1.0

    @property
    def seconds_left(self) -> float | None:
        """At the pace of late; None while it is not known."""
        if not self.chunks_per_second:
            return None
        return max(0, self.chunks - self.embedded) / self.chunks_per_second


class Spaces:
    """The spaces of one database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def ensure(self, space: EmbeddingSpace, model: ModelChoice | None = None) -> StoredSpace:
        """The stored space with these conditions, made when there is none: from now on it is the wanted one.

        The first one ever answers at once. Another waits to be filled; one that was being filled before it is given up.
        `model`, which builds the embedder, is kept without its secrets. Raises ConfigurationError when the vectors
        have more dimensions than can be indexed, DatabaseUnavailable.
        """
        if not 1 <= space.dimension <= MAX_DIMENSION:
            raise ConfigurationError(
                f"the embedding model '{space.model}' has {space.dimension} dimensions; at most {MAX_DIMENSION} can be "
                "indexed: choose another model, or one that can shorten its vectors"
            )
        parameters = {
            "model": space.model,
            "dimension": space.dimension,
            "question_prefix": space.question_prefix,
            "passage_prefix": space.passage_prefix,
        }
        async with self._database.transaction() as connection:
            await connection.execute(statement("spaces", "alone"), {"lock": _LOCK})
            row = await (await connection.execute(statement("spaces", "find"), parameters)).fetchone()
            is_new = row is None
            if row is None:
                # At most one space is being filled.
                await connection.execute(statement("spaces", "retire_others"), {"id": 0})
                row = await (await connection.execute(statement("spaces", "create"), parameters)).fetchone()
                assert row is not None
            stored = StoredSpace(row[0], space)
            if is_new:
                await _create_table(connection, stored, indexed=row[1] == SpaceState.ANSWERING)
            await connection.execute(statement("spaces", "retire_others"), {"id": stored.id})
            await connection.execute(statement("spaces", "revive"), {"id": stored.id})
            if model is not None:
                await connection.execute(
                    statement("spaces", "remember_embedder"), {"id": stored.id, "embedder": _record(model)}
                )
            await _create_tail(connection, stored)
            await create_search(connection, stored)
        return stored

    @staticmethod
    async def listed(connection: Connection) -> list[ListedSpace]:
        """All spaces as a transaction of the caller sees them."""
        return await _all(connection)

    async def renew_searches(self) -> None:
        """Make the functions that search the live spaces, in place of those an earlier version of the program made."""
        async with self._database.transaction() as connection:
            await connection.execute(statement("spaces", "alone"), {"lock": _LOCK})
            for listed in await _all(connection):
                if listed.state is not SpaceState.RETIRED:
                    await create_search(connection, listed.stored)

    async def all(self) -> list[ListedSpace]:
        """All spaces, the answering one first. Raises DatabaseUnavailable."""
        async with self._database.transaction() as connection:
            return await _all(connection)

    async def progress(self, stored: StoredSpace) -> Progress | None:
        """How far it is filled; None when it is there no more. Raises DatabaseUnavailable."""
        async with self._database.transaction() as connection:
            await connection.execute(statement("spaces", "together"), {"lock": _LOCK})
            if stored.id not in await _live(connection):
                return None
            query = sql.SQL(statement("spaces", "done")).format(embedding=stored.table)
            row = await (await connection.execute(query, {"id": stored.id})).fetchone()
        assert row is not None
        return Progress(*row)

    async def note_rate(self, stored: StoredSpace, chunks_per_second: float) -> None:
        """Tell all processes how fast the space is being filled. Raises DatabaseUnavailable."""
        async with self._database.transaction() as connection:
            await connection.execute(statement("spaces", "note_rate"), {"id": stored.id, "rate": chunks_per_second})

    async def lacks_vectors(self, stored: StoredSpace) -> bool:
        """Whether a chunk has no vector in this live space. Raises DatabaseUnavailable."""
        async with self._database.transaction() as connection:
            await connection.execute(statement("spaces", "together"), {"lock": _LOCK})
            return stored.id in await _live(connection) and await _lacks_vectors(connection, stored)

    async def complete(self, stored: StoredSpace) -> bool:
        """Let a live space answer, if no chunk lacks a vector in it; returns whether it does.

        The change, and the look before it, are one transaction: every search begins in the one space or in the other.
        Raises DatabaseUnavailable.
        """
        async with self._database.transaction() as connection:
            await connection.execute(statement("spaces", "alone"), {"lock": _LOCK})
            if stored.id not in await _live(connection) or await _lacks_vectors(connection, stored):
                return False
            await connection.execute(statement("spaces", "step_back"), {"id": stored.id})
            await connection.execute(statement("spaces", "step_forward"), {"id": stored.id})
        return True

    async def drop_retired(self, grace: timedelta) -> int:
        """Drop spaces that were retired longer than `grace` ago; returns how many.

        Where searches and puts leave no gap, none is dropped: try again. Raises DatabaseUnavailable.
        """
        async with self._database.transaction() as connection:
            rows = await (await connection.execute(statement("spaces", "ripe"), {"grace": grace})).fetchall()
        return sum([await self._drop(id_, grace) for (id_,) in rows])

    async def _drop(self, id_: int, grace: timedelta) -> bool:
        try:
            async with self._database.transaction() as connection:
                await connection.execute(statement("spaces", "impatient"))
                await connection.execute(statement("spaces", "alone"), {"lock": _LOCK})
                ripe = await (await connection.execute(statement("spaces", "ripe"), {"grace": grace})).fetchall()
                if (id_,) not in ripe:  # revived meanwhile, or dropped by another process
                    return False
                await connection.execute(statement("spaces", "lock_chunks"))
                await connection.execute(sql.SQL(statement("spaces", "lock_vectors")).format(embedding=_table(id_)))
                drop = sql.SQL(statement("search", "drop_function")).format(function=_function(id_))
                await connection.execute(drop)
                await connection.execute(
                    sql.SQL(statement("spaces", "drop")).format(embedding=_table(id_), tail=_tail(id_))
                )
                await connection.execute(statement("spaces", "forget"), {"id": id_})
        except DatabaseUnavailable as error:
            if isinstance(error.__cause__, psycopg.errors.LockNotAvailable):
                return False
            raise
        return True


@contextmanager
def in_space() -> Iterator[None]:
    """Raise SpaceGone where a statement meets a space that was dropped."""
    try:
        yield
    except (psycopg.errors.UndefinedFunction, psycopg.errors.UndefinedTable) as error:
        raise SpaceGone("the embedding space is gone: another one answers") from error


async def storing_vectors(connection: Connection) -> frozenset[int]:
    """The ids of the live spaces, which stay live until this transaction ends: to be called before chunks are touched.

    What is stored is to have a vector in each of them, or `note_missing` is to be called.
    """
    await connection.execute(statement("spaces", "together"), {"lock": _LOCK})
    return await _live(connection)


def vector_tables(stored: StoredSpace) -> tuple[str, str]:
    """The names of the tables with its vectors."""
    return f"embedding_{stored.id}", f"embedding_{stored.id}_tail"


def creation(stored: StoredSpace) -> tuple[sql.Composed, sql.Composed]:
    """The statements that make these tables, without the index that is built when they are full."""
    return _table_creation(stored), _tail_creation(stored)


async def note_missing(connection: Connection, space_id: int) -> None:
    """This transaction stores chunks without vectors in a live space: they are to be embedded later."""
    await connection.execute(statement("spaces", "incomplete"), {"id": space_id})


async def create_search(connection: Connection, stored: StoredSpace) -> None:
    """Make the function that searches a space, in place of the one another version of the program made.

    One that is the same is left alone: a search that is just calling it would fail.
    """
    within_scope = sql.SQL(statement("search", "within_scope"))
    create = sql.SQL(statement("search", "create_function")).format(
        function=stored.function,
        embedding=stored.table,
        index=sql.Literal(stored.index),
        within_scope=within_scope,
        may_read=sql.SQL(statement("search", "may_read")).format(within_scope=within_scope),
    )
    digest = hashlib.sha256(create.as_string(connection).encode()).hexdigest()
    name = {"function": stored.function.as_string(connection)}
    if await (await connection.execute(statement("spaces", "function_digest"), name)).fetchone() == (digest,):
        return
    await connection.execute(sql.SQL(statement("search", "load_vector")))
    await connection.execute(sql.SQL(statement("search", "drop_function")).format(function=stored.function))
    await connection.execute(create)
    note = sql.SQL(statement("spaces", "note_digest")).format(function=stored.function, digest=sql.Literal(digest))
    await connection.execute(note)


async def _all(connection: Connection) -> list[ListedSpace]:
    rows = await (await connection.execute(statement("spaces", "all"))).fetchall()
    return [
        ListedSpace(
            StoredSpace(id_, EmbeddingSpace(model, dimension, question_prefix, passage_prefix)),
            SpaceState(state),
            complete,
            None if embedder is None else ModelChoice(embedder["name"], embedder["options"]),
        )
        for id_, model, dimension, question_prefix, passage_prefix, embedder, state, complete in rows
    ]


async def _live(connection: Connection) -> frozenset[int]:
    rows = await (await connection.execute(statement("spaces", "live"))).fetchall()
    return frozenset(id_ for (id_,) in rows)


async def _lacks_vectors(connection: Connection, stored: StoredSpace) -> bool:
    query = sql.SQL(statement("spaces", "lacks_vectors")).format(embedding=stored.table)
    row = await (await connection.execute(query)).fetchone()
    return row == (True,)


async def _create_table(connection: Connection, stored: StoredSpace, *, indexed: bool) -> None:
    await connection.execute(_table_creation(stored))
    if indexed:
        create = sql.SQL(statement("spaces", "create_index"))
        await connection.execute(create.format(embedding=stored.table, by_meaning=sql.Identifier(stored.index)))


def _table_creation(stored: StoredSpace) -> sql.Composed:
    return sql.SQL(statement("spaces", "create_table")).format(
        embedding=stored.table,
        dimension=sql.Literal(stored.space.dimension),
        by_source=sql.Identifier(f"embedding_{stored.id}_by_source"),
    )


async def _create_tail(connection: Connection, stored: StoredSpace) -> None:
    await connection.execute(_tail_creation(stored))


def _tail_creation(stored: StoredSpace) -> sql.Composed:
    return sql.SQL(statement("spaces", "create_tail")).format(
        embedding=stored.table,
        tail=stored.tail,
        tail_by_source=sql.Identifier(f"embedding_{stored.id}_tail_by_source"),
    )


def _table(id_: int) -> sql.Identifier:
    return sql.Identifier(f"embedding_{id_}")


def _tail(id_: int) -> sql.Identifier:
    return sql.Identifier(f"embedding_{id_}_tail")


def _function(id_: int) -> sql.Identifier:
    return sql.Identifier(f"passages_{id_}")


def _record(model: ModelChoice) -> Jsonb:
    return Jsonb({"name": model.name, "options": dict(model.without_secrets().options)})
