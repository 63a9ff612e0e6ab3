# SPDX-License-Identifier: AGPL-3.0-or-later
"""Bytes become a document: what a parser process does with one file."""

from __future__ import annotations

import re
from pathlib import Path

from context_chat_backend.domain import Document, Part, Reason
from context_chat_backend.errors import SourceRejected

MAX_CHARACTERS = 20_000_000
"""More text than this is a dump, not a document."""

_CONTROLS = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ufffe\uffff\ud800-\udfff]")


def parse(content: Path, media_type: str) -> Document:
    """The document in the file `content`, without NUL and control characters and without blank parts.

    Raises SourceRejected.
    """
    from context_chat_backend.parsing import registry

    document = registry.read(content.read_bytes(), media_type)
    parts = [Part(_CONTROLS.sub("", part.text.replace("\r\n", "\n")), part.location) for part in document.parts]
    parts = [part for part in parts if part.text.strip()]
    if not parts:
        raise SourceRejected(Reason.EMPTY)
    if sum(len(part.text) for part in parts) > MAX_CHARACTERS:
        raise SourceRejected(Reason.TOO_MUCH_TEXT)
    return Document(tuple(parts), document.title)
