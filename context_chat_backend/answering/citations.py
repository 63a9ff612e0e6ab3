# SPDX-License-Identifier: AGPL-3.0-or-later
"""A model's text becomes an answer while it is written: markers `[n]` become citations, false ones go.

What comes out is final: a piece is held back while it may still turn out to be a marker, a link or a picture, which
is until the end of its line at most. A sentence that cites nothing gets the marker of the passage that says the same,
where there is one, before the next sentence begins.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from context_chat_backend import sentences
from context_chat_backend.answering.guardrails import REMOVED, SUSPECT, harmless
from context_chat_backend.answering.support import Span, Support
from context_chat_backend.domain import Citation, Passage

_MARKER = re.compile(r"[ \t]*\[(\d{1,4}(?:\s*[,;]\s*\d{1,4})*)\](?!\()")
_WORD = re.compile(r"[^\x00-\x7f\s]+(?=[^\x00-\x7f])|\S+\s+")
"""A word that is complete: blank space follows, or more of a script that needs none."""
_FENCE = ("```", "~~~")
_CLAIMS_NOTHING = re.compile(r"^\s*(?:#|\||>)|[?:？：]\W*$")
"""Headings, rows of tables, quotes, questions, and what only announces."""
_REMEMBERED = 600
"""Characters of a sentence: no rambling model makes us look at all of its text again with each word."""


class CitedText:
    """The text of an answer as far as it is written."""

    def __init__(self, passages: Sequence[Passage]) -> None:
        """Marker `[n]` points to `passages[n - 1]`."""
        self._passages = passages
        self._support = Support(passages)
        self._held = ""
        self._pieces: list[str] = []
        self._length = 0
        self._citations: list[Citation] = []
        self._blank = ""
        self._row = ""
        self._in_code = False
        self._statement = ""
        self._cited_to = 0
        self._is_cited = False

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
        out = self._lines(whole) if whole else ""
        settled = 0
        while (word := _WORD.match(self._held, settled)) and not SUSPECT.search(_MARKER.sub("", word[0])):
            settled = word.end()
        plain, self._held = self._held[:settled], self._held[settled:]
        return out + (self._lines(plain) if plain else "")

    def end(self) -> str:
        """The rest, when the model has written all; blank space at the end is left out."""
        out = self._lines(self._held) + self._closed()
        self._held = self._blank = ""
        return out

    def _lines(self, text: str) -> str:
        """Whole lines, or the rest of one, whose beginning is out already."""
        cited = [citation.passage for citation in self._citations]
        cited += [self._passages[n - 1] for marker in _MARKER.finditer(text) for n in self._numbers(marker)]
        return "".join(self._line(line) for line in harmless(text, cited).splitlines(keepends=True))

    def _line(self, text: str) -> str:
        """A line, or some of it. In blocks of code brackets are no markers."""
        self._row += text
        fences = self._row.lstrip().startswith(_FENCE)
        code = fences or self._in_code
        if self._row.endswith("\n"):
            self._row = ""
            self._in_code ^= fences
        return self._coded(text) if code else self._marked(text)

    def _marked(self, text: str) -> str:
        out = ""
        read_to = 0
        for marker in _MARKER.finditer(text):
            out += self._said(text[read_to : marker.start()])
            read_to = marker.end()
            self._blank = self._blank.rstrip(" \t")  # as much as the marker takes when it comes in one piece
            for number in self._numbers(marker):
                out += self._mark(number)
        return out + self._said(text[read_to:])

    def _numbers(self, marker: re.Match[str]) -> list[int]:
        """The passages a marker names; `[2, 5]` names two."""
        numbers = dict.fromkeys(int(digits) for digits in re.findall(r"\d+", marker[1]))
        return [number for number in numbers if 1 <= number <= len(self._passages)]

    def _said(self, text: str) -> str:
        """Text that states something: where a sentence ends in it, or before it, that one may want a marker."""
        out = ""
        begun = len(self._statement) + len(self._blank)
        whole = self._statement + self._blank + text
        said_to = 0
        for border in sentences.starts(whole)[1:]:
            if not whole[border:].strip():
                break
            end = max(0, border - begun)
            out += self._emit(text[said_to:end]) + self._closed()
            said_to = end
        return out + self._emit(text[said_to:])

    def _coded(self, text: str) -> str:
        closed = self._closed()
        return closed + self._emit(text, states=False)

    def _closed(self) -> str:
        """The sentence is over: the marker it lacks, where a passage says the same."""
        statement, is_cited = self._statement.strip(), self._is_cited
        self._statement, self._cited_to, self._is_cited = "", 0, False
        if is_cited or not statement or _CLAIMS_NOTHING.search(statement):
            return ""
        found = self._support.matched(statement)
        return "" if found is None else self._marker(found[0], found[1], matched=True)

    def _mark(self, number: int) -> str:
        """The marker of a passage for what stands before it; none where the passage says nothing of that."""
        statement = self._statement[self._cited_to :].strip() or self._statement.strip()
        if statement and self._support.denies(statement.replace(REMOVED, ""), number):
            return ""
        marker = self._marker(number, self._support.span(statement, number), matched=False)
        self._is_cited = True
        return marker

    def _marker(self, number: int, span: Span, *, matched: bool) -> str:
        blank, self._blank = self._blank, ""
        if matched:
            marker = self._put(f" [{number}]")
            self._blank = blank
        else:
            marker = self._put(f"{blank or ' '}[{number}]" if self._length else f"[{number}]")
        start = self._length - len(f"[{number}]")
        self._citations.append(Citation(start, self._length, self._passages[number - 1], span, matched))
        return marker

    def _emit(self, text: str, *, states: bool = True) -> str:
        """Blank space waits for what follows it, and none begins the answer."""
        text = self._blank + text
        kept = text.rstrip()
        self._blank = text[len(kept) :]
        if not self._length:
            kept = kept.lstrip()
        if not kept:
            self._blank = self._blank if self._length else ""
            return ""
        if states:
            self._statement = (self._statement + kept if self._statement else kept.lstrip())[-_REMEMBERED:]
        return self._put(kept)

    def _put(self, text: str) -> str:
        self._pieces.append(text)
        self._length += len(text)
        return text


def cite(text: str, passages: Sequence[Passage]) -> CitedText:
    """The whole of a text that is written already."""
    written = CitedText(passages)
    written.add(text)
    written.end()
    return written
