# SPDX-License-Identifier: AGPL-3.0-or-later
"""The tool that finds packages for Kubernetes: their words or their letters, then a fixed order."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Annotated, Any

from pydantic import Field

from context_chat_backend.answering.planner.ranking import package_match, package_order
from context_chat_backend.answering.planner.tools import Arguments, Found, Query, Tool, Workplace
from context_chat_backend.domain import Principal, Scope
from context_chat_backend.domain.catalogues import Package, lowered


class PackageArguments(Arguments):
    """What is looked for."""

    query: Query
    top_k: Annotated[int, Field(ge=1, le=50)] | None = None


async def find_packages(
    place: Workplace, asker: Principal, queries: Sequence[str], *, limit: int
) -> list[list[Package]]:
    """For each query what the tool finds; all are looked for at once. Raises DatabaseUnavailable."""
    found = await place.catalogues.packages(asker, queries, limit=limit)
    return [sorted(rows, key=partial(package_order, query)) for query, rows in zip(queries, found, strict=True)]


async def best_packages(place: Workplace, asker: Principal, queries: Sequence[str]) -> list[Package | None]:
    """For each query what the tool would list first. Raises DatabaseUnavailable.

    A package that has the very name comes first by the rules, so that nothing else is looked for where there is one.
    """
    named = await place.catalogues.packages_named(asker, queries)
    best: dict[str, Package] = {}
    for query in queries:
        rows = [row for row in named if lowered(row.name) == lowered(query)]
        if rows:
            best[query] = min(rows, key=partial(package_order, query))
    left = [query for query in queries if query not in best]
    found = await find_packages(place, asker, left, limit=1) if left else []
    best |= {query: rows[0] for query, rows in zip(left, found, strict=True) if rows}
    return [best.get(query) for query in queries]


async def _search(place: Workplace, asker: Principal, _scope: Scope, arguments: PackageArguments) -> Found:
    limit = arguments.top_k or place.settings.k8s_top_k
    (rows,) = await find_packages(place, asker, [arguments.query], limit=limit)
    results = [_as_json(rank, arguments.query, row) for rank, row in enumerate(rows, 1)]
    return Found({"results": results, "count": len(rows)}, rows)


def _as_json(rank: int, query: str, row: Package) -> dict[str, Any]:
    return {
        "rank": rank,
        "name": row.name,
        "version": row.version,
        "app_version": row.app_version,
        "description": row.description,
        "stars": row.stars,
        "official": row.official,
        "repository": row.repository,
        "keywords": list(row.keywords),
        "match": package_match(query, row),
    }


def _told(found: Found) -> str:
    return "\n".join(f"{row.name} {row.version}: {row.description[:120]}" for row in found.rows)


PACKAGES = Tool(
    "k8s/search",
    "Packages for Kubernetes by name or by what they are for.",
    PackageArguments,
    _search,
    _told,
    {"query": "mlflow", "top_k": 5},
)
