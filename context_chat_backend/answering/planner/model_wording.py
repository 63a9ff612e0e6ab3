# SPDX-License-Identifier: AGPL-3.0-or-later
"""A language model may word a plan: its texts take the place of the templates' where they say nothing of their own.

A text that names a number, a price or a name that is not in the plan's rows is left out, whatever else it says.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import replace

from pydantic import BaseModel, ConfigDict, Field

from context_chat_backend.answering.planner.lexicon import NUMBERS
from context_chat_backend.answering.planner.material import Material
from context_chat_backend.answering.planner.model_help import ModelHelp
from context_chat_backend.answering.planner.wording import Words

_INSTRUCTIONS = (
    "You word deployment plans in plain British English, one or two sentences for each text. Name no "
    "prices, no numbers "
    "and no names but those in the data. The keys of reasons are ids, those of purposes are names of "
    "packages, those of "
    "details numbers of steps."
)
_PRICES = re.compile(
    r"[$€£¥%]|\b(?:dollars?|euros?|pounds?|cents?|usd|eur|gbp|bucks|free|gratis|costs? nothing|no cost|zero|price[sd]?|"
    r"pricing|discount\w*|yen|yuan|francs?|rupees?|roubles?|quid|grand|complimentary|for nothing|"
    r"(?:seven|nine|eleven|twelve|(?:thir|four|fif|six|seven|eigh|nine)teen|"
    r"(?:twen|thir|for|fif|six|seven|eigh|nine)ty|hundred|thousand|million|billion|dozen)s?|"
    r"half|quarter|twice|thrice|double|triple)\b|https?:|www\.|\]\(|<",
    re.IGNORECASE,
)
_BEGINS = re.compile(r"(?:^|[.!?:]\s+)[\"'(]*$")
_UNSEEN = ("Cc", "Cf", "Co", "Cs", "Cn")
"""Categories of characters that are read as nothing, and may part a name."""
_WORD = re.compile(r"[^\W\d_]+")
_TOKEN = re.compile(r"[\w][\w./:+-]*")
_USUAL = 2.5
"""On Zipf's scale: rarer words may be names of something that is not there."""
_LONGEST = 600
_PLAIN_WORDS = frozenset({"gpu", "gpus", "vram", "kubernetes", "helm", "lora", "qlora", "llm", "inference", "tuning"})


class Wording(BaseModel):
    """What a model may write."""

    model_config = ConfigDict(extra="ignore")

    understanding: str = ""
    reasons: dict[str, str] = Field(default_factory=dict)
    purposes: dict[str, str] = Field(default_factory=dict)
    details: dict[str, str] = Field(default_factory=dict)
    tradeoffs: list[str] = Field(default_factory=list)


Named = Callable[[Sequence[str]], Awaitable[Collection[str]]]
"""Gives which of some words are names of the catalogues."""


async def reworded(help_: ModelHelp, material: Material, words: Words, said: str, named: Named) -> Words:
    """`words`, as far as the model has better ones; the same when it is of no help.

    `said` is what the user wrote. Raises what `named` raises.
    """
    data = {
        "request": said[-4000:],
        "understanding": words.understanding,
        "reasons": words.instances | words.models,
        "purposes": words.purposes,
        "details": {str(order): step.detail for order, step in enumerate(words.steps, 1)},
        "tradeoffs": words.tradeoffs,
    }
    written = await help_.filled(_INSTRUCTIONS, json.dumps(data, ensure_ascii=False), Wording)
    if written is None:
        return words
    guard = Guard(material, words, await named(sorted(_words_of(written))))

    def better(new: str | None, old: str) -> str:
        return new.strip() if new is not None and guard.allows(new) else old

    return Words(
        understanding=better(written.understanding, words.understanding),
        tradeoffs=words.tradeoffs + [text.strip() for text in written.tradeoffs[:3] if guard.allows(text)],
        steps=[
            replace(step, detail=better(written.details.get(str(order)), step.detail))
            for order, step in enumerate(words.steps, 1)
        ],
        instances={id_: better(written.reasons.get(id_), text) for id_, text in words.instances.items()},
        models={id_: better(written.reasons.get(id_), text) for id_, text in words.models.items()},
        purposes={name: better(written.purposes.get(name), text) for name, text in words.purposes.items()},
    )


class Guard:
    """Knows what a text about a plan may name."""

    def __init__(self, material: Material, words: Words, named: Collection[str]) -> None:
        """`named` are names of the catalogues, whether the plan holds them or not."""
        told = [words.understanding, *words.instances.values(), *words.models.values(), *words.tradeoffs]
        told += [step.detail for step in words.steps] + list(words.purposes.values())
        names = [name.lower() for name in material.names()]
        allowed = " ".join([*told, *names]).lower()
        self._tokens = {token.strip(".:/-+") for token in _TOKEN.findall(allowed)} | set(names)
        self._words = set(_WORD.findall(allowed)) | _PLAIN_WORDS
        # What the catalogues name and the plan does not may be a usual word, and is no fact of this plan.
        self._foreign = {name.lower() for name in named} - set(names) - self._tokens

    def allows(self, text: str) -> bool:
        """Whether a text says nothing but what the plan holds."""
        if not text.strip() or len(text) > _LONGEST or _PRICES.search(text):
            return False
        if any(unicodedata.category(character) in _UNSEEN for character in text if character != "\n"):
            return False
        return all(self._knows(match[0].strip(".:/-+"), text[: match.start()]) for match in _TOKEN.finditer(text))

    def _knows(self, token: str, before: str) -> bool:
        """Whether a word after some others is a usual one, or one of the plan."""
        bare = token.lower()
        if bare in self._foreign:
            return False
        if bare in self._tokens:
            return True
        if any(character.isnumeric() for character in bare) or bare in NUMBERS or set("./:+_") & set(bare):
            return False
        if token[:1].isupper() and bare not in self._words and len(bare) > 1 and not _BEGINS.search(before):
            return False  # it is written as a name is
        return all(word in self._words or _is_usual(word) for word in _WORD.findall(bare))


def _words_of(written: Wording) -> set[str]:
    texts = [written.understanding, *written.reasons.values(), *written.purposes.values(), *written.details.values()]
    found = {match[0].strip(".:/-+") for text in [*texts, *written.tradeoffs] for match in _TOKEN.finditer(text)}
    return {word for word in found if 1 < len(word) <= 200 and word.isprintable()}


def _is_usual(word: str) -> bool:
    from wordfreq import zipf_frequency  # it takes a sixth of the program's start, and few programs plan

    return float(zipf_frequency(word, "en")) >= _USUAL
