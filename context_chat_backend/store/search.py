# SPDX-License-Identifier: AGPL-3.0-or-later
"""The one door through which text leaves the store: passages that a given user may read.

One function of the database (sql/search.sql, made for each embedding space) finds the chunks nearest by meaning and
those best by words, both among the chunks that are visible to the asker within the scope, and joins the two lists by
their scores, each brought to 0 … 1 among the candidates and weighted. Little that is visible is scanned exactly; of
much, the vector index is read on until enough of what it finds is visible, and rare words choose the candidates that
all words rank. docs/decisions/search.md and docs/quality.md tell what was measured.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

import numpy as np
from numpy.typing import NDArray
from pgvector import HalfVector
from psycopg import sql

from context_chat_backend.domain import Location, Passage, Principal, Question, SourceRef
from context_chat_backend.errors import ModelUnavailable
from context_chat_backend.language import detect
from context_chat_backend.store.database import Database, statement
from context_chat_backend.store.spaces import StoredSpace, in_space
from context_chat_backend.words import words_asked

MAX_PASSAGES = 400
"""More are never given, however many are wanted."""

_QUESTION_CHARACTERS = 4000
"""What is read of a question for its words; a longer one is a document."""


@dataclass(frozen=True, slots=True)
class Weights:
    """How much meaning and words count where both are joined; what counts nothing is not looked for."""

    meaning: float = 1.0
    words: float = 1.0


class Search:
    """Passages a user may read."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def passages(
        self, question: Question, vector: NDArray[np.float32] | None, space: StoredSpace, weights: Weights
    ) -> list[Passage]:
        """At most `question.limit` passages (and MAX_PASSAGES) the asker may read within the scope, best first.

        `vector` is the question in `space`, shape (dimension,), of length 1; without it words alone decide. Raises
        ModelUnavailable when it has another shape, SpaceGone, DatabaseUnavailable.
        """
        if vector is not None and vector.shape != (space.space.dimension,):
            raise ModelUnavailable(
                f"the embedding model gave a vector of shape {vector.shape}, its space has {space.space.dimension} "
                "dimensions"
            )
        scope = question.scope
        text = question.text[:_QUESTION_CHARACTERS].replace("\x00", " ")
        asked = words_asked(text, detect(text))
        parameters = {
            "asker_realm": question.asker.realm,
            "realm": question.asker.sources_realm,
            "name": question.asker.name,
            "providers": None if scope.providers is None else list(scope.providers),
            "refs": None if scope.sources is None else [str(ref) for ref in scope.sources],
            "media_types": None if scope.media_types is None else list(scope.media_types),
            "path": scope.path,
            "since": scope.since,
            "until": scope.until,
            "written": asked.written,
            "names": list(asked.names),
            "vector": None if vector is None else HalfVector(vector),
            "meaning": 0.0 if vector is None else float(weights.meaning),
            "words": float(weights.words),
            "wanted": min(question.limit, MAX_PASSAGES),
        }
        query = sql.SQL(statement("search", "passages")).format(function=space.function)
        with in_space():
            async with self._database.reading_as(question.asker) as connection:
                rows = await (await connection.execute(query, parameters)).fetchall()
        return [_passage(*row) for row in rows]

    async def readable(self, asker: Principal, refs: Collection[SourceRef]) -> set[SourceRef]:
        """Which of these sources the asker may read now. Raises DatabaseUnavailable."""
        parameters = {
            "realm": asker.realm,
            "name": asker.name,
            "sources_realm": asker.sources_realm,
            "refs": [str(ref) for ref in refs],
        }
        async with self._database.reading_as(asker) as connection:
            rows = await (await connection.execute(statement("search", "still_readable"), parameters)).fetchall()
        return {SourceRef.parse(row[0]) for row in rows}


def _passage(
    chunk_id: int,
    ref: str,
    title: str,
    modified_at: datetime,
    text: str,
    page: int | None,
    sheet: str | None,
    slide: int | None,
    heading: str | None,
    language: str,
    similarity: float,
    ordinal: int,
) -> Passage:
    return Passage(
        source=SourceRef.parse(ref),
        title=title,
        text=text,
        location=Location(page, sheet, slide, heading),
        language=language,
        similarity=similarity,
        chunk_id=chunk_id,
        modified_at=modified_at,
        ordinal=ordinal,
    )
