# SPDX-License-Identifier: AGPL-3.0-or-later
"""Office formats, books and web pages."""

from __future__ import annotations

from context_chat_backend.domain import Document, Location, Part
from context_chat_backend.parsing.formats import headings
from context_chat_backend.parsing.formats.extraction import extract

_SHEETS = frozenset({"xlsx", "xls", "ods"})
_SLIDES = frozenset({"pptx", "ppt"})


def read(content: bytes, kind: str) -> Document:
    """The document, with slides and headings where the format has them. Raises SourceRejected."""
    result = extract(content, kind, markdown=kind not in _SHEETS)
    title = (result.metadata or {}).get("title")
    if kind in _SLIDES and result.pages:
        slides = [Part(page["content"], Location(slide=page["page_number"])) for page in result.pages]
        return Document(tuple(slides), title)
    parts = list(headings.parts(result.content))
    if title and title not in result.content:
        parts.insert(0, Part(title))
    return Document(tuple(parts), title)
