# SPDX-License-Identifier: AGPL-3.0-or-later
"""Near-duplicate passages collapse: copies, quoted mails and versions of a document say the same thing once.

A passage is a duplicate of one before it when all its runs of three words stand there, or when nine in ten are common
to both and numbers and negations are the same: two versions of a contract often differ in nothing but a sum, a date or
a "not". Compared are only passages that are in the list, so that nothing depends on what the asker may not read
(ruling 9).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace

from context_chat_backend.domain import Passage, SourceRef

_SHINGLE = 3
_ALIKE = 0.9
"""Share of the runs of words. One changed word changes three runs: about one word in thirty may differ."""
_NEGATIONS = frozenset({
    "no", "not", "t", "never", "none", "nor", "neither", "without", "cannot", "nicht", "nichts", "kein", "keine",
    "keinen", "keiner", "keines", "keinem", "nie", "niemals", "ohne", "weder", "ne", "n", "pas", "jamais", "sans",
    "aucun", "aucune", "ni", "nunca", "sin", "non", "mai", "senza", "né", "nessun", "niet", "geen", "nooit",
    "zonder", "nu", "niciodată", "fără", "não", "nem", "sem", "bez", "inte", "ikke", "не", "нет", "никогда", "без",
    "ни", "不", "没", "沒", "无", "無", "非",
})  # fmt: skip
_WIDE = "\u0e00-\u0eff\u3040-\u30ff\u3400-\u9fff"
_WORD = re.compile(rf"[{_WIDE}]|[^\W_{_WIDE}]+")
"""A word; in scripts without spaces a character."""


def collapse(passages: Sequence[Passage]) -> list[Passage]:
    """The passages that say something new, in their order; each carries its duplicates."""
    kept: list[_Kept] = []
    heard: set[tuple[str, ...]] = set()
    for passage in passages:
        new = _Kept(passage, *_features(passage.text))
        # Most passages share no run with any other, which is quickly seen.
        said = None if heard.isdisjoint(new.runs) else next((one for one in kept if new.is_said_by(one)), None)
        if said is None:
            heard |= new.runs
            kept.append(new)
        else:
            said.duplicates += (replace(passage, duplicates=()), *passage.duplicates)
    return [
        replace(one.passage, duplicates=one.passage.duplicates + one.duplicates) if one.duplicates else one.passage
        for one in kept
    ]


def without(passages: Sequence[Passage], lost: Collection[SourceRef]) -> list[Passage]:
    """The passages without those of lost sources; in the place of each stand its duplicates from other sources."""
    left: list[Passage] = []
    for passage in passages:
        twins = [twin for twin in passage.duplicates if twin.source not in lost]
        if passage.source in lost:
            left += collapse(twins)
        else:
            left.append(replace(passage, duplicates=tuple(twins)))
    return left


@dataclass(slots=True)
class _Kept:
    passage: Passage
    runs: frozenset[tuple[str, ...]]
    telling: Counter[str]
    """Its numbers and negations, with how often they stand there."""
    duplicates: tuple[Passage, ...] = field(default=())

    def is_said_by(self, other: _Kept) -> bool:
        """Whether `other` leaves nothing of it unsaid."""
        if self.runs <= other.runs:
            return True
        if self.telling != other.telling:
            return False
        return len(self.runs & other.runs) >= _ALIKE * max(len(self.runs), len(other.runs))


def _features(text: str) -> tuple[frozenset[tuple[str, ...]], Counter[str]]:
    """The runs of words of a text, and its telling words; a text without words is one run of itself."""
    words = _WORD.findall(text.casefold()) or [text.strip()]
    shifted = (words[start:] for start in range(_SHINGLE))
    runs = frozenset(zip(*shifted, strict=False)) or frozenset({tuple(words)})
    return runs, Counter([word for word in words if word in _NEGATIONS or not word.isalpha()])
