# SPDX-License-Identifier: AGPL-3.0-or-later
"""A document becomes chunks: continuous pieces that end, where they can, with a paragraph, a sentence or a word."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby

from context_chat_backend.domain import Chunk, Document
from context_chat_backend.language import detect

_ENDS = ("\n\n", "\n", ". ", "? ", "! ", "。", "; ", ", ", " ")
"""Where a chunk may end, best first."""

_TELLING_CHARACTERS = 40
"""Of shorter texts the language is a guess: 'Wo? Ja.' passes for Italian."""


def split(document: Document, *, max_characters: int = 1000, overlap_characters: int = 100) -> tuple[Chunk, ...]:
    """The chunks of a document, each of at most `max_characters`, in reading order.

    Neighbours share up to `overlap_characters`, so that a sentence at a border is whole in one of them. Every character
    that is not blank is in some chunk; no chunk is blank; none crosses the border of a location (page, sheet,
    heading). A chunk that is short, or whose language is uncertain, has the document's: that of its longest part.
    """
    language = detect(max((part.text for part in document.parts), key=len, default=""))
    chunks: list[Chunk] = []
    for location, parts in groupby(document.parts, key=lambda part: part.location):
        text = "\n\n".join(part.text.strip() for part in parts)
        for piece in _pieces(text, max_characters, overlap_characters):
            own = detect(piece, otherwise=language) if len(piece) >= _TELLING_CHARACTERS else language
            chunks.append(Chunk(len(chunks), piece, location, own))
    return tuple(chunks)


def _pieces(text: str, max_characters: int, overlap_characters: int) -> Iterator[str]:
    start = 0
    while start < len(text):
        end = _end(text, start, max_characters)
        if piece := text[start:end].strip():
            yield piece
        start = end if end == len(text) else _start(text, start, end, overlap_characters)


def _end(text: str, start: int, max_characters: int) -> int:
    """Where the piece that begins at `start` ends: at the best border in its second half."""
    limit = start + max_characters
    if limit >= len(text):
        return len(text)
    for border in _ENDS:
        found = text.rfind(border, start + max_characters // 2, limit)
        if found >= 0:
            return found + len(border)
    return limit


def _start(text: str, start: int, end: int, overlap_characters: int) -> int:
    """Where the next piece begins: a sentence or a word before `end`, never at or before `start`."""
    earliest = max(end - overlap_characters, start + 1)
    for border in (". ", "\n", " "):
        found = text.find(border, earliest, end - 1)
        if found >= 0:
            return found + len(border)
    return end
