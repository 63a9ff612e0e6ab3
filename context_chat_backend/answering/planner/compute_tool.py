# SPDX-License-Identifier: AGPL-3.0-or-later
"""The tool that finds machines: limits, then a fixed order."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from context_chat_backend.answering.planner.ranking import instance_order
from context_chat_backend.answering.planner.tools import Arguments, Found, Text, Tool, Workplace, number
from context_chat_backend.domain import Principal, Scope
from context_chat_backend.domain.catalogues import Instance
from context_chat_backend.store.catalogues import Limits

Amount = Annotated[float, Field(ge=0, le=1e9)]
Price = Annotated[float, Field(gt=0, le=1e9)]
Names = Text | Annotated[list[Text], Field(min_length=1, max_length=100)]
_WITHOUT_LIMIT_MEANING = ("provider", "region", "top_k")


class ComputeArguments(Arguments):
    """Limits of a search for machines; what is left out is no limit."""

    gpu_needed: bool | None = None
    min_vram_gb: Amount | None = None
    min_vram_per_gpu_gb: Amount | None = None
    min_gpu_count: Annotated[int, Field(ge=0, le=100_000)] | None = None
    gpu_model: Text | None = None
    max_price_monthly: Price | None = None
    max_price_hourly: Price | None = None
    provider: Names | None = None
    region: Names | None = None
    min_vcpu: Amount | None = None
    min_ram_gb: Amount | None = None
    top_k: Annotated[int, Field(ge=1, le=100)] | None = None


async def find_machines(place: Workplace, asker: Principal, arguments: ComputeArguments) -> list[Instance]:
    """What the tool lists, uncounted: to count reads all machines. Raises DatabaseUnavailable."""
    limit = arguments.top_k or place.settings.compute_top_k
    return sorted(await place.catalogues.instances(asker, _limits(arguments), limit=limit), key=instance_order)


async def _search(place: Workplace, asker: Principal, _scope: Scope, arguments: ComputeArguments) -> Found:
    rows = await find_machines(place, asker, arguments)
    total = len(rows)
    if total >= (arguments.top_k or place.settings.compute_top_k):
        total = await place.catalogues.count_instances(asker, _limits(arguments))
    body = {
        "results": [{"rank": rank} | instance_as_json(row) for rank, row in enumerate(rows, 1)],
        "count": len(rows),
        "total_matched": total,
        "filters_applied": arguments.model_dump(exclude_unset=True),
    }
    return Found(body, rows)


def instance_as_json(row: Instance) -> dict[str, Any]:
    """A machine with all its columns."""
    return {
        "id": row.id,
        "provider": row.provider,
        "name": row.name,
        "region": row.region,
        "gpu_model": row.gpu_model,
        "gpu_count": row.gpu_count,
        "vram_gb": number(row.vram_gb),
        "vram_per_gpu_gb": number(row.vram_per_gpu_gb),
        "vcpu": row.vcpu,
        "ram_gb": number(row.ram_gb),
        "price_hourly": number(row.price_hourly),
        "price_monthly": number(row.price_monthly),
        "currency": row.currency,
        "price_as_of": None if row.price_as_of is None else row.price_as_of.isoformat(),
        "price_source": row.price_source,
    }


def _limits(arguments: ComputeArguments) -> Limits:
    told = arguments.model_dump(exclude=set(_WITHOUT_LIMIT_MEANING))
    return Limits(**told, providers=_names(arguments.provider), regions=_names(arguments.region))


def _names(given: str | list[str] | None) -> tuple[str, ...] | None:
    return None if given is None else (given,) if isinstance(given, str) else tuple(given)


def _told(found: Found) -> str:
    return "\n".join(
        f"{row.id}: {row.gpu_count} x {row.gpu_model or 'no GPU'}, {row.vram_gb} GB GPU memory, {row.vcpu} vCPU"
        for row in found.rows
    )


COMPUTE = Tool(
    "compute/search",
    "Machines that can be rented, cheapest first, within limits.",
    ComputeArguments,
    _search,
    _told,
    {"gpu_needed": True, "min_vram_gb": 40, "top_k": 3},
)
