# SPDX-License-Identifier: AGPL-3.0-or-later
"""Mails, with what is attached to them."""

from __future__ import annotations

from context_chat_backend.domain import Document, Location, Part
from context_chat_backend.parsing.formats.extraction import extract


def read(content: bytes, kind: str) -> Document:
    """The document in a mail: its head and text, then its attachments as parts. Raises SourceRejected."""
    result = extract(content, kind)
    parts = [Part(result.content)]
    for child in result.children or []:
        parts.append(Part(child.result.content, Location(heading=child.path)))
    return Document(tuple(parts))
