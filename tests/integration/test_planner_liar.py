# SPDX-License-Identifier: AGPL-3.0-or-later
"""A language model that lies at random: no fact, number or name of its own reaches a plan."""

from __future__ import annotations

import json
import random
import re
import unicodedata
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from typing import Any

import pytest

from benchmarks.planner import ASKER, SAMPLES, load_samples, planner_on
from context_chat_backend.answering.planner.catalogue_files import read_instances, read_models, read_packages
from context_chat_backend.answering.planner.planner import Planner, Reply
from context_chat_backend.answering.writing import Writer
from context_chat_backend.domain import EVERYTHING, Ended, Finish, Prompt, Reasoning
from context_chat_backend.settings.planner import PlannerSettings
from context_chat_backend.store.database import Database

MESSAGES = ("Deploy Llama 70B for inference", "Fine-tune Mistral 7B with LoRA, at most $4000 a month", "Serve SDXL")
INVENTED = (
    "super-gpu-9000", "Zyx Cloud", "hyper\u200bscaler", "megacloudctl", "quux/Frobnicate-13B", "gpu.9xlarge",
    "Ocean Sky", "h\u0131per", "evil.example", "frobnicator",
)  # fmt: skip
PRICES = (
    "$1", "1 USD", "one dollar", "\uff11\uff10 USD", "\u00bd the price", "seven francs", "free of charge", "1,000",
    "\u2167", "fifty", "12.5 EUR", "twelve", "at no cost", "a dozen", "30%",
)  # fmt: skip
PLAIN = ("Rent it from", "A good choice is", "It is better with", "This runs well on", "You could also use", "Install")


class Liar:
    """Writes what its dice say, in the shape it is asked for."""

    name = "liar"
    answer_tokens = 1000

    def __init__(self, draw: random.Random, real: Sequence[str]) -> None:
        self._draw = draw
        self._real = real

    async def context_tokens(self) -> int:
        return 8192

    async def count_tokens(self, texts: Sequence[str]) -> list[int]:
        return [len(text) for text in texts]

    async def check(self) -> None:
        pass

    async def close(self) -> None:
        pass

    async def stream(self, prompt: Prompt) -> AsyncGenerator[str | Reasoning | Ended, None]:
        asked = prompt.messages[0].text
        kind = "claims" if '"claims"' in asked else "calls" if '"calls"' in asked else "words"
        yield json.dumps(getattr(self, kind)(prompt.messages[1].text))
        yield Ended(Finish.STOP)

    def lie(self) -> str:
        draw = self._draw
        words = [draw.choice(PLAIN), draw.choice((*INVENTED, *PRICES, *self._real))]
        if draw.random() < 0.5:
            words += [draw.choice(("for", "or", "and")), draw.choice((*INVENTED, *PRICES, *self._real))]
        return " ".join(words) + "."

    def claims(self, said: str) -> Any:
        draw, quotes = self._draw, [*re.findall(r"[\w$-]+(?: [\w$-]+)?", said), self.lie()]
        names = ("budget_monthly", "budget_hourly", "provider", "min_vram_gb", "min_gpu_count", "min_ram_gb",
                 "min_vcpu", "replicas")  # fmt: skip
        values = (1, 0.5, 70, 7, 10**6, "aws", *INVENTED)
        return {
            "claims": [
                {"name": draw.choice(names), "value": draw.choice(values), "quote": draw.choice(quotes)}
                for _ in range(12)
            ]
        }

    def calls(self, _said: str) -> Any:
        draw = self._draw
        tools = ("k8s/search", "documents/search", "compute/search", "shell")
        return {
            "calls": [{"tool": draw.choice(tools), "arguments": {"query": draw.choice(INVENTED)}} for _ in range(3)]
        }

    def words(self, said: str) -> Any:
        told = json.loads(said[said.index("{") : said.rindex("}") + 1])
        return {
            "understanding": self.lie(),
            "tradeoffs": [self.lie() for _ in range(3)],
            **{
                name: {key: self.lie() for key in [*told[name], self._draw.choice(INVENTED)]}
                for name in ("reasons", "purposes", "details")
            },
        }


@pytest.fixture
async def planner(database: Database) -> AsyncIterator[Planner]:
    async with planner_on(database, PlannerSettings()) as planner:
        await load_samples(planner)
        yield planner


def names_of_catalogues() -> set[str]:
    found: set[str] = set()
    for machine in read_instances(SAMPLES / "cloud_instances.csv"):
        found |= {machine.id, machine.provider, machine.name}
    found |= {package.name for package in read_packages(SAMPLES / "k8s_packages.json")}
    return found | {model.model_id for model in read_models(SAMPLES / "hf_models.jsonl")}


def shown(reply: Reply) -> str:
    """All of an answer as somebody reads it: letters that look alike are alike, and what is not seen is gone."""
    text = unicodedata.normalize("NFKC", json.dumps(reply.plan, ensure_ascii=False) + reply.text).lower()
    return "".join(sign for sign in text if unicodedata.category(sign) != "Cf")


def numbers_in(text: str) -> set[str]:
    return set(re.findall(r"\d+(?:\.\d+)?", text))


def holds(text: str, name: str) -> bool:
    return re.search(rf"(?<![\w-]){re.escape(name.lower())}(?![\w-])", text) is not None


@pytest.mark.parametrize("message", MESSAGES)
async def test_19_whatever_a_model_writes_the_plan_is_that_of_the_rules(planner: Planner, message: str) -> None:
    names = names_of_catalogues()
    honest = await planner.reply(ASKER, EVERYTHING, message, {})
    expected = shown(honest)
    taken = 0
    for seed in range(12):
        liar = Liar(random.Random(f"{message} {seed}"), sorted(names))
        told = await Planner(planner.place, [Writer(liar, writes_asides=True)]).reply(ASKER, EVERYTHING, message, {})

        assert facts_of(told) == facts_of(honest), seed
        assert told.workload == honest.workload, seed
        text = shown(told)
        assert numbers_in(text) <= numbers_in(expected), seed
        for name in names:
            assert holds(expected, name) or not holds(text, name), (seed, name)
        for lie in (*INVENTED, *PRICES):
            bare = "".join(s for s in unicodedata.normalize("NFKC", lie).lower() if unicodedata.category(s) != "Cf")
            assert not holds(text, bare) or holds(expected, bare), (seed, lie)
        taken += text != expected
    assert taken  # some of what it writes is let in: names of the plan in plain words


def facts_of(reply: Reply) -> Any:
    """A plan without what a model may word."""
    assert reply.plan is not None
    plan = {name: value for name, value in reply.plan.items() if name not in ("understanding", "tradeoffs")}
    for name, worded in (
        ("gpu_recommendations", "reason"), ("model_recommendations", "reason"), ("kubernetes_stack", "purpose"),
        ("deployment_steps", "detail"),
    ):  # fmt: skip
        plan[name] = [{key: value for key, value in one.items() if key != worded} for one in plan[name]]
    plan["grounding"] = {**plan["grounding"], "packages": None}  # it may look for more, and finds none
    return plan
