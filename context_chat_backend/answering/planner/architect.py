# SPDX-License-Identifier: AGPL-3.0-or-later
"""The architect step: a fixed order of tool calls that gathers what a plan is made of."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from context_chat_backend.answering.planner import lexicon
from context_chat_backend.answering.planner.compute_tool import COMPUTE, ComputeArguments, find_machines
from context_chat_backend.answering.planner.document_tool import DOCUMENTS, DocumentArguments
from context_chat_backend.answering.planner.material import Material, Offer, StackEntry
from context_chat_backend.answering.planner.model_tool import MODELS, ModelArguments
from context_chat_backend.answering.planner.package_tool import PACKAGES, best_packages
from context_chat_backend.answering.planner.stack import Need, needs_of
from context_chat_backend.answering.planner.toolbox import CLUSTER, NoArguments
from context_chat_backend.answering.planner.tools import Arguments, EmbeddingMismatch, Found, Tool, Workplace
from context_chat_backend.answering.planner.workload import Stated, Workload
from context_chat_backend.domain import Principal, Scope
from context_chat_backend.domain.catalogues import Instance, Package
from context_chat_backend.errors import ModelUnavailable

MOST_OFFERS, MOST_MODELS, MOST_DOCUMENTS = 3, 5, 3
_RELAXED = ("region", "provider", "price")
"""What is given up when nothing fits, in this order; never memory."""
Notify = Callable[[str, dict[str, Any]], None]


def ignored(_kind: str, _about: dict[str, Any]) -> None:
    """The Notify of whoever does not want to know."""


class Architect:
    """Gathers for one asker."""

    def __init__(self, place: Workplace, asker: Principal, scope: Scope, notify: Notify = ignored) -> None:
        """Documents are looked for within `scope`.

        `notify` is told 'tool_call' and 'tool_result' with what they are about.
        """
        self._place = place
        self._asker = asker
        self._scope = scope
        self._notify = notify

    async def gather(
        self, workload: Workload, providers: Sequence[str], regions: Sequence[str], question: str
    ) -> Material:
        """All that is found for `workload`; `providers` and `regions` are those of the catalogue.

        `question` is looked for in documents where the workload speaks of them. Raises DatabaseUnavailable.
        """
        material = Material(workload)
        await self._use(CLUSTER, NoArguments())
        said = await asyncio.gather(
            self._find_machines(material, providers, regions),
            self._find_models(material),
            self._find_packages(material),
            self._find_documents(material, question),
        )
        # In a fixed order, whoever was ready first.
        material.warnings = [*workload.warnings, *(warning for warnings in said for warning in warnings)]
        return material

    async def add_packages(self, material: Material, queries: Sequence[str]) -> None:
        """Put the first package for each query into the plan, as one that is not required."""
        known = {entry.package.name for entry in material.stack}
        for package in await self._packages(material, queries):
            if package is not None and package.name not in known:
                known.add(package.name)
                material.stack.append(StackEntry(package, "suggested beside what is usual", required=False))

    async def add_documents(self, material: Material, query: str) -> list[str]:
        """Put passages of documents the asker may read beside the plan; returns warnings."""
        try:
            found = await self._use(DOCUMENTS, DocumentArguments(query=query[:1000], top_k=MOST_DOCUMENTS))
        except ModelUnavailable:
            return ["Documents could not be searched: the embedding model does not answer."]
        known = {passage.chunk_id for passage in material.documents}
        material.documents += [passage for passage in found.rows if passage.chunk_id not in known]
        material.documents[MOST_DOCUMENTS:] = []
        return []

    async def _find_machines(self, material: Material, providers: Sequence[str], regions: Sequence[str]) -> list[str]:
        stated = material.workload.stated
        warnings: list[str] = []
        limits = _limits(material.workload, providers, regions)
        given_up: list[str] = []
        found = await self._machines(limits)
        for name in _RELAXED:
            if found:
                break
            if not set(_LIMITS[name]) & set(limits):
                continue
            given_up.append(name)
            left = {key: value for key, value in limits.items() if not any(key in _LIMITS[one] for one in given_up)}
            found = await self._machines(left)
        material.found["compute"] = len(found)
        material.offers = [Offer(row, tuple(name for name in given_up if _breaks(row, name, limits))) for row in found][
            :MOST_OFFERS
        ]
        if not material.offers:
            warnings.append("No machine of the catalogue fits, even without the limits that may be relaxed.")
        elif given_up:
            warnings.append(
                f"No machine fits all limits: {', '.join(given_up)} had to be relaxed. What each "
                "machine does not keep is "
                "said beside it."
            )
        currency = stated.currency
        if currency and any(offer.instance.currency != currency for offer in material.offers):
            warnings.append(
                f"The budget is in {currency}, prices are in {material.currency}: they were compared "
                "without conversion."
            )
        return warnings

    async def _find_models(self, material: Material) -> list[str]:
        workload = material.workload
        if not workload.searches_models:
            return []
        arguments = ModelArguments(
            query=workload.model_query,
            pipeline_tag=workload.pipeline_tag,
            license_filter=list(workload.stated.licenses) or None,
            top_k=max(MOST_MODELS, self._place.settings.hf_top_k),
        )
        try:
            found = await self._use(MODELS, arguments)
        except EmbeddingMismatch as error:
            return [f"Models were not searched: {error}."]
        except ModelUnavailable:
            return ["Models were not searched: the embedding model does not answer."]
        material.found["models"] = len(found.rows)
        material.models = list(found.rows[:MOST_MODELS])
        if not material.models:
            return ["No model of the catalogue is for this purpose under these licences."]
        return []

    async def _find_packages(self, material: Material) -> list[str]:
        needs = needs_of(material.workload)
        chosen: dict[int, StackEntry] = {}
        left = list(enumerate(needs))
        for attempt in range(2):
            asked = [(number, need) for number, need in left if attempt < len(need.queries)]
            if not asked:
                break
            found = await self._packages(material, [need.queries[attempt] for _, need in asked])
            for (number, need), package in zip(asked, found, strict=True):
                if package is not None:
                    chosen[number] = StackEntry(package, need.purpose, need.required)
            left = [(number, need) for number, need in left if number not in chosen]
        names: set[str] = set()
        for number in sorted(chosen):
            if chosen[number].package.name not in names:
                names.add(chosen[number].package.name)
                material.stack.append(chosen[number])
        return [_missing(need) for _, need in left]

    async def _packages(self, material: Material, queries: Sequence[str]) -> list[Package | None]:
        with self._told(PACKAGES, {"queries": list(queries)}) as rows:
            found = await best_packages(self._place, self._asker, queries)
            rows += [package for package in found if package is not None]
        material.found["packages"] += len(rows)
        return found

    async def _machines(self, limits: dict[str, Any]) -> list[Instance]:
        with self._told(COMPUTE, limits) as rows:
            rows += await find_machines(self._place, self._asker, ComputeArguments(**limits))
        return rows

    async def _find_documents(self, material: Material, question: str) -> list[str]:
        if material.workload.stated.wants_documents and question.strip():
            return await self.add_documents(material, question)
        return []

    async def _use(self, tool: Tool, arguments: Arguments) -> Found:
        with self._told(tool, arguments.model_dump(exclude_none=True)) as rows:
            found = await tool.use(self._place, self._asker, self._scope, arguments)
            rows += found.rows
        return found

    @contextmanager
    def _told(self, tool: Tool, arguments: dict[str, Any]) -> Iterator[list[Any]]:
        """Tells and logs a use of `tool`; what it finds belongs into the list."""
        self._notify("tool_call", {"tool": tool.name, "arguments": arguments})
        with tool.logged() as rows:
            yield rows
        self._notify("tool_result", {"tool": tool.name, "rows": len(rows)})


_LIMITS = {
    "region": ("region",),
    "provider": ("provider",),
    "price": ("max_price_monthly", "max_price_hourly"),
}
"""The arguments of the search that each name stands for."""


def _limits(workload: Workload, providers: Sequence[str], regions: Sequence[str]) -> dict[str, Any]:
    """The arguments of a search for machines; what was stated beats the rules."""
    stated = workload.stated
    machines = stated.replicas or 1
    limits: dict[str, Any] = {
        "gpu_needed": workload.gpu_needed,
        "min_vram_gb": workload.min_vram_gb,
        "min_vram_per_gpu_gb": stated.vram_per_gpu_gb,
        "min_gpu_count": workload.min_gpu_count,
        "gpu_model": stated.gpu_model,
        "max_price_monthly": None if stated.budget_monthly is None else stated.budget_monthly / machines,
        "max_price_hourly": None if stated.budget_hourly is None else stated.budget_hourly / machines,
        "min_vcpu": workload.min_vcpu,
        "min_ram_gb": workload.min_ram_gb,
        "provider": _providers(stated, providers),
        "region": _regions(stated, regions),
    }
    return {name: value for name, value in limits.items() if value is not None}


def _providers(stated: Stated, known: Sequence[str]) -> list[str] | None:
    if stated.provider:
        return list(stated.provider)
    if stated.without_provider:
        return [name for name in known if name.lower() not in stated.without_provider] or None
    return None


def _regions(stated: Stated, known: Sequence[str]) -> list[str] | None:
    """Regions by their names; an area stands for all of the catalogue that lie in it."""
    if not stated.region:
        return None
    named: list[str] = []
    for name in stated.region:
        if name in lexicon.AREAS:
            named += [region for region in known if lexicon.AREAS[name][1].search(region.lower())] or [name]
        else:
            named.append(name)
    return named[:100]


def _breaks(row: Any, name: str, limits: dict[str, Any]) -> bool:
    """Whether a machine does not keep a limit."""
    if name == "price":
        monthly, hourly = limits.get("max_price_monthly"), limits.get("max_price_hourly")
        return (monthly is not None and (row.price_monthly is None or row.price_monthly > monthly)) or (
            hourly is not None and (row.price_hourly is None or row.price_hourly > hourly)
        )
    value = str(getattr(row, name)).lower()
    return value not in [re.sub(r"\s+", " ", wanted).lower() for wanted in limits[name]]


def _missing(need: Need) -> str:
    return f"The catalogue has no package for {need.queries[0]} ({need.purpose})."
