# SPDX-License-Identifier: AGPL-3.0-or-later
"""Near-duplicate passages collapse: copies, quoted mails and versions of a document say the same thing once.

A passage is a duplicate of one before it when that one says nearly all of it: of its runs of three words nine in ten
stand there, and so does every number (two versions of a contract often differ in nothing but a sum or a date). Compared
are only passages that are in the list, so that nothing depends on what the asker may not read (ruling 9).
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace

from context_chat_backend.domain import Passage, SourceRef

_SHINGLE = 3
_SAID = 0.9
"""Share of the runs of words. One changed word changes three runs: about one word in thirty may differ."""
_WIDE = "\u0e00-\u0eff\u3040-\u30ff\u3400-\u9fff"
_WORD = re.compile(rf"[{_WIDE}]|[^\W_{_WIDE}]+")
"""A word; in scripts without spaces a character."""


def collapse(passages: Sequence[Passage]) -> list[Passage]:
    """The passages that say something new, in their order; each carries its duplicates."""
    kept: list[_Kept] = []
    holding: defaultdict[tuple[str, ...], list[int]] = defaultdict(list)
    for passage in passages:
        runs, numbers = _features(passage.text)
        common = Counter(place for run in runs for place in holding[run])
        said = [
            place for place, count in common.items() if count >= _SAID * len(runs) and numbers <= kept[place].numbers
        ]
        if said:
            kept[min(said)].duplicates += (replace(passage, duplicates=()), *passage.duplicates)
            continue
        for run in runs:
            holding[run].append(len(kept))
        kept.append(_Kept(passage, numbers))
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
    numbers: frozenset[str]
    duplicates: tuple[Passage, ...] = field(default=())


def _features(text: str) -> tuple[frozenset[tuple[str, ...]], frozenset[str]]:
    """The runs of words and the numbers of a text; a text without words is one run of itself."""
    words = _WORD.findall(text.casefold()) or [text.strip()]
    runs = frozenset(tuple(words[start : start + _SHINGLE]) for start in range(max(1, len(words) - _SHINGLE + 1)))
    return runs, frozenset(word for word in words if any(character.isdigit() for character in word))
