# SPDX-License-Identifier: AGPL-3.0-or-later
"""Cards of models in pieces with their vectors, and the models whose cards are nearest to a question.

Vectors of several embedding models may lie beside each other; those of two are never compared. Few cards are all looked
at; many through an index that is made for one model and one way of cutting.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pgvector import Vector
from psycopg import sql

from context_chat_backend.domain import Principal
from context_chat_backend.domain.catalogues import lowered
from context_chat_backend.store.database import Connection, Database, statement

CANDIDATES = 200
"""So many of the nearest cards are ranked."""
_SCANNED = 2_000
"""So many models are looked at one by one; of more an index finds the nearest."""
_MOST_DIMENSIONS = 4000


@dataclass(frozen=True, slots=True)
class Pieces:
    """Which pieces are meant: those embedded by one model, and cut in one way."""

    model: str
    chunker: str

    @property
    def index(self) -> str:
        """The name of the index that finds the nearest of them."""
        return "card_chunk_" + hashlib.sha256(f"{self.model}\n{self.chunker}".encode()).hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class CardToEmbed:
    """A card that has no such pieces yet."""

    card_hash: str
    model_id: str
    """The first of its models."""
    pipeline_tag: str
    card: str


@dataclass(frozen=True, slots=True)
class FoundModel:
    """A model, and how near its card is."""

    model_id: str
    pipeline_tag: str
    license: str
    downloads: int
    likes: int
    parameters_b: Decimal | None
    similarity: float
    """Cosine of the nearest piece of its card, -1 to 1."""
    excerpt: str
    """That piece."""


class ModelCards:
    """The cards of one database. All methods raise DatabaseUnavailable."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def to_embed(self, pieces: Pieces, after: str, limit: int) -> list[CardToEmbed]:
        """At most `limit` cards that have no such pieces, in the order of their hashes, from the one `after` on."""
        parameters = {"model": pieces.model, "chunker": pieces.chunker, "after": after, "limit": limit}
        async with self._database.transaction() as connection:
            rows = await (await connection.execute(statement("model_cards", "to_embed"), parameters)).fetchall()
        return [CardToEmbed(*row) for row in rows]

    async def add(
        self, pieces: Pieces, cards: Sequence[CardToEmbed], texts: Sequence[Sequence[str]], vectors: NDArray[np.float32]
    ) -> None:
        """Keep the pieces of some cards; `texts` are those of each, `vectors` of all, one after the other."""
        number = 0
        async with self._database.transaction() as connection:
            await connection.execute(statement("model_cards", "incoming_chunks"))
            async with connection.cursor() as cursor, cursor.copy(statement("model_cards", "copy_chunks")) as copy:
                for card, of_card in zip(cards, texts, strict=True):
                    for place, text in enumerate(of_card):
                        await copy.write_row((card.card_hash, place, text, Vector(vectors[number])))
                        number += 1
            parameters = {"model": pieces.model, "chunker": pieces.chunker}
            await connection.execute(statement("model_cards", "add_chunks"), parameters)

    async def settle(self, pieces: Pieces, dimension: int) -> None:
        """Once all are there: others go, and where there are many, an index is made."""
        parameters = {"model": pieces.model, "chunker": pieces.chunker}
        async with self._database.transaction() as connection:
            await connection.execute(statement("model_cards", "drop_others"), parameters)
            row = await (
                await connection.execute(statement("model_cards", "many"), parameters | {"limit": _SCANNED})
            ).fetchone()
            if row is not None and row[0] >= _SCANNED and dimension <= _MOST_DIMENSIONS:
                await connection.execute(statement("model_cards", "memory"))
                await connection.execute(_of_pieces("index", pieces, dimension))
            await connection.execute(statement("model_cards", "analysed"))

    async def names(self) -> list[Pieces]:
        """Which pieces there are."""
        async with self._database.transaction() as connection:
            rows = await (await connection.execute(statement("model_cards", "names"))).fetchall()
        return [Pieces(*row) for row in rows]

    async def nearest(
        self,
        asker: Principal,
        pieces: Pieces,
        vector: NDArray[np.float32],
        *,
        tag: str | None = None,
        licences: Sequence[str] | None = None,
    ) -> list[FoundModel] | None:
        """The models of the CANDIDATES cards nearest to `vector`, shape (dimension,), in no order; None without such
        pieces of that dimension.

        With `tag` only those for this purpose, with `licences`, whatever their case, only those under one of them.
        """
        parameters = {
            "tag": tag,
            "licences": None if licences is None else [lowered(name) for name in licences],
            "vector": Vector(vector),
            "model": pieces.model,
            "chunker": pieces.chunker,
            "cards": CANDIDATES,
            "limit": _SCANNED,
        }
        async with self._database.reading_as(asker) as connection:
            there = await connection.execute(statement("model_cards", "has_chunks"), parameters)
            left = await connection.execute(statement("model_cards", "filtered"), parameters)
            index = await connection.execute(statement("model_cards", "indexed"), {"index": pieces.index})
            if await there.fetchone() != vector.shape:
                return None
            if await index.fetchone() == (True,) and await left.fetchone() == (_SCANNED,):
                rows = await _through_the_index(connection, pieces, vector.shape[0], parameters)
            else:
                rows = await (await connection.execute(statement("model_cards", "nearest"), parameters)).fetchall()
        return [FoundModel(*row) for row in rows]


async def _through_the_index(
    connection: Connection, pieces: Pieces, dimension: int, parameters: dict[str, object]
) -> list[tuple[Any, ...]]:
    await connection.execute(statement("model_cards", "deep"))
    query = _of_pieces("nearest_indexed", pieces, dimension)
    return await (await connection.execute(query, parameters)).fetchall()


def _of_pieces(name: str, pieces: Pieces, dimension: int) -> sql.Composed:
    """A statement about some pieces. They stand in it as they are: an index for some rows is used for no parameter."""
    return sql.SQL(statement("model_cards", name)).format(
        index=sql.Identifier(pieces.index),
        dimension=sql.Literal(dimension),
        model=sql.Literal(pieces.model),
        chunker=sql.Literal(pieces.chunker),
    )
