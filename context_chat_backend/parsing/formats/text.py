# SPDX-License-Identifier: AGPL-3.0-or-later
"""Plain text, Markdown and everything else that is text, in whatever encoding it comes."""

from __future__ import annotations

import codecs
from collections import Counter

from context_chat_backend.domain import Document, Reason
from context_chat_backend.errors import SourceRejected
from context_chat_backend.parsing.formats import headings

_MARKED = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
BYTE_ORDER_MARKS = tuple(mark for mark, _ in _MARKED)
"""What text in Unicode may begin with."""

_NATIONAL = (
    "cp1252", "cp1250", "cp1251", "koi8_r", "cp1253", "cp1254", "cp1255", "cp1256", "shift_jis", "euc_jp",
    "gb18030", "big5", "euc_kr",
)  # fmt: skip
"""The encodings that are tried beside Unicode: the rarer ones fit any bytes and win by chance."""
_SAMPLE = 64 * 1024
_MAX_CONTROL_SHARE = 0.02
_FORGIVEN_CONTROLS = 2
_HIGH_BYTES = bytes(range(0x80, 0x100))
_RARE = 20
_ALPHABET_SHARE = 0.8
_MIN_DIFFERENCE = 0.2
_USUAL_CONTROLS = frozenset("\t\n\r\f\v\x1b\x1a\x00")


def read(content: bytes, kind: str) -> Document:
    """The document in a text file. Raises SourceRejected."""
    del kind
    return Document(tuple(headings.parts(decode(content))))


def beginning(content: bytes) -> str | None:
    """The decoded beginning of `content`, None when it is not text in an encoding we know."""
    try:
        sample = _decode(content[:_SAMPLE])
    except UnicodeError:
        return None
    odd = sum(1 for character in sample if character < " " and character not in _USUAL_CONTROLS)
    return sample if odd <= max(_FORGIVEN_CONTROLS, len(sample) * _MAX_CONTROL_SHARE) else None


def decode(content: bytes) -> str:
    """The text of a file in UTF-8, UTF-16 (with and without mark) or a national encoding. Raises SourceRejected."""
    try:
        return _decode(content)
    except UnicodeError:
        raise SourceRejected(Reason.DAMAGED) from None


def _decode(content: bytes) -> str:
    for mark, encoding in _MARKED:
        if content.startswith(mark):
            return content.decode(encoding, "replace")
    if (wide := _wide(content[:_SAMPLE])) is not None:
        return content.decode(wide, "replace")
    try:
        # A sample may end within a character: only there a fault is forgiven.
        return codecs.getincrementaldecoder("utf-8")().decode(content, final=len(content) != _SAMPLE)
    except UnicodeDecodeError as error:
        decoded = content.decode("utf-8", "replace")
        high_bytes = len(content) - len(content.translate(None, _HIGH_BYTES))
        if decoded.count("\ufffd") * _RARE < high_bytes:  # UTF-8 with a few broken characters
            return decoded
        start = max(0, error.start - _SAMPLE // 2)
        return content.decode(_guess(content[start : start + _SAMPLE]), "replace")


def _wide(sample: bytes) -> str | None:
    """The byte order of UTF-16 without its mark, None when it is something else.

    One byte of two names the alphabet, zero for Latin letters and spaces: few values, unlike the other byte.
    """
    if 0 not in sample:
        return None
    high, low = _uniformity(sample[::2]), _uniformity(sample[1::2])
    if max(high, low) < _ALPHABET_SHARE or abs(high - low) < _MIN_DIFFERENCE:
        return None
    return "utf-16-be" if high > low else "utf-16-le"


def _uniformity(bytes_: bytes) -> float:
    """How much of the bytes their two most frequent values make up."""
    return sum(count for _, count in Counter(bytes_).most_common(2)) / max(1, len(bytes_))


def _guess(sample: bytes) -> str:
    """The encoding of bytes that are not UTF-8. Mostly ASCII and no words of any language: Western Europe."""
    from charset_normalizer import from_bytes

    if 0 in sample:
        raise UnicodeError("no text")
    best = from_bytes(sample, cp_isolation=list(_NATIONAL)).best()
    mostly_ascii = sum(byte < 128 for byte in sample) > len(sample) / 2
    if mostly_ascii and (best is None or best.coherence == 0):
        return "cp1252"
    if best is None:
        raise UnicodeError("no known encoding")
    return best.encoding
