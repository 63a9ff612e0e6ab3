# SPDX-License-Identifier: AGPL-3.0-or-later
"""PDF, page by page."""

from __future__ import annotations

from context_chat_backend.domain import Document, Location, Part
from context_chat_backend.parsing.formats.extraction import extract


def read(content: bytes, kind: str) -> Document:
    """The document in a PDF file; pages without text (scans) give nothing. Raises SourceRejected."""
    result = extract(content, kind)
    pages = result.pages or []
    parts = [Part(page["content"], Location(page=page["page_number"])) for page in pages]
    return Document(tuple(parts) or (Part(result.content),))
