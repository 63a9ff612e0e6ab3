# SPDX-License-Identifier: AGPL-3.0-or-later
"""The planner without a language model: `python -m benchmarks.planner [--json] [--instances N] [--scenarios-only]`.

Two things in one run. How many expectations of samples/catalogues/planner_scenarios.yaml are met, with the sample
catalogues, and whether every plan keeps its hard limits and names only what the catalogues hold. And how long a plan
takes with 50 000 machines, 20 000 packages and 100 000 models, from the message to the reply, one after the other.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import shutil
import statistics
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from context_chat_backend import logs
from context_chat_backend.answering.planner.cards import embed_cards
from context_chat_backend.answering.planner.catalogue_files import read_instances, read_models, read_packages
from context_chat_backend.answering.planner.model_tool import pieces_meant
from context_chat_backend.answering.planner.planner import Planner, Reply
from context_chat_backend.answering.planner.tools import Workplace
from context_chat_backend.domain import EVERYTHING, Passage, Principal, Question, Realm, SourceRef
from context_chat_backend.domain.catalogues import Instance, ModelCard, Package
from context_chat_backend.inference.embedding.hashing import HashingEmbedder
from context_chat_backend.settings.planner import PlannerSettings
from context_chat_backend.store.catalogues import Catalogues
from context_chat_backend.store.database import Database
from context_chat_backend.store.embedded import EmbeddedPostgres
from context_chat_backend.store.history import install_schema
from context_chat_backend.store.model_cards import ModelCards
from tests.conftest import open_folder

SAMPLES = Path(__file__).resolve().parents[1] / "samples" / "catalogues"
ASKER = Principal(Realm.LOCAL, "bench")
_SIZES = (50_000, 20_000, 100_000)
_MESSAGES = 120


@dataclass
class Score:
    """What became of the scenarios."""

    expected: int = 0
    met: int = 0
    broken_limits: list[str] = field(default_factory=list)
    foreign: list[str] = field(default_factory=list)
    unmet: list[str] = field(default_factory=list)

    @property
    def share(self) -> float:
        """Of expectations that are met."""
        return self.met / self.expected

    def add(
        self, scenario: Mapping[str, Any], kind: str, workload: Mapping[str, Any], plan: Mapping[str, Any] | None
    ) -> None:
        """Count what the last answer of a scenario is: its type, WorkloadSpec and DeploymentPlan."""
        about, catalogue = scenario["say"][-1][:50], _samples()
        for name, is_met in _expectations(scenario, kind, workload, plan, catalogue):
            self.expected += 1
            self.met += is_met
            if not is_met:
                self.unmet.append(f"{about}: {name}")
        if plan is not None:
            self.broken_limits += [f"{about}: {one}" for one in _broken(scenario.get("limits", {}), plan)]
            self.foreign += _foreign(plan, catalogue)


@dataclass(frozen=True)
class Samples:
    """The catalogues that come with the program."""

    models: Mapping[str, ModelCard]
    machines: Mapping[str, Instance]
    packages: frozenset[tuple[str, str]]


@cache
def _samples() -> Samples:
    return Samples(
        {one.model_id: one for one in read_models(SAMPLES / "hf_models.jsonl")},
        {one.id: one for one in read_instances(SAMPLES / "cloud_instances.csv")},
        frozenset((one.name, one.version) for one in read_packages(SAMPLES / "k8s_packages.json")),
    )


def main() -> None:
    """Fill, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--instances", type=int, default=_SIZES[0], help="machines; the rest grows with them")
    parser.add_argument("--scenarios-only", action="store_true")
    parser.add_argument("--storage", type=Path, help="a folder in which the large catalogues are kept for the next run")
    arguments = parser.parse_args()
    storage = arguments.storage or open_folder()
    logs.configure("warning", storage / "logs")
    try:
        found = asyncio.run(run(storage, arguments.instances, speed=not arguments.scenarios_only))
    finally:
        if arguments.storage is None:
            shutil.rmtree(storage)
    print(json.dumps(found, indent=None if arguments.json else 2))


async def run(storage: Path, instances: int, *, speed: bool) -> dict[str, Any]:
    """Scenarios on the samples, then times on large catalogues."""
    server = EmbeddedPostgres(storage)
    try:
        url = await server.start()
        await install_schema(url)
        database = Database(url)
        await database.open()
        async with planner_on(database) as planner:
            found: dict[str, Any] = {}
            if (await planner.place.catalogues.sizes()).instances != instances:
                found |= await scenario_score(planner)
                if speed:
                    found |= await fill(planner, instances)
            if speed:
                found |= await measured(planner)
        await database.close()
    finally:
        await server.stop()
    return found


