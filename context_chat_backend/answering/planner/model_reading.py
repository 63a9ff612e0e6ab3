# SPDX-License-Identifier: AGPL-3.0-or-later
"""A language model reads what the rules did not: each value comes with the words of the user it was read from.

A value whose words the user did not write, or that does not follow from them, is dropped: a model invents nothing here.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from pydantic import BaseModel, ConfigDict

from context_chat_backend.answering.planner import amounts, lexicon
from context_chat_backend.answering.planner.model_help import ModelHelp
from context_chat_backend.answering.planner.workload import DOMAINS, PRECISIONS, TASKS

_INSTRUCTIONS = (
    "You read requests about running AI workloads. Give only what the user stated. For each value "
    "quote, word for word, "
    "the words of the user it comes from. Leave out what he did not state. Names: "
    f"task_type (one of {', '.join(TASKS)}), domain (one of {', '.join(DOMAINS)}), gpu_needed (true, false), "
    "model_name, parameters_b (billions), "
    f"precision (one of {', '.join(PRECISIONS)}), budget_monthly, budget_hourly, provider, min_vram_gb, min_gpu_count, "
    "min_vcpu, min_ram_gb, replicas."
)
_MONEY = re.compile(r"[$€£]|budget|spend|cost|price|pay|\b(?:usd|eur|gbp|dollars?|euros?|pounds?|bucks)\b")
_MEMORY = re.compile(r"\d\s*(?:[gt]i?b|gig)|memory|\bv?ram\b")
_GPUS = re.compile(r"gpu|card|accelerator|" + "|".join(lexicon.GPUS).lower())
_COPIES = re.compile(r"replica|\bcop(?:y|ies)\b|instance|machine|server|node|times")
_UNITS: Mapping[str, re.Pattern[str]] = {
    "parameters_b": re.compile(r"\d\s*(?:b\b|bn\b|billion)|billion|param|weights"),
    "budget_monthly": _MONEY,
    "budget_hourly": _MONEY,
    "min_vram_gb": _MEMORY,
    "min_ram_gb": _MEMORY,
    "min_vcpu": re.compile(r"cpu|core|thread|processor"),
}
"""How a quote speaks of what a number counts."""
_MOST_CHARACTERS = 24_000
"""About 6000 tokens."""


class Claim(BaseModel):
    """A value, and the words it was read from."""

    model_config = ConfigDict(extra="ignore")

    name: str
    value: str | float | bool | None
    quote: str


class Claims(BaseModel):
    """All a model has read."""

    model_config = ConfigDict(extra="ignore")

    claims: list[Claim]


async def read_by_model(help_: ModelHelp, messages: Sequence[str], providers: Sequence[str]) -> dict[str, Any] | None:
    """Values by the names of workload.Stated, of all messages of the user; None when the model is of no help."""
    text = "\n".join(messages)[-_MOST_CHARACTERS:]
    found = await help_.filled(_INSTRUCTIONS, text, Claims)
    if found is None:
        return None
    written = amounts.without_endless_numbers(_folded(text))
    checks = _checks(providers)
    stated: dict[str, Any] = {}
    for claim in found.claims:
        quote = _folded(claim.quote)
        if claim.name in checks and len(quote) > 1 and quote in written:
            value = checks[claim.name](claim.value, quote)
            if value is not None:
                stated[claim.name] = value
    return stated


Check = Callable[[Any, str], Any]


def _checks(providers: Sequence[str]) -> Mapping[str, Check]:
    """What gives a value as it may be used, or None where it does not follow from the quoted words."""
    known = {name.lower() for name in providers} | set(lexicon.PROVIDERS)
    return {
        "task_type": lambda value, _quote: value if value in TASKS else None,
        "domain": lambda value, _quote: value if value in DOMAINS else None,
        "precision": lambda value, _quote: value if value in PRECISIONS else None,
        "gpu_needed": lambda value, quote: (
            value if isinstance(value, bool) and re.search(r"gpu|cpu|cuda|vram", quote) else None
        ),
        "model_name": lambda value, quote: (
            value[:200] if isinstance(value, str) and value.strip() and _folded(value) in quote else None
        ),
        "provider": lambda value, quote: (
            (value.lower(),) if isinstance(value, str) and value.lower() in known and value.lower() in quote else None
        ),
        **{name: partial(_number_of, unit) for name, unit in _UNITS.items()},
        "min_gpu_count": partial(_count_of, _GPUS),
        "replicas": partial(_count_of, _COPIES),
    }


def _number_of(unit: re.Pattern[str], value: Any, quote: str) -> float | None:
    """A number of the quote, where it speaks of such a thing: the 70 of 'Llama 70B' is no price."""
    return _number_in(value, quote) if unit.search(quote) else None


def _number_in(value: Any, quote: str) -> float | None:
    """A number above 0 that stands in the quote, as it is or as an amount of money."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < 1e9:
        return None
    found = {float(text) for text in re.findall(r"\d+(?:\.\d+)?", quote.replace(",", ""))}
    budget = amounts.budget_in(quote)
    if budget is not None:
        found |= {amount for amount in (budget.monthly, budget.hourly) if amount is not None}
    found |= {float(number) for word, number in lexicon.NUMBERS.items() if re.search(rf"\b{word}\b", quote)}
    return float(value) if float(value) in found else None


def _count_of(unit: re.Pattern[str], value: Any, quote: str) -> int | None:
    number = _number_of(unit, value, quote)
    return int(number) if number is not None and number == int(number) and number < 100_000 else None


def _folded(text: str) -> str:
    return " ".join(text.lower().split())
