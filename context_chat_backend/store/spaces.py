# SPDX-License-Identifier: AGPL-3.0-or-later
"""Embedding spaces: one table of vectors for each, made here (ruling 2).

Vectors of two spaces are never compared. One space answers; when the configured model is another, its space is made
and becomes the answering one as soon as every indexed chunk has a vector in it.
"""

from __future__ import annotations

from dataclasses import dataclass

from psycopg import sql

from context_chat_backend.domain import EmbeddingSpace
from context_chat_backend.errors import ConfigurationError
from context_chat_backend.store.database import Connection, Database, statement

MAX_DIMENSION = 4000
"""What pgvector can index of half precision vectors."""

_LOCK = 5_004_000_003


@dataclass(frozen=True, slots=True)
class StoredSpace:
    """A space and the table its vectors are in."""

    id: int
    space: EmbeddingSpace

    @property
    def table(self) -> sql.Identifier:
        """The table of its vectors."""
        return sql.Identifier(f"embedding_{self.id}")

    @property
    def index(self) -> str:
        """The name of the index that finds the nearest of them."""
        return f"embedding_{self.id}_by_meaning"

    @property
    def function(self) -> sql.Identifier:
        """The function that searches it."""
        return sql.Identifier(f"passages_{self.id}")


class Spaces:
    """The spaces of one database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def ensure(self, space: EmbeddingSpace) -> StoredSpace:
        """The stored space with these conditions, made when there is none; the first one ever answers.

        Raises ConfigurationError when its vectors have more dimensions than can be indexed.
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
            await connection.execute("SELECT pg_advisory_xact_lock(%s)", (_LOCK,))
            row = await (await connection.execute(statement("spaces", "find"), parameters)).fetchone()
            if row is None:
                row = await (await connection.execute(statement("spaces", "create"), parameters)).fetchone()
                assert row is not None
                await _create_table(connection, StoredSpace(row[0], space))
            stored = StoredSpace(row[0], space)
            await create_search(connection, stored)
        return stored

    async def answering(self) -> str | None:
        """The model whose vectors are searched; None before anything was indexed."""
        async with self._database.transaction() as connection:
            row = await (await connection.execute(statement("spaces", "answering"))).fetchone()
        return None if row is None else str(row[0])

    async def answer_with(self, stored: StoredSpace) -> int:
        """Search this space from now on; returns how many chunks have no vector in it yet.

        Those chunks are found by their words until they are embedded.
        """
        async with self._database.transaction() as connection:
            await connection.execute("SELECT pg_advisory_xact_lock(%s)", (_LOCK,))
            await connection.execute(statement("spaces", "step_back"), {"id": stored.id})
            await connection.execute(statement("spaces", "step_forward"), {"id": stored.id})
            rows = await connection.execute(
                sql.SQL(statement("spaces", "without_vector")).format(embedding=stored.table)
            )
            row = await rows.fetchone()
        assert row is not None
        return int(row[0])


async def create_search(connection: Connection, stored: StoredSpace) -> None:
    """Make the function that searches a space, in place of the one an earlier version of the program made."""
    await connection.execute(sql.SQL(statement("search", "load_vector")))
    await connection.execute(sql.SQL(statement("search", "drop_function")).format(function=stored.function))
    await connection.execute(
        sql.SQL(statement("search", "create_function")).format(
            function=stored.function,
            embedding=stored.table,
            index=sql.Literal(stored.index),
            within_scope=sql.SQL(statement("search", "within_scope")),
        )
    )


async def _create_table(connection: Connection, stored: StoredSpace) -> None:
    await connection.execute(
        sql.SQL(statement("spaces", "create_table")).format(
            embedding=stored.table,
            dimension=sql.Literal(stored.space.dimension),
            by_source=sql.Identifier(f"embedding_{stored.id}_by_source"),
            by_meaning=sql.Identifier(stored.index),
        )
    )
