# SPDX-License-Identifier: AGPL-3.0-or-later
"""Passages that stand side by side in a source become one, so that a model reads it as it was written.

Chunks overlap a little; what two of them share stands once in the joined text. The text of each chunk stands in it
whole, and nothing else does but a line break where two chunks share nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise

from context_chat_backend.domain import Neighbour, Passage

_MAX_CHARACTERS = 4000
"""Of a joined text: a model with a small context leaves out whole passages."""
_MIN_OVERLAP = 12
"""A shorter likeness of end and beginning may be chance."""
_MAX_OVERLAP = 500


def join(passages: Sequence[Passage], neighbours: Sequence[Neighbour]) -> list[Passage]:
    """The passages, best first, those side by side joined where the better one stands.

    `neighbours` names the place of each passage and may hold chunks around them, which are joined to it; a passage
    that is not named stays as it is. Only chunks with the same location (page, sheet, heading) are joined, so that a
    citation still names its place.
    """
    rank = {passage.chunk_id: place for place, passage in enumerate(passages)}
    joined: dict[int, Passage] = {}
    member: set[int] = set()
    for run in _runs(neighbours, rank):
        ranks = sorted(rank[one.chunk_id] for one in run if one.chunk_id in rank)
        parts = [passages[place] for place in ranks]
        member.update(ranks)
        joined[ranks[0]] = replace(
            parts[0],
            text=_text(run),
            similarity=max(part.similarity for part in parts),
            duplicates=tuple(twin for part in parts for twin in part.duplicates),
        )
    return [
        joined.get(place, passage) for place, passage in enumerate(passages) if place in joined or place not in member
    ]


def _runs(neighbours: Sequence[Neighbour], rank: Mapping[int, int]) -> Iterator[list[Neighbour]]:
    """Chunks side by side, at least one of which was found, in the order of their source."""
    ordered = sorted(neighbours, key=lambda one: (str(one.source), one.ordinal))
    run: list[Neighbour] = []
    for before, after in pairwise([None, *ordered, None]):
        if before is not None and after is not None and _are_adjacent(before, after) and _fits([*run, after]):
            run.append(after)
            continue
        if any(one.chunk_id in rank for one in run):
            yield run
        run = [] if after is None else [after]


def _are_adjacent(one: Neighbour, next_one: Neighbour) -> bool:
    return one.source == next_one.source and one.ordinal + 1 == next_one.ordinal and one.location == next_one.location


def _fits(run: Sequence[Neighbour]) -> bool:
    return sum(len(one.text) for one in run) <= _MAX_CHARACTERS


def _text(run: Sequence[Neighbour]) -> str:
    text = run[0].text
    for one in run[1:]:
        shared = _overlap(text, one.text)
        text += one.text[shared:] if shared else "\n" + one.text
    return text


def _overlap(text: str, following: str) -> int:
    """How many characters the end of `text` shares with the beginning of `following`; no word is cut."""
    for length in range(min(len(text), len(following), _MAX_OVERLAP), _MIN_OVERLAP - 1, -1):
        border = length == len(text) or not text[-length - 1].isalnum()
        if border and text.endswith(following[:length]):
            return length
    return 0
