# SPDX-License-Identifier: AGPL-3.0-or-later
"""Bytes become a document: what a parser process does with one file."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

from context_chat_backend.domain import Document, Reason
from context_chat_backend.errors import SourceRejected

MAX_CHARACTERS = 20_000_000
"""More text than this is a dump, not a document."""

_LINE_ENDS = re.compile(r"\r\n?|[\x0b\x0c\x85\u2028\u2029]")
_CONTROLS = re.compile(r"[\x00-\x08\x0e-\x1f\x7f-\x9f\ufeff\ufffe\uffff\ud800-\udfff]")


def parse(content: Path, media_type: str) -> Document:
    """The document in the file `content`, without NUL and control characters and without blank parts.

    Raises SourceRejected.
    """
    from context_chat_backend.parsing import registry

    document = registry.read(content.read_bytes(), media_type)
    parts = [replace(part, text=_clean(part.text)) for part in document.parts]
    parts = [part for part in parts if part.text.strip()]
    if not parts:
        raise SourceRejected(Reason.EMPTY)
    if sum(len(part.text) for part in parts) > MAX_CHARACTERS:
        raise SourceRejected(Reason.TOO_MUCH_TEXT)
    return Document(tuple(parts), document.title, document.parser)


def _clean(text: str) -> str:
    """Lines end with a line feed; NUL, control characters and halves of characters are gone."""
    return _CONTROLS.sub("", _LINE_ENDS.sub("\n", text))