@asynccontextmanager
async def planner_on(database: Database, settings: PlannerSettings | None = None) -> AsyncIterator[Planner]:
    """A planner with rules alone, whose models are embedded by hashing."""
    embedder = HashingEmbedder()
    await embedder.open()

    async def passages(_question: Question) -> list[Passage]:
        return []

    async def lost(_asker: Principal, _passages: Sequence[Passage]) -> set[SourceRef]:
        return set()

    place = Workplace(
        catalogues=Catalogues(database),
        cards=ModelCards(database),
        settings=settings or PlannerSettings(extractor="rules"),
        embed=embedder.embed_question,
        embedding_model=lambda: embedder.space.model,
        passages=passages,
        lost=lost,
    )
    yield Planner(place)
    await embedder.close()


async def load_samples(planner: Planner) -> None:
    """The catalogues that come with the program."""
    catalogues = planner.place.catalogues
    await catalogues.replace_instances(read_instances(SAMPLES / "cloud_instances.csv"))
    await catalogues.replace_packages(read_packages(SAMPLES / "k8s_packages.json"))
    await catalogues.replace_models(read_models(SAMPLES / "hf_models.jsonl"))
    await _embed(planner)


async def _embed(planner: Planner) -> None:
    embedder = HashingEmbedder()
    await embedder.open()
    await embed_cards(planner.place.cards, embedder, pieces_meant(planner.place))
    await embedder.close()


def scenarios() -> list[dict[str, Any]]:
    """Conversations with what is expected of them."""
    listed: list[dict[str, Any]] = yaml.safe_load((SAMPLES / "planner_scenarios.yaml").read_text(encoding="utf-8"))
    return listed


async def scored(planner: Planner) -> Score:
    """What becomes of all scenarios, with the samples loaded."""
    score = Score()
    for scenario in scenarios():
        reply = await said(planner, scenario["say"])
        score.add(scenario, reply.kind, reply.workload, reply.plan)
    return score


async def said(planner: Planner, messages: list[str]) -> Reply:
    """The reply to the last of some messages."""
    state: dict[str, Any] = {}
    for message in messages:
        reply = await planner.reply(ASKER, EVERYTHING, message, state)
        state = json.loads(json.dumps(reply.state))
    return reply


def _expectations(
    scenario: Mapping[str, Any],
    kind: str,
    workload: Mapping[str, Any],
    planned: Mapping[str, Any] | None,
    catalogue: Samples,
) -> Iterator[tuple[str, bool]]:
    yield f"type is {kind}", kind == scenario["type"]
    spec = {**workload, **workload["scale"], **(workload["model_needs"] or {})}
    for name, wanted in scenario.get("spec", {}).items():
        found = spec.get(name)
        if isinstance(wanted, list):
            yield f"{name} is {found}", set(wanted) <= set(found or ())
        else:
            yield f"{name} is {found}", found == wanted
    plan = planned or {"kubernetes_stack": [], "model_recommendations": []}
    for name in scenario.get("stack", ()):
        yield f"{name} in the stack", name in [one["name"] for one in plan["kubernetes_stack"]]
    if "tag" in scenario:
        tags = {catalogue.models[one["model_id"]].pipeline_tag for one in plan["model_recommendations"]}
        yield f"models are for {tags}", tags == {scenario["tag"]}


def _broken(limits: Mapping[str, Any], plan: Mapping[str, Any]) -> Iterator[str]:
    """Limits that a machine does not keep, and does not say so."""
    for one in plan["gpu_recommendations"]:
        relaxed = set(one["relaxed"])
        for name, limit in limits.items():
            keeps = {
                "min_vram_gb": one["vram_gb"] >= limit if name == "min_vram_gb" else True,
                "min_gpu_count": name != "min_gpu_count" or one["gpu_count"] >= limit,
                "gpu_count": name != "gpu_count" or one["gpu_count"] == limit,
                "min_vcpu": name != "min_vcpu" or one["vcpu"] >= limit,
                "min_ram_gb": name != "min_ram_gb" or one["ram_gb"] >= limit,
                "max_price_monthly": name != "max_price_monthly"
                or "price" in relaxed
                or (one["price_monthly"] is not None and one["price_monthly"] <= limit),
                "max_price_hourly": name != "max_price_hourly"
                or "price" in relaxed
                or (one["price_hourly"] is not None and one["price_hourly"] <= limit),
                "provider": name != "provider" or "provider" in relaxed or one["provider"] == limit,
                "not_provider": name != "not_provider" or one["provider"] != limit,
            }
            if not keeps[name]:
                yield f"{one['id']} does not keep {name}"


