# SPDX-License-Identifier: AGPL-3.0-or-later
"""Which words of a passage a statement rests on, as far as words can tell.

That two texts share no word proves nothing across languages, so it counts only within one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

from context_chat_backend import sentences
from context_chat_backend.domain import Passage
from context_chat_backend.language import SIMPLE, detect
from context_chat_backend.terms import content_terms

_LEAST_TERMS = 3
"""With fewer of its own a statement says too little to be told from another."""
_LEAST_SHARE = 0.6
"""A statement that cites nothing rests on a sentence that holds so much of it."""
_JOINED = 2
"""One statement may sum up so many sentences."""

Span = tuple[int, int]
"""Offsets in the text of a passage."""


class Support:
    """What the passages of one answer say, sentence by sentence."""

    def __init__(self, passages: Sequence[Passage]) -> None:
        """Passages have the numbers 1, 2, …"""
        self._passages = passages
        self._read: dict[int, list[tuple[Span, frozenset[str]]]] = {}

    def span(self, statement: str, number: int) -> Span:
        """Where passage `number` says most of `statement`; the whole of it when it says nothing of it."""
        wanted = content_terms(statement)
        best = max(self._windows(number), key=lambda window: len(wanted & window[1]), default=None)
        return best[0] if best is not None and wanted & best[1] else (0, len(self._passages[number - 1].text))

    def denies(self, statement: str, number: int) -> bool:
        """Whether passage `number`, in the language of `statement`, has not a word of it."""
        passage = self._passages[number - 1]
        wanted = content_terms(statement)
        if len(wanted) < _LEAST_TERMS or wanted & content_terms(f"{passage.title} {passage.text}"):
            return False
        return passage.language != SIMPLE and detect(statement) == passage.language

    def matched(self, statement: str) -> tuple[int, Span] | None:
        """The passage, by its number, and the sentences in it that say what `statement` does; None where none do."""
        wanted = content_terms(statement)
        if len(wanted) < _LEAST_TERMS:
            return None
        numbers = {term for term in wanted if term.isdigit()}
        best: tuple[int, Span] | None = None
        most = _LEAST_SHARE * len(wanted)
        for number in range(1, len(self._passages) + 1):
            for span, held in self._windows(number):
                common = len(wanted & held)
                if numbers <= held and common >= most and (best is None or common > most):
                    best, most = (number, span), common
        return best

    def _windows(self, number: int) -> Iterator[tuple[Span, frozenset[str]]]:
        """The sentences of a passage, then its neighbouring ones together."""
        read = self._read.get(number)
        if read is None:
            text = self._passages[number - 1].text
            borders = [*sentences.starts(text), len(text)]
            read = [(_stripped(text, span), content_terms(text[slice(*span)])) for span in pairwise(borders)]
            self._read[number] = read
        yield from read
        for first in range(len(read) - _JOINED + 1):
            together = read[first : first + _JOINED]
            yield (together[0][0][0], together[-1][0][1]), frozenset().union(*(terms for _, terms in together))


def _stripped(text: str, span: Span) -> Span:
    start, end = span
    piece = text[start:end]
    return start + len(piece) - len(piece.lstrip()), end - (len(piece) - len(piece.rstrip()))
