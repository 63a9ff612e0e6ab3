# SPDX-License-Identifier: AGPL-3.0-or-later
"""Answers without a language model: the best sentences of the passages, each with its citation.

A sentence is good when it holds rare words of the question (weighted by how few of the passages' sentences hold them,
as in BM25), when its passage holds the others, since "it" and "she" were named before, and when that was found early.
Words are compared by their beginnings, which serves inflected languages without knowing them; in scripts without spaces
by pairs of characters. docs/quality.md shows what was tried.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import AsyncGenerator, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from context_chat_backend import sentences
from context_chat_backend.domain import Ended, Finish, Passage, Prompt
from context_chat_backend.terms import content_terms, terms

_SENTENCES = 3
_PASSAGES = 12
_MAX_CHARACTERS = 400
_RELATIVE_FLOOR = 0.65
"""A further sentence must be at least this good, compared with the best."""
_BY_RANK = 0.8
"""A sentence counts so much less with each passage that was found before its own."""
_BESIDE = 0.4
"""So much counts a word of the question that stands in the passage, but not in the sentence."""
_WIDE = re.compile(r"[\u0e00-\u0eff\u3040-\u30ff\u3400-\u9fff]+")
_MARKUP = re.compile(r"^(?:#{1,6}\s+|[-*+]\s+|\|)|\*\*|__|`")


@dataclass(frozen=True, slots=True)
class _Sentence:
    text: str
    terms: frozenset[str]
    passage: int
    """Number of its passage, from 1."""
    position: int


class ExtractiveModel:
    """Quotes instead of writing: nothing is invented, and no model is needed."""

    name = "extractive"
    answer_tokens = 1024

    async def context_tokens(self) -> int:
        """As good as no limit."""
        return 1_000_000

    async def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Words are as good as tokens here."""
        return [len(text.split()) for text in texts]

    async def check(self) -> None:
        """It can always write."""

    async def stream(self, prompt: Prompt) -> AsyncGenerator[str | Ended, None]:
        """The best sentences, best passage first, each followed by its marker; nothing when none fits."""
        for number, sentence in enumerate(_best(prompt.question, prompt.passages)):
            yield f"{' ' if number else ''}{_shortened(sentence.text)} [{sentence.passage}]"
        yield Ended(Finish.STOP)

    async def close(self) -> None:
        """Nothing is held."""


def _best(question: str, passages: Sequence[Passage]) -> list[_Sentence]:
    """At most three sentences, in the order of their passages and of the text."""
    wanted = content_terms(question) or terms(question)
    said = [s for n, passage in enumerate(passages[:_PASSAGES], start=1) for s in _sentences(n, passage)]
    holding = Counter(term for sentence in said for term in sentence.terms & wanted)
    rarity = {term: math.log(1 + len(said) / count) for term, count in holding.items()}
    beside: dict[int, set[str]] = {}
    for sentence in said:
        beside.setdefault(sentence.passage, set()).update(sentence.terms & wanted)
    scored = sorted(
        ((_score(sentence, rarity, beside[sentence.passage]), sentence) for sentence in said),
        key=lambda pair: (-pair[0], pair[1].passage, pair[1].position),
    )
    if not scored or scored[0][0] <= 0:
        return []
    floor = scored[0][0] * _RELATIVE_FLOOR
    chosen: dict[str, _Sentence] = {}
    for score, sentence in scored:
        if score >= floor and len(chosen) < _SENTENCES:
            chosen.setdefault(sentence.text, sentence)
    return list(chosen.values())


def _score(sentence: _Sentence, rarity: Mapping[str, float], in_passage: Collection[str]) -> float:
    """`rarity` has the words of the question that are said anywhere, `in_passage` those in the sentence's passage."""
    held = sentence.terms & rarity.keys()
    if not held:
        return 0.0
    said = sum(rarity[term] for term in held) + _BESIDE * sum(rarity[term] for term in in_passage if term not in held)
    length = 1 + 0.01 * max(0, len(sentence.terms) - 25)
    return float(said / length * _BY_RANK ** (sentence.passage - 1))


def _sentences(number: int, passage: Passage) -> Iterator[_Sentence]:
    """The sentences of a passage; headings are none."""
    for position, raw in enumerate(sentences.split(_unwrapped(passage.text))):
        text = _plain(raw)
        heading = raw.lstrip().startswith("#") or text == passage.location.heading
        if text and not heading and (len(text.split()) > 2 or _WIDE.search(text)):
            yield _Sentence(text, terms(text), number, position)


def _unwrapped(text: str) -> str:
    """Lines that go on in the next one are joined to it; rows of tables (`name: value; …`) are not such lines."""
    joined = ""
    for line in text.splitlines(keepends=True):
        before = joined.rpartition("\n")[0].rpartition("\n")[2]
        if joined.endswith("\n") and line[:1].islower() and before and ";" not in before:
            joined = joined[:-1] + " "
        joined += line
    return joined


def _plain(text: str) -> str:
    """Without markup, and without anything that could be taken for a citation."""
    text = " ".join(_MARKUP.sub("", text.strip()).split())
    return re.sub(r"\[(\d[\d\s,;]*)\]", r"(\1)", text)


def _shortened(text: str) -> str:
    if len(text) <= _MAX_CHARACTERS:
        return text
    return text[:_MAX_CHARACTERS].rsplit(" ", 1)[0].rstrip(" ,;:") + " …"
