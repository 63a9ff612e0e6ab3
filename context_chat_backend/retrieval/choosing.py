# SPDX-License-Identifier: AGPL-3.0-or-later
"""Which of the passages that were found are used, where the asker says how: thresholds, and maximal marginal relevance.

Marginal relevance (Carbonell and Goldstein 1998) takes in turn what is near the question and unlike what was taken.
Likeness is that of the words, so that no text is embedded and no vector leaves the store for it.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence

from context_chat_backend.domain import Choice, Passage, SearchType

_WORD = re.compile(r"\w+")


def chosen(passages: Sequence[Passage], choice: Choice) -> list[Passage]:
    """At most `choice.count` of the passages, which come best first."""
    near = [passage for passage in passages if _is_near(passage, choice)]
    if choice.nearest_first:
        near.sort(key=lambda passage: (-passage.similarity, str(passage.source), passage.chunk_id))
    if choice.kind is SearchType.MMR:
        return _unlike(near[: choice.looked_at], choice)
    return near[: choice.count]


def _is_near(passage: Passage, choice: Choice) -> bool:
    if choice.kind is SearchType.SIMILARITY_DISTANCE_THRESHOLD and choice.most_distance is not None:
        return 1 - passage.similarity <= choice.most_distance
    return choice.least_similarity is None or passage.similarity >= choice.least_similarity


def _unlike(passages: Sequence[Passage], choice: Choice) -> list[Passage]:
    left = [(passage, Counter(_WORD.findall(passage.text.casefold()))) for passage in passages]
    taken: list[tuple[Passage, Counter[str]]] = []
    while left and len(taken) < choice.count:
        share = choice.relevance_share
        worth = [
            share * passage.similarity - (1 - share) * max((_likeness(words, other) for _, other in taken), default=0.0)
            for passage, words in left
        ]
        taken.append(left.pop(max(range(len(left)), key=worth.__getitem__)))
    return [passage for passage, _ in taken]


def _likeness(one: Counter[str], other: Counter[str]) -> float:
    """The cosine of the words of two texts, 0 to 1."""
    common = sum(count * other[word] for word, count in one.items())
    sizes = math.sqrt(sum(n * n for n in one.values())) * math.sqrt(sum(n * n for n in other.values()))
    return common / sizes if sizes else 0.0
