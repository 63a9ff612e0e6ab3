# SPDX-License-Identifier: AGPL-3.0-or-later
"""PDF, page by page; pages without text, such as scans, are read as pictures."""

from __future__ import annotations

from context_chat_backend.domain import Document, Location, Part
from context_chat_backend.errors import SourceRejected
from context_chat_backend.parsing.formats import recognition
from context_chat_backend.parsing.formats.extraction import extract
from context_chat_backend.parsing.formats.outline import document

_PICTURE = (b"/Image", b"/ObjStm")
"""Without one of these no page shows a picture; within streams of objects it cannot be told."""


def read(content: bytes, kind: str) -> Document:
    """The document in a PDF file. Raises SourceRejected."""
    result = extract(content, kind)
    parts = {page["page_number"]: Part(page["content"], Location(page=page["page_number"])) for page in result.pages}
    blank = [number for number, part in parts.items() if not part.text.strip()]
    if blank and any(mark in content for mark in _PICTURE):
        try:
            parts |= {part.location.page: part for part in recognition.read_pages(content, blank) if part.location.page}
        except SourceRejected:
            if len(blank) == len(parts):  # else what can be read is better than nothing
                raise
    return document(list(parts.values()) or [Part(result.content)], result.title)
