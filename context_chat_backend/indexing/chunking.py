# SPDX-License-Identifier: AGPL-3.0-or-later
"""A document becomes chunks: continuous pieces, measured in tokens of the embedding model.

A chunk ends, where it can, with a paragraph, else with a sentence or a row of a table. A sentence or a row is cut only
when it does not fit by itself, then after a comma or a word, and a word only when nothing else is left. The pieces of a
text are about equally long, so that none is left over at its end.
"""

from __future__ import annotations

import re
import unicodedata
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Sequence
from itertools import groupby

from context_chat_backend import sentences
from context_chat_backend.domain import Chunk, Document, Location, Part
from context_chat_backend.language import detect

TokenStarts = Callable[[str], Sequence[int]]
"""The offsets at which the tokens of a text begin: ports.Embedder.token_starts."""

MAX_HEADER_CHARACTERS = 100
"""Of a file name and of a heading in what is embedded."""

_PARAGRAPH = re.compile(r"\n[^\S\n]*\n\s*")
_LINE = re.compile(r"\n\s*")
_BLANK = re.compile(r"\s+")
_CLAUSE = re.compile(r"[,;:]\s+|[，、；：]")
_MAX_CHARACTERS_PER_TOKEN = 10
"""On average: blanks cost no tokens, and to some models a word that is too long is a single one."""
_TELLING_CHARACTERS = 40
"""Of shorter texts the language is a guess: 'Wo? Ja.' passes for Italian."""
_BETWEEN_PARTS = "\n\n"
_JOINERS = "\u200d\ufe0e\ufe0f"
_MAX_CLUSTER = 16
"""Characters that are drawn as one; more accents on a letter are no language."""


def header(title: str, location: Location) -> str:
    """What is embedded before the text of a chunk: file name and heading (ruling 9)."""
    lines = (title.rsplit("/", 1)[-1], location.heading or "")
    return "\n".join(line[:MAX_HEADER_CHARACTERS] for line in lines if line)


