# SPDX-License-Identifier: AGPL-3.0-or-later
"""The one door through which text leaves the store: passages that a given user may read.

One statement (sql/search.sql) finds the chunks nearest by meaning and those best by words, both among the chunks that
are visible to the asker within the scope, and joins the two lists by weighted reciprocal rank
(Cormack, Clarke, Büttcher 2009: sum of weight / (k + rank)). Words are ranked by BM25 (Robertson, Zaragoza 2009) with
all counts taken among the asker's own visible chunks, so that no score depends on what he may not read.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pgvector import HalfVector
from psycopg import sql

from context_chat_backend.domain import Location, Passage, Question, SourceRef
from context_chat_backend.store.database import Database, statement
from context_chat_backend.store.spaces import StoredSpace

CANDIDATES = 100
"""How many chunks each of the two lists contributes."""


@dataclass(frozen=True, slots=True)
class Weights:
    """How much each list counts in the fusion."""

    meaning: float = 1.0
    words: float = 1.0
    k: int = 10
    """The constant of reciprocal rank fusion: the smaller, the more the first ranks count."""


class Search:
    """Passages a user may read."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def passages(
        self, question: Question, vector: NDArray[np.float32], space: StoredSpace, weights: Weights
    ) -> list[Passage]:
        """At most `question.limit` passages the asker may read within the scope, best first.

        `vector` is the question in `space`, shape (dimension,), of length 1. Raises DatabaseUnavailable.
        """
        scope = question.scope
        query = sql.SQL(statement("search", "passages")).format(embedding=space.table)
        parameters = {
            "realm": question.asker.realm,
            "name": question.asker.name,
            "providers": None if scope.providers is None else list(scope.providers),
            "refs": None if scope.sources is None else [str(ref) for ref in scope.sources],
            "text": question.text.replace("\x00", " "),
            "vector": HalfVector(vector),
            "candidates": max(CANDIDATES, question.limit),
            "meaning": weights.meaning,
            "words": weights.words,
            "k": weights.k,
            "limit": question.limit,
        }
        async with self._database.reading_as(question.asker) as connection:
            await connection.execute(statement("search", "scan_on"))
            cursor = await connection.execute(query, parameters)
            rows = await cursor.fetchall()
        return [
            Passage(
                source=SourceRef.parse(ref),
                title=title,
                text=text,
                location=Location(page, sheet, slide, heading),
                language=language,
                similarity=similarity,
                chunk_id=chunk_id,
                modified_at=modified_at,
            )
            for chunk_id, ref, title, modified_at, text, page, sheet, slide, heading, language, similarity in rows
        ]
