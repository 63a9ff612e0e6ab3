# SPDX-License-Identifier: AGPL-3.0-or-later
"""Bytes become a document: what a parser process does with one file."""

from __future__ import annotations

import contextlib
import re
from dataclasses import replace

from context_chat_backend.domain import Document, Reason
from context_chat_backend.errors import SourceRejected
from context_chat_backend.parsing import limits

_LINE_ENDS = re.compile(r"\r\n?|[\x0b\x0c\x85\u2028\u2029]")
_CONTROLS = re.compile(r"[\x00-\x08\x0e-\x1f\x7f-\x9f\ufeff\ufffe\uffff\ud800-\udfff]")

_SMALLEST_PDF = (
    b"%PDF-1.4\n1 0 obj<</Type/Catalog/Pages 2 0 R>>endobj 2 0 obj<</Type/Pages/Kids[3 0 R]/Count 1>>endobj "
    b"3 0 obj<</Type/Page/Parent 2 0 R/MediaBox[0 0 9 9]>>endobj\ntrailer<</Root 1 0 R>>\n%%EOF\n"
)


def parse(content: bytes, media_type: str) -> Document:
    """The document in the bytes of a file, without NUL and control characters and without blank parts.

    Raises SourceRejected.
    """
    from context_chat_backend.parsing import registry

    document = registry.read(content, media_type)
    parts = [replace(part, text=_clean(part.text)) for part in document.parts]
    parts = [part for part in parts if part.text.strip()]
    if not parts:
        raise SourceRejected(Reason.EMPTY)
    cleaned = replace(document, parts=tuple(parts))
    limits.check_document(cleaned)
    return cleaned


def prepare() -> None:
    """Load what loads only when it is first used, and writes to a disk as it does so: the libraries behind PDF, OCR."""
    import kreuzberg

    from context_chat_backend.parsing import registry

    kreuzberg.list_ocr_backends()

    with contextlib.suppress(SourceRejected):
        registry.read(_SMALLEST_PDF, "application/pdf")


def _clean(text: str) -> str:
    """Lines end with a line feed; NUL, control characters and halves of characters are gone."""
    return _CONTROLS.sub("", _LINE_ENDS.sub("\n", text))
