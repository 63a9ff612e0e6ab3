# SPDX-License-Identifier: AGPL-3.0-or-later
"""The DeploymentPlan of the interface, and the same as markdown: facts from the material, words beside them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from context_chat_backend.answering.planner.material import Material
from context_chat_backend.answering.planner.tools import number
from context_chat_backend.answering.planner.wording import Words

_DIGITS = 9
SAMPLES = "Prices are samples made up for this program, not offers: load a catalogue of your own before you decide."


def plan_of(material: Material, words: Words) -> dict[str, Any]:
    """The plan. Prices, names and ids are those of rows; nothing of them stands in `words`."""
    warnings = [*material.warnings, *([SAMPLES] if material.holds_samples else [])]
    return {
        "understanding": words.understanding,
        "assumptions": [*material.notes, *material.workload.assumptions],
        "gpu_recommendations": [
            {
                "rank": rank,
                "id": offer.instance.id,
                "provider": offer.instance.provider,
                "name": offer.instance.name,
                "region": offer.instance.region,
                "gpu_model": offer.instance.gpu_model,
                "gpu_count": offer.instance.gpu_count,
                "vram_gb": number(offer.instance.vram_gb),
                "vcpu": offer.instance.vcpu,
                "ram_gb": number(offer.instance.ram_gb),
                "price_hourly": number(offer.instance.price_hourly),
                "price_monthly": number(offer.instance.price_monthly),
                "currency": offer.instance.currency,
                "reason": words.instances[offer.instance.id],
                "relaxed": list(offer.relaxed),
            }
            for rank, offer in enumerate(material.offers, 1)
        ],
        "model_recommendations": [
            {
                "rank": rank,
                "model_id": one.model.model_id,
                "license": one.model.license,
                "score": round(one.score, _DIGITS),
                "relevance": round(one.relevance, _DIGITS),
                "popularity": round(one.popularity, _DIGITS),
                "reason": words.models[one.model.model_id],
            }
            for rank, one in enumerate(material.models, 1)
        ],
        "kubernetes_stack": [
            {
                "name": entry.package.name,
                "version": entry.package.version,
                "purpose": words.purposes[entry.package.name],
                "required": entry.required,
            }
            for entry in material.stack
        ],
        "deployment_steps": [
            {"order": order, "title": step.title, "detail": step.detail, "command": step.command}
            for order, step in enumerate(words.steps, 1)
        ],
        "cost_estimate": _cost(material),
        "tradeoffs": words.tradeoffs,
        "local_cluster": {"connected": False},
        "warnings": warnings,
        "price_as_of": None if material.price_as_of is None else material.price_as_of.isoformat(),
        "documents": [
            {"source": str(passage.source), "title": passage.title, "text": passage.text}
            for passage in material.documents
        ],
        "grounding": dict(material.found),
    }


def _cost(material: Material) -> dict[str, Any]:
    items = []
    if material.offers:
        one = material.offers[0].instance
        items.append(
            {
                "item": "compute",
                "quantity": material.machines,
                "unit_price": number(material.unit_price),
                "monthly": number(material.monthly_total),
                "basis": f"{one.id}: price a month of the catalogue, 730 hours",
            }
        )
    note = "Machines alone: storage, traffic and work are not in it."
    if material.offers and material.monthly_total is None:
        note = "The price of the first machine is not known."
    return {
        "currency": material.currency,
        "monthly_total": number(material.monthly_total),
        "items": items,
        "note": note,
    }


def as_markdown(plan: dict[str, Any]) -> str:
    """The plan to read, with the same numbers."""
    return "\n".join(_lines(plan)).strip() + "\n"


def _lines(plan: dict[str, Any]) -> Iterator[str]:
    yield from ("## Deployment plan", "", _plain(plan["understanding"]), "")
    yield from _listed("Warnings", plan["warnings"])
    yield from _listed("Assumptions", plan["assumptions"])
    yield from _recommended(plan)
    yield from ("", "### Steps", "")
    for one in plan["deployment_steps"]:
        yield f"{one['order']}. **{_plain(one['title'])}**: {_plain(one['detail'])}"
        if one["command"]:
            yield f"   {_code(one['command'])}"
    cost = plan["cost_estimate"]
    total = "not known" if cost["monthly_total"] is None else f"{cost['monthly_total']:.2f} {cost['currency']} a month"
    yield from ("", "### Cost", "", f"Together {total}. {cost['note']}", "")
    if plan["price_as_of"]:
        yield from (f"Prices as of {plan['price_as_of']}.", "")
    yield from _listed("Trade-offs", plan["tradeoffs"])
    yield from _listed("From your documents", [f"{one['title']}: {one['text']}" for one in plan["documents"]])


def _recommended(plan: dict[str, Any]) -> Iterator[str]:
    """Machines, models and packages."""
    yield from ("### Machines", "")
    if not plan["gpu_recommendations"]:
        yield from ("None fits.", "")
    for one in plan["gpu_recommendations"]:
        price = "price not known"
        if one["price_monthly"] is not None:
            price = f"{one['price_monthly']:.2f} {one['currency']} a month"
        yield f"{one['rank']}. {_code(one['name'])} of {_code(one['provider'])} in {_code(one['region'])}: {price}. "
        yield f"   {_plain(one['reason'])}"
    if plan["model_recommendations"]:
        yield from ("", "### Models", "")
        for one in plan["model_recommendations"]:
            yield f"{one['rank']}. {_code(one['model_id'])} ({_code(one['license'])}): {_plain(one['reason'])}"
    if plan["kubernetes_stack"]:
        yield from ("", "### Kubernetes", "")
        for one in plan["kubernetes_stack"]:
            kind = "" if one["required"] else " (optional)"
            yield f"- {_code(one['name'])} {_code(one['version'])}{kind}: {_plain(one['purpose'])}"


def _listed(title: str, texts: list[str]) -> Iterator[str]:
    if texts:
        yield from (f"### {title}", "", *(f"- {_plain(text)}" for text in texts), "")


def _plain(text: str) -> str:
    """Text in one line that is read as text: what stands in a catalogue makes no links, pictures or tags."""
    line = " ".join(text.split())
    for sign in ("\\", "`", "[", "]", "<", ">", "|"):
        line = line.replace(sign, "\\" + sign)
    return line


def _code(text: str) -> str:
    """Text as it is, between more backticks than follow each other in it."""
    line = " ".join(text.split())
    fence = "`" * (max((len(run) for run in re.findall("`+", line)), default=0) + 1)
    pad = " " if "`" in line else ""
    return f"{fence}{pad}{line}{pad}{fence}"
