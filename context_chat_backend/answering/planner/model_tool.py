# SPDX-License-Identifier: AGPL-3.0-or-later
"""The tool that finds models: nearness of their cards and how much they are used, in a fixed formula."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from context_chat_backend.answering.planner.ranking import ScoredModel, scored
from context_chat_backend.answering.planner.tools import (
    Arguments,
    EmbeddingMismatch,
    Found,
    Query,
    Text,
    Tool,
    Workplace,
    number,
)
from context_chat_backend.domain import Principal, Scope
from context_chat_backend.store.model_cards import Pieces

_EXCERPT = 300
_DIGITS = 9


class ModelArguments(Arguments):
    """What is looked for, and among which models."""

    query: Query
    pipeline_tag: Text | None = None
    license_filter: Annotated[list[Text], Field(min_length=1, max_length=50)] | None = None
    top_k: Annotated[int, Field(ge=1, le=25)] | None = None


def pieces_meant(place: Workplace) -> Pieces:
    """Which pieces of cards the configuration means."""
    settings = place.settings
    return Pieces(settings.embedding_model or place.embedding_model(), settings.chunker_version)


async def _search(place: Workplace, asker: Principal, _scope: Scope, arguments: ModelArguments) -> Found:
    pieces = pieces_meant(place)
    if pieces.model != place.embedding_model():
        raise EmbeddingMismatch(
            f"planner.hf.embedding_model (HF_EMBEDDING_MODEL_NAME) is {pieces.model!r}, and questions are embedded by "
            f"{place.embedding_model()!r}: their vectors cannot be compared. {await _cure(place)}"
        )
    found = await place.cards.nearest(
        asker,
        pieces,
        await place.embed(arguments.query),
        tag=arguments.pipeline_tag,
        licences=arguments.license_filter,
    )
    if found is None:
        raise EmbeddingMismatch(
            f"no card of a model is embedded by {pieces.model!r} and cut by {pieces.chunker!r}. {await _cure(place)}"
        )
    rows = scored(found)[: arguments.top_k or place.settings.hf_top_k]
    results = [_as_json(rank, row) for rank, row in enumerate(rows, 1)]
    return Found({"results": results, "count": len(rows)}, rows)


async def _cure(place: Workplace) -> str:
    there = await place.cards.names()
    said = ", ".join(f"{one.model!r} with {one.chunker!r}" for one in there) or "nothing"
    return (
        f"hf.card_chunks holds {said}, as its columns embedding_model_name and chunker_version list. Configure one of "
        "these, or run 'context-chat planner embed-cards' to embed the cards anew"
    )


def _as_json(rank: int, row: ScoredModel) -> dict[str, Any]:
    model = row.model
    relevance, popularity = round(row.relevance, _DIGITS), round(row.popularity, _DIGITS)
    return {
        "rank": rank,
        "model_id": model.model_id,
        "pipeline_tag": model.pipeline_tag,
        "license": model.license,
        "downloads": model.downloads,
        "likes": model.likes,
        "parameters_b": number(model.parameters_b),
        "relevance": relevance,
        "popularity": popularity,
        "score": round(row.score, _DIGITS),
        "card_excerpt": model.excerpt[:_EXCERPT],
    }


def _told(found: Found) -> str:
    return "\n".join(f"{row.model.model_id} ({row.model.pipeline_tag}, {row.model.license})" for row in found.rows)


MODELS = Tool(
    "hf/search",
    "Models by what their cards say, with their licences.",
    ModelArguments,
    _search,
    _told,
    {"query": "stable diffusion image generation", "pipeline_tag": "text-to-image", "top_k": 5},
)
