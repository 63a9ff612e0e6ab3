# SPDX-License-Identifier: AGPL-3.0-or-later
"""The fixed order of what is offered, as functions of rows alone: equal rows have equal keys, and no others.

The store cuts its lists by the same orders (sql/catalogues.sql). Texts are compared by code points, which is the order
of their bytes in UTF-8, so that no locale decides.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from context_chat_backend.domain.catalogues import Instance, Package, lowered
from context_chat_backend.store.model_cards import FoundModel

_RELEVANCE, _POPULARITY = 0.6, 0.4
_DIGITS = 9


def instance_order(instance: Instance) -> tuple[Any, ...]:
    """Sorts machines: price a month (none last), then most memory, most GPUs, provider, name, region, id."""
    price = instance.price_monthly
    return (
        price is None,
        Decimal(0) if price is None else price,
        -instance.vram_gb,
        -instance.gpu_count,
        instance.provider,
        instance.name,
        instance.region,
        instance.id,
    )


def package_match(query: str, package: Package) -> str:
    """By which rule a package was found first: 'exact', 'prefix', 'name', 'description', or 'text' for its words."""
    asked, name = lowered(query), lowered(package.name)
    if name == asked:
        return "exact"
    if name.startswith(asked):
        return "prefix"
    if asked in name:
        return "name"
    return "description" if asked in lowered(package.description) else "text"


def package_order(query: str, package: Package) -> tuple[Any, ...]:
    """Sorts packages: how they match, in which a description counts by itself, stars, official, name, id."""
    asked, name = lowered(query), lowered(package.name)
    return (
        name != asked,
        not name.startswith(asked),
        asked not in name,
        asked not in lowered(package.description),
        -package.stars,
        not package.official,
        package.name,
        package.id,
    )


@dataclass(frozen=True, slots=True)
class ScoredModel:
    """A model with what decides its place."""

    model: FoundModel
    relevance: float
    """How near its card is, 0 to 1."""
    popularity: float
    """How much it is used, 0 to 1 within the candidates."""
    score: float


def scored(candidates: Sequence[FoundModel]) -> list[ScoredModel]:
    """Candidates, best first: score, relevance, downloads, then their id. Each model counts once, by its best card."""
    best: dict[str, FoundModel] = {}
    for model in candidates:
        kept = best.get(model.model_id)
        if kept is None or (-model.similarity, model.excerpt) < (-kept.similarity, kept.excerpt):
            best[model.model_id] = model
    raw = {model.model_id: math.log(model.downloads + 1) + math.log(model.likes + 1) for model in best.values()}
    most = max(raw.values(), default=0.0)
    found = []
    for model in best.values():
        relevance = min(1.0, max(0.0, model.similarity))
        popularity = raw[model.model_id] / most if most else 0.0
        found.append(ScoredModel(model, relevance, popularity, _RELEVANCE * relevance + _POPULARITY * popularity))
    return sorted(found, key=_model_order)


def _model_order(one: ScoredModel) -> tuple[Any, ...]:
    return (-round(one.score, _DIGITS), -round(one.relevance, _DIGITS), -one.model.downloads, one.model.model_id)