def _foreign(plan: Mapping[str, Any], catalogue: Samples) -> list[str]:
    """Names and prices that are not in the catalogues."""
    machines = catalogue.machines
    found = [one["id"] for one in plan["gpu_recommendations"] if one["id"] not in machines]
    found += [
        f"price of {one['id']}"
        for one in plan["gpu_recommendations"]
        if one["id"] in machines and Decimal(str(one["price_monthly"])) != machines[one["id"]].price_monthly
    ]
    charts = [(one["name"], one["version"]) for one in plan["kubernetes_stack"]]
    found += [name for name, version in charts if (name, version) not in catalogue.packages]
    return found + [one["model_id"] for one in plan["model_recommendations"] if one["model_id"] not in catalogue.models]


async def scenario_score(planner: Planner) -> dict[str, Any]:
    """What becomes of the scenarios, on the samples."""
    await load_samples(planner)
    score = await scored(planner)
    return {
        "scenarios": len(scenarios()),
        "expectations": score.expected,
        "met": round(score.share, 4),
        "unmet": score.unmet,
        "limits_broken": score.broken_limits,
        "names_outside_catalogues": score.foreign,
    }


async def fill(planner: Planner, instances: int) -> dict[str, Any]:
    """Large catalogues."""
    share = instances / _SIZES[0]
    draw = random.Random(7)
    catalogues = planner.place.catalogues
    started = time.perf_counter()
    await catalogues.replace_instances(_machines(draw, instances))
    await catalogues.replace_packages(_packages(draw, int(_SIZES[1] * share)))
    await catalogues.replace_models(_models(draw, int(_SIZES[2] * share)))
    loaded = time.perf_counter()
    await _embed(planner)
    embedded = time.perf_counter()
    return {"load_seconds": round(loaded - started, 1), "embed_seconds": round(embedded - loaded, 1)}


async def measured(planner: Planner) -> dict[str, Any]:
    """Milliseconds of a plan on what is loaded, once each message was answered before."""
    sizes = await planner.place.catalogues.sizes()
    messages = [text for scenario in scenarios() if scenario["type"] == "deployment_plan" for text in scenario["say"]]
    milliseconds = []
    for number in range(len(messages) + _MESSAGES):
        begun = time.perf_counter()
        reply = await planner.reply(ASKER, EVERYTHING, messages[number % len(messages)], {})
        if number >= len(messages) and reply.kind == "deployment_plan":
            milliseconds.append((time.perf_counter() - begun) * 1000)
    milliseconds.sort()
    return {
        "instances": sizes.instances,
        "packages": sizes.packages,
        "models": sizes.models,
        "plans": len(milliseconds),
        "p50_ms": round(statistics.median(milliseconds), 1),
        "p95_ms": round(milliseconds[int(len(milliseconds) * 0.95)], 1),
        "max_ms": round(milliseconds[-1], 1),
    }


def _machines(draw: random.Random, count: int) -> Iterator[Instance]:
    """Variations of the samples."""
    samples = read_instances(SAMPLES / "cloud_instances.csv")
    for number in range(count):
        like = draw.choice(samples)
        factor = Decimal(draw.randint(70, 160)) / 100
        assert like.price_hourly is not None
        yield Instance(
            id=f"{like.id}-{number}",
            provider=like.provider,
            name=f"{like.name}-{number}",
            region=like.region,
            gpu_model=like.gpu_model,
            gpu_count=like.gpu_count,
            vram_per_gpu_gb=like.vram_per_gpu_gb,
            vram_gb=like.vram_gb,
            vcpu=like.vcpu,
            ram_gb=like.ram_gb,
            price_hourly=(like.price_hourly * factor).quantize(Decimal("0.01")),
            price_monthly=(like.price_hourly * factor * 730).quantize(Decimal("0.01")),
            currency="USD",
            price_as_of=date(2025, 11, 1),
            price_source="sample",
        )


def _packages(draw: random.Random, count: int) -> Iterator[Package]:
    samples = read_packages(SAMPLES / "k8s_packages.json")
    yield from samples
    for number in range(count - len(samples)):
        like = draw.choice(samples)
        yield Package(
            id=f"{like.id}-{number}",
            name=f"{like.name}-{number}",
            version=like.version,
            app_version=like.app_version,
            description=f"{like.description}, variation {number}",
            repository="sample",
            keywords=like.keywords,
            stars=draw.randint(0, 500),
            official=False,
        )


def _models(draw: random.Random, count: int) -> Iterator[ModelCard]:
    samples = read_models(SAMPLES / "hf_models.jsonl")
    words = " ".join(one.card for one in samples).split()
    for number in range(count):
        like = draw.choice(samples)
        yield ModelCard(
            model_id=f"{like.model_id}-{number}",
            pipeline_tag=like.pipeline_tag,
            license=like.license,
            downloads=draw.randint(0, 10**6),
            likes=draw.randint(0, 10**4),
            parameters_b=like.parameters_b,
            tags=like.tags,
            updated_at=datetime(2025, 1, 1, tzinfo=UTC),
            card=f"{like.card[:300]} {' '.join(draw.choices(words, k=30))}",
        )


if __name__ == "__main__":
    main()