def split(
    document: Document, title: str, token_starts: TokenStarts, *, max_tokens: int, overlap_tokens: int
) -> tuple[Chunk, ...]:
    """The chunks of a document, each with its header of at most `max_tokens`, in reading order.

    `title` is that of the source. Neighbours share whole sentences or rows of at most `overlap_tokens`. However long
    the header is, the text of a chunk may have half of `max_tokens`. Every character that is not blank is in some
    chunk; no chunk is blank; none crosses the border of a location (page, sheet, heading). A chunk that is short, or
    whose language is uncertain, has the document's: that of its longest part. Raises what `token_starts` raises.
    """
    language = detect(max((part.text for part in document.parts), key=len, default=""))
    chunks: list[Chunk] = []
    for location, parts in groupby(document.parts, key=lambda part: part.location):
        before = header(title, location)
        room = max(max_tokens - len(token_starts(f"{before}\n")), max_tokens // 2, 1)
        for piece in _Pieces(list(parts), token_starts, room, min(overlap_tokens, room // 2)):
            own = detect(piece, otherwise=language) if len(piece) >= _TELLING_CHARACTERS else language
            chunks.append(Chunk(len(chunks), piece, location, own))
    return tuple(chunks)


class _Pieces:
    """The pieces of parts that have one location."""

    def __init__(self, parts: Sequence[Part], token_starts: TokenStarts, room: int, overlap: int) -> None:
        """`room` is how many tokens a piece may have, `overlap` how many of them two pieces may share."""
        self._text, self._paragraphs, self._units = _joined(parts)
        self._tokens = token_starts(self._text)
        self._token_starts = token_starts
        self._room = room
        self._overlap = overlap

    def __iter__(self) -> Iterator[str]:
        start = 0
        while start < len(self._text):
            end = self._measured(start, self._end(start))
            if piece := self._text[start:end].strip():
                yield piece
            start = end if end == len(self._text) else self._next_start(start, end)

    def _end(self, start: int) -> int:
        """Where the piece that begins at `start` ends."""
        first = bisect_left(self._tokens, start)
        limit = min(self._offset(first + self._room), start + self._room * _MAX_CHARACTERS_PER_TOKEN)
        if limit >= len(self._text):
            return len(self._text)
        wanted = self._wanted(len(self._tokens) - first)
        target, least = self._offset(first + wanted), self._offset(first + wanted // 2)
        for borders in (self._paragraphs, self._units):
            inside = borders[bisect_right(borders, least) : bisect_right(borders, limit)]
            if inside:
                return _nearest(inside, target)
        earlier = bisect_right(self._units, limit) - 1
        if earlier >= 0 and self._units[earlier] > start:
            return self._units[earlier]  # what follows is long, and fits into a piece of its own where it can
        return self._cut(start, least, target, limit)

    def _wanted(self, tokens: int) -> int:
        """How long a piece should be, so that `tokens` tokens make pieces of the same length."""
        step = self._room - self._overlap
        pieces = max(1, -(-(tokens - self._overlap) // step))
        return min(self._room, -(-(tokens - self._overlap) // pieces) + self._overlap)

    def _cut(self, start: int, least: int, target: int, limit: int) -> int:
        """The end of a piece inside a sentence or a row: at a line, a comma or a word where there is one."""
        for border, earliest in ((_LINE, least), (_CLAUSE, least), (_BLANK, start + 1)):
            ends = [found.end() for found in border.finditer(self._text, earliest, limit)]
            if ends:
                return _nearest(ends, target)
        end = min(target, limit)
        while end > max(start + 1, target - _MAX_CLUSTER) and _belongs_to_what_is_before(self._text, end):
            end -= 1
        return end

    def _measured(self, start: int, end: int) -> int:
        """`end`, or less of the text when a border inside a word made tokens of it that the whole text has not."""
        if _is_between_words(self._text, start) and _is_between_words(self._text, end):
            return end
        while end > start + 1 and (count := len(self._token_starts(self._text[start:end].strip()))) > self._room:
            end = start + max(1, min(end - start - 1, (end - start) * self._room // count))
        return end

    def _next_start(self, start: int, end: int) -> int:
        """Where the next piece begins: with a sentence or a row that ends the piece before, as far as both fit."""
        first, last = bisect_left(self._tokens, start), bisect_left(self._tokens, end)
        earliest = self._offset(max(last - self._overlap, first + 1))
        unit = bisect_left(self._units, end)
        if unit < len(self._units) and self._units[unit] == end:
            following = self._units[unit + 1] if unit + 1 < len(self._units) else len(self._text)
            room_from = self._offset(bisect_left(self._tokens, following) - self._room)
            shared = bisect_left(self._units, max(earliest, room_from))
            return self._units[shared] if shared < unit else end
        found = _BLANK.search(self._text, earliest, end)
        return found.end() if found is not None and found.end() < end else end

    def _offset(self, token: int) -> int:
        """Where a token begins."""
        if token >= len(self._tokens):
            return len(self._text)
        return int(self._tokens[max(0, token)])


def _joined(parts: Sequence[Part]) -> tuple[str, list[int], list[int]]:
    """The text of the parts, with the offsets at which its paragraphs and its sentences and rows begin."""
    texts: list[str] = []
    paragraphs: list[int] = []
    units: list[int] = []
    offset = 0
    for part in parts:
        text = part.text.strip()
        if not text:
            continue
        paragraphs.append(offset)
        if part.rows:
            begins = [0, *(found.end() for found in _LINE.finditer(text))]
        else:
            paragraphs.extend(offset + found.end() for found in _PARAGRAPH.finditer(text))
            begins = [begin for begin in sentences.starts(text) if not _goes_on(text, begin)]
        units.extend(offset + begin for begin in begins)
        texts.append(text)
        offset += len(text) + len(_BETWEEN_PARTS)
    return _BETWEEN_PARTS.join(texts), paragraphs, units


def _nearest(offsets: Sequence[int], target: int) -> int:
    return min(offsets, key=lambda offset: abs(offset - target))


def _goes_on(text: str, begin: int) -> bool:
    """Whether a line that begins with a small letter continues the one before."""
    return text[begin : begin + 1].islower() and text[begin - 1 : begin] == "\n" and text[begin - 2 : begin - 1] != "\n"


def _is_between_words(text: str, offset: int) -> bool:
    return not 0 < offset < len(text) or text[offset - 1].isspace() or text[offset].isspace()


def _belongs_to_what_is_before(text: str, offset: int) -> bool:
    """Whether the character at `offset` is drawn together with the one before it: accents, parts of an emoji."""
    character = text[offset]
    return unicodedata.combining(character) != 0 or character in _JOINERS or text[offset - 1] == "\u200d"
