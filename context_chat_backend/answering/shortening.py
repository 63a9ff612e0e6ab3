# SPDX-License-Identifier: AGPL-3.0-or-later
"""A passage that is larger than its room is cut at borders of sentences, where it says most about the question."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

from context_chat_backend import sentences
from context_chat_backend.domain import Passage
from context_chat_backend.ports import LanguageModel
from context_chat_backend.terms import terms


async def shortened(passage: Passage, question: str, tokens: int, model: LanguageModel) -> Passage | None:
    """`passage` with the run of its sentences that fits into `tokens` and holds most words of the question.

    A sentence that does not fit by itself is cut after a word. None when nothing fits. Raises ModelUnavailable.
    """
    text = passage.text
    borders = [*sentences.starts(text), len(text)]
    pieces = [text[start:end] for start, end in pairwise(borders)]
    sizes = [size + 1 for size in await model.count_tokens(pieces)]
    first, last = _best_run(pieces, sizes, tokens, terms(question))
    kept = text[borders[first] : borders[last]].strip()
    if not kept:
        best = max(range(len(pieces)), key=lambda n: len(terms(pieces[n]) & terms(question)))
        kept = _cut(pieces[best].strip(), tokens / sizes[best])
    return replace(passage, text=kept) if kept else None


def _best_run(pieces: Sequence[str], sizes: Sequence[int], room: int, wanted: frozenset[str]) -> tuple[int, int]:
    """First and end of the run; of equal ones the longer, then the earlier. (0, 0) when no sentence fits."""
    holding = [terms(piece) & wanted for piece in pieces]
    best, chosen = (-1, 0), (0, 0)
    for first in range(len(pieces)):
        end, size = first, 0
        while end < len(pieces) and size + sizes[end] <= room:
            size += sizes[end]
            end += 1
        score = (len(frozenset().union(*holding[first:end])), size)
        if end > first and score > best:
            best, chosen = score, (first, end)
    return chosen


def _cut(sentence: str, share: float) -> str:
    """So much of the beginning of a sentence, up to the end of a word where there are words."""
    length = int(len(sentence) * share * 0.9)  # tokens are not spread evenly
    cut = sentence[:length]
    return cut.rsplit(None, 1)[0] if len(cut.split()) > 1 else cut
