# SPDX-License-Identifier: AGPL-3.0-or-later
"""The tool that finds passages of documents: the search of the program, under the rights of who asks."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from context_chat_backend.answering.planner.tools import Arguments, Found, Query, Tool, Workplace
from context_chat_backend.domain import Principal, Question, Scope

_DEFAULT = 5
_EXCERPT = 600


class DocumentArguments(Arguments):
    """What is looked for."""

    query: Query
    top_k: Annotated[int, Field(ge=1, le=20)] | None = None


async def _search(place: Workplace, asker: Principal, scope: Scope, arguments: DocumentArguments) -> Found:
    question = Question(arguments.query, asker, scope, limit=arguments.top_k or _DEFAULT)
    passages = await place.passages(question)
    results = [
        {
            "rank": rank,
            "source": str(passage.source),
            "title": passage.title,
            "text": passage.text[:_EXCERPT],
            "similarity": round(float(passage.similarity), 6),
        }
        for rank, passage in enumerate(passages, 1)
    ]
    return Found({"results": results, "count": len(results)}, passages)


def _told(found: Found) -> str:
    return "\n".join(f"{passage.title}: {passage.text[:_EXCERPT]}" for passage in found.rows)


DOCUMENTS = Tool(
    "documents/search",
    "Passages of documents that who asks may read.",
    DocumentArguments,
    _search,
    _told,
    {"query": "guidelines for regions of cloud machines", "top_k": 3},
)
