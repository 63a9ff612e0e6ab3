# SPDX-License-Identifier: AGPL-3.0-or-later
"""A model's text becomes an answer while it is written: markers `[n]` become citations, false ones go.

What comes out is final: a piece is held back while it may still turn out to be a marker, a link or a picture, which
is until the end of its line at most.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from context_chat_backend.answering.guardrails import SUSPECT, harmless
from context_chat_backend.domain import Citation, Passage

_MARKER = re.compile(r"[ \t]*\[(\d{1,4}(?:\s*[,;]\s*\d{1,4})*)\](?!\()")
_WORD = re.compile(r"[^\x00-\x7f\s]+(?=[^\x00-\x7f])|\S+\s+")
"""A word that is complete: blank space follows, or more of a script that needs none."""


class CitedText:
    """The text of an answer as far as it is written."""

    def __init__(self, passages: Sequence[Passage]) -> None:
        """Marker `[n]` points to `passages[n - 1]`."""
        self._passages = passages
        self._held = ""
        self._pieces: list[str] = []
        self._length = 0
        self._citations: list[Citation] = []
        self._blank = ""

    @property
    def text(self) -> str:
        """Everything that came out so far."""
        return "".join(self._pieces)

    @property
    def citations(self) -> tuple[Citation, ...]:
        """One for each marker in `text`, in its order."""
        return tuple(self._citations)

    def add(self, piece: str) -> str:
        """Take in what the model wrote; returns what follows in the answer."""
        self._held += piece
        end = self._held.rfind("\n") + 1
        whole, self._held = self._held[:end], self._held[end:]
        out = self._line(whole) if whole else ""
        settled = 0
        while (word := _WORD.match(self._held, settled)) and not SUSPECT.search(_MARKER.sub("", word[0])):
            settled = word.end()
        plain, self._held = self._held[:settled], self._held[settled:]
        return out + (self._line(plain) if plain else "")

    def end(self) -> str:
        """The rest, when the model has written all; blank space at the end is left out."""
        out = self._line(self._held)
        self._held = self._blank = ""
        return out

    def _line(self, text: str) -> str:
        """Whole lines, or the rest of one, whose beginning is out already."""
        cited = [citation.passage for citation in self._citations]
        cited += [self._passages[n - 1] for marker in _MARKER.finditer(text) for n in self._numbers(marker)]
        out = ""
        read_to = 0
        text = harmless(text, cited)
        for marker in _MARKER.finditer(text):
            out += self._emit(text[read_to : marker.start()])
            read_to = marker.end()
            self._blank = self._blank.rstrip(" \t")  # as much as the marker takes when it comes in one piece
            for number in self._numbers(marker):
                out += self._mark(number)
        return out + self._emit(text[read_to:])

    def _numbers(self, marker: re.Match[str]) -> list[int]:
        """The passages a marker names; `[2, 5]` names two."""
        numbers = dict.fromkeys(int(digits) for digits in re.findall(r"\d+", marker[1]))
        return [number for number in numbers if 1 <= number <= len(self._passages)]

    def _mark(self, number: int) -> str:
        marker = self._emit(f"[{number}]" if self._blank else f" [{number}]")
        start = self._length - len(f"[{number}]")
        self._citations.append(Citation(start, self._length, self._passages[number - 1]))
        return marker

    def _emit(self, text: str) -> str:
        """Blank space waits for what follows it, and none begins the answer."""
        text = self._blank + text
        kept = text.rstrip()
        self._blank = text[len(kept) :]
        if not self._length:
            kept = kept.lstrip()
        if not kept:
            self._blank = self._blank if self._length else ""
            return ""
        self._pieces.append(kept)
        self._length += len(kept)
        return kept


def cite(text: str, passages: Sequence[Passage]) -> CitedText:
    """The whole of a text that is written already."""
    written = CitedText(passages)
    written.add(text)
    written.end()
    return written
