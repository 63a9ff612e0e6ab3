# SPDX-License-Identifier: AGPL-3.0-or-later
"""Numbers in a request: money and for how long, sizes, counts."""

from __future__ import annotations

import re
from dataclasses import dataclass

from context_chat_backend.answering.planner.lexicon import GPUS, NUMBERS
from context_chat_backend.domain.catalogues import HOURS_PER_MONTH

_CURRENCIES = {
    "$": "USD", "usd": "USD", "dollar": "USD", "dollars": "USD", "bucks": "USD", "€": "EUR", "eur": "EUR",
    "euro": "EUR", "euros": "EUR", "£": "GBP", "gbp": "GBP", "pounds": "GBP",
}  # fmt: skip
_NUMBER = r"(\d{1,3}(?:[.,' ]\d{3})+(?!\d)|\d+(?:[.,]\d+)?)"
_PERIOD = (
    r"(?:\s*(?:/|per|a|an|each|every)?\s*(month|mo\b|months|monthly|hour|hr\b|h\b|hourly|year|yr\b|yearly|annually|week|"
    r"weekly|day|daily|p\.?m\.?\b))?"
)
_MONEY = re.compile(
    rf"(?:(usd|eur|gbp|[$€£])\s?{_NUMBER}\s?(k|m)?\b|{_NUMBER}\s?(k|m)?\s?(usd|eur(?:os?)?|gbp|dollars?|bucks|pounds|[$€£]))"
    rf"{_PERIOD}"
)
_BARE = re.compile(
    rf"(?:under|below|at most|max(?:imum)?(?: of)?|up to|less than|budget(?: of| is|:| at most|"
    rf" up to)*(?: now| only| just)*|no more than|"
    rf"cap(?:ped)? at|spend)\s{_NUMBER}\s?(k|m)?\b(?!\s?(?:gb|gpu|b\b|x\b|vcpu|cpu|cores|users|ms|"
    rf"tokens|replicas|nodes)){_PERIOD}"
)
_ENDLESS = re.compile(r"\d{13,}")
_HOURS = {"hour": 1, "hr": 1, "h": 1, "hourly": 1}
_PER_MONTH = {"year": 1 / 12, "yr": 1 / 12, "yearly": 1 / 12, "annually": 1 / 12, "week": 52 / 12, "weekly": 52 / 12,
              "day": HOURS_PER_MONTH / 24, "daily": HOURS_PER_MONTH / 24}  # fmt: skip
_GPU = "|".join(sorted(GPUS, key=len, reverse=True)).lower()
_COUNT = r"(\d{1,4}|" + "|".join(NUMBERS) + r")"
_GPUS = re.compile(
    rf"(?:\b{_COUNT}\s*(?:x|×|times)?\s*)?\b(?:nvidia |amd |tesla |geforce |rtx ?-?)*({_GPU})s?\b"
    r"(?:[\s-]*(\d{2,3})\s*gb)?(?!\.)"
)
_GPU_COUNT = re.compile(rf"\b{_COUNT}\s*(?:x\s*)?gpus?\b")
_VRAM = re.compile(
    r"(\d+(?:\.\d+)?)\s*gb\s*(?:of\s+)?(?:total\s+)?(?:v-?ram|gpu[- ](?:memory|ram)|video memory)|"
    r"(?:v-?ram|gpu[- ]memory)\s*(?:of|:|>=|at least|is)?\s*(\d+(?:\.\d+)?)\s*gb"
)
_RAM = re.compile(
    r"(\d+(?:\.\d+)?)\s*gb\s*(?:of\s+)?(?:system\s+|main\s+)?(?:ram|memory)\b|\bram\s*(?:of|:|>=|"
    r"at least)?\s*(\d+)\s*gb"
)
_CPU = re.compile(rf"\b{_COUNT}\s*-?(?:v?cpus?|v?cores?|virtual cpus)\b")
_MIXTURE = re.compile(r"\b(\d)\s?x\s?(\d+(?:\.\d+)?)\s?b\b")
_BILLIONS = re.compile(
    r"(?<![$€£\d.,])(\d+(?:\.\d+)?)[\s-]?(?:b\b|bn\b|billion(?! (?:dollar|euro|row|record|event|user|request)))"
)
_MILLIONS = re.compile(r"(\d+(?:\.\d+)?)\s?(?:m|million)[\s-]?(?:parameters?|params)\b")
_REPLICAS = re.compile(rf"\b{_COUNT}\s*(?:replicas?|instances of it|copies)\b")
_USERS = re.compile(
    rf"{_NUMBER}\s?(k|thousand|million)?\s*(?:concurrent |daily |active |simultaneous |parallel |monthly )*"
    r"(?:users|people|customers|employees)\b"
)
_RATE = re.compile(
    rf"{_NUMBER}\s*(?:(?:requests?|queries|images|calls|predictions)\s*(?:per|a|/)\s*(second|sec|s|minute|min)\b|"
    r"(?:rps|qps|req/s)\b)"
)
_CONTEXT = re.compile(
    r"\b(\d{1,4})\s?k[\s-]*(?:tokens?|context)|context (?:length|window|size)?\s*(?:of )?(\d{1,7})\s?(k)?|"
    r"\b(\d{4,7})[\s-]tokens?\b"
)


