# SPDX-License-Identifier: AGPL-3.0-or-later
"""Plain text, Markdown and everything else that is text, in whatever encoding it comes."""

from __future__ import annotations

import codecs

from context_chat_backend.domain import Document, Reason
from context_chat_backend.errors import SourceRejected
from context_chat_backend.parsing.formats import headings

_BYTE_ORDER_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_SAMPLE = 64 * 1024
_MAX_CONTROL_SHARE = 0.02
_FORGIVEN_CONTROLS = 2
_MIN_ZERO_SHARE = 0.3
_USUAL_CONTROLS = frozenset("\t\n\r\f\v\x1b\x00")


def read(content: bytes, kind: str) -> Document:
    """The document in a text file. Raises SourceRejected."""
    del kind
    return Document(tuple(headings.parts(decode(content))))


def is_text(content: bytes) -> bool:
    """Whether `content` is text in some encoding we know."""
    try:
        sample = _decode(content[:_SAMPLE])
    except UnicodeError:
        return False
    odd = sum(1 for character in sample if character < " " and character not in _USUAL_CONTROLS)
    return odd <= max(_FORGIVEN_CONTROLS, len(sample) * _MAX_CONTROL_SHARE)


def decode(content: bytes) -> str:
    """The text of a file in UTF-8, UTF-16 (with and without mark) or a national encoding. Raises SourceRejected."""
    try:
        return _decode(content)
    except UnicodeError:
        raise SourceRejected(Reason.DAMAGED) from None


def _decode(content: bytes) -> str:
    for mark, encoding in _BYTE_ORDER_MARKS:
        if content.startswith(mark):
            return content.decode(encoding, "replace")
    if (zeros := content[:_SAMPLE].count(0)) > len(content[:_SAMPLE]) * _MIN_ZERO_SHARE:
        even = content[:_SAMPLE:2].count(0)  # Latin letters in UTF-16: every second byte is zero
        return content.decode("utf-16-be" if even > zeros / 2 else "utf-16-le", "replace")
    try:
        # A sample may end within a character: only there a fault is forgiven.
        return codecs.getincrementaldecoder("utf-8")().decode(content, final=len(content) != _SAMPLE)
    except UnicodeDecodeError:
        return _guess(content)


def _guess(content: bytes) -> str:
    from charset_normalizer import from_bytes

    best = from_bytes(content[:_SAMPLE]).best()
    if best is None:
        raise UnicodeError("no known encoding")
    return content.decode(best.encoding, "replace")