@dataclass(frozen=True, slots=True)
class Budget:
    """What may be spent; one of both is None."""

    monthly: float | None
    hourly: float | None
    currency: str | None


def _value(text: str, scale: str | None = None) -> float:
    if re.fullmatch(r"\d{1,3}(?:[.,' ]\d{3})+", text):
        text = re.sub(r"[.,' ]", "", text)
    factors = {"k": 1e3, "thousand": 1e3, "m": 1e6, "million": 1e6}
    return float(text.replace(",", ".")) * factors.get(scale or "", 1)


def without_endless_numbers(text: str) -> str:
    """`text` without numbers of more digits than anything here has: patterns would look at each end of them."""
    return _ENDLESS.sub(" ", text)


def budget_in(text: str) -> Budget | None:
    """The last amount of money in lower-case `text`; without a period it is meant by the month. None where none is."""
    found = [(one.start(), one) for one in _MONEY.finditer(text)]
    if found:
        match = found[-1][1]
        sign, left, left_scale, right, right_scale, unit, period = match.groups()
        amount = _value(left or right, left_scale or right_scale)
        currency = _CURRENCIES.get(sign or unit)
    else:
        bare = [one for one in _BARE.finditer(text) if one[3] or "budget" in one[0]]
        if not bare:
            return None
        amount, period, currency = _value(bare[-1][1], bare[-1][2]), bare[-1][3], None
    if amount <= 0:
        return None
    period = (period or "").rstrip(".")
    if period in _HOURS:
        return Budget(None, amount, currency)
    return Budget(round(amount * _PER_MONTH.get(period, 1), 2), None, currency)


def without_money(text: str) -> str:
    """`text` without amounts of money, so that they are taken for nothing else."""
    return _MONEY.sub(" ", text)


def gpus_in(text: str) -> tuple[str | None, int | None, float | None]:
    """The GPU that is named, how many, and GB of each where that is said."""
    for match in _GPUS.finditer(text):
        count, name, memory = match.groups()
        return name.upper(), _count(count), None if memory is None else float(memory)
    counted = _GPU_COUNT.search(text)
    return None, _count(counted[1]) if counted else None, None


def vram_in(text: str) -> float | None:
    """GB of GPU memory."""
    return _last(_VRAM, text)


def ram_in(text: str) -> float | None:
    """GB of main memory."""
    return _last(_RAM, _VRAM.sub(" ", text))


def cpus_in(text: str) -> int | None:
    """How many processors."""
    found = _CPU.search(text)
    return _count(found[1]) if found else None


def parameters_in(text: str) -> float | None:
    """Billions of parameters; of a mixture of experts those of all together."""
    if mixture := _MIXTURE.search(text):
        return float(mixture[1]) * float(mixture[2])
    if billions := _last(_BILLIONS, text):
        return billions
    millions = _last(_MILLIONS, text)
    return None if millions is None else millions / 1000


def replicas_in(text: str) -> int | None:
    """How many copies are to run."""
    found = _REPLICAS.search(text)
    return _count(found[1]) if found else None


def users_in(text: str) -> int | None:
    """How many people use it."""
    found = _USERS.search(text)
    return min(int(_value(found[1], found[2])), 10**10) if found else None


def rate_in(text: str) -> float | None:
    """Requests a second."""
    found = _RATE.search(text)
    if found is None:
        return None
    return round(_value(found[1]) / (60 if (found[2] or "").startswith("min") else 1), 4)


def context_in(text: str) -> int | None:
    """How many tokens a model has to read."""
    found = _CONTEXT.search(text)
    if found is None:
        return None
    if found[1]:
        return int(found[1]) * 1000
    return int(found[4] or found[2]) * (1000 if found[3] else 1)


def _count(text: str | None) -> int | None:
    if text is None:
        return None
    return NUMBERS.get(text) or (int(text) if text.isdigit() and int(text) > 0 else None)


def _last(pattern: re.Pattern[str], text: str) -> float | None:
    found = [next(group for group in one.groups() if group) for one in pattern.finditer(text)]
    return float(found[-1]) if found and 0 < float(found[-1]) < 1e6 else None
