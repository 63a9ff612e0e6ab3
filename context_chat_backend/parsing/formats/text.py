# SPDX-License-Identifier: AGPL-3.0-or-later
"""Plain text, Markdown and everything else that is text, in whatever encoding it comes."""

from __future__ import annotations

import codecs
import re
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
_FRONT_MATTER_TITLE = re.compile(r"---\r?\n(?:[^\n]+\n){0,20}?title:[ \t]*([^\n]+)\n", re.IGNORECASE)
_SAMPLE = 64 * 1024
_MAX_CONTROL_SHARE = 0.02
_FORGIVEN_CONTROLS = 2
_HIGH_BYTES = bytes(range(0x80, 0x100))
_RARE = 20
_LONGEST = 4
"""Bytes of a character in UTF-8, at most."""
_ALPHABET_SHARE = 0.8
_MIN_DIFFERENCE = 0.2
_EAST_ASIAN = (("\u3000", "\u30ff"), ("\u4e00", "\u9fff"), ("\uac00", "\ud7a3"), ("\uff00", "\uffef"))
_EAST_ASIAN_SIGNS = {
    "utf-16-le": re.compile(rb"\A(?:..)*?(?:[\x00-\x02]\x30|\x0c\xff|[\n .?]\x00)", re.DOTALL),
    "utf-16-be": re.compile(rb"\A(?:..)*?(?:\x30[\x00-\x02]|\xff\x0c|\x00[\n .?])", re.DOTALL),
}
"""Blanks, commas and full stops: bytes that no text in an encoding of single and double bytes holds, or a zero."""
_ALL_BUT_FEW = 0.97
_MUST_BE_HUNGARIAN = ("\u00f5", "\u00fb"), ("\u00f6", "\u00fc")
"""Letters of cp1252 that no language has beside each other: what is meant are the double acutes of cp1250."""
_USUAL_CONTROLS = frozenset("\t\n\r\f\v\x1b\x1a\x00")


def read(content: bytes, kind: str) -> Document:
    """The document in a text file. Raises SourceRejected."""
    decoded = decode(content)
    title = _FRONT_MATTER_TITLE.match(decoded) if kind == "text" else None
    return Document(tuple(headings.parts(decoded, kind)), title[1].strip("\"' ") if title else None)


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
        is_cut = error.start > len(content) - _LONGEST and "end of data" in error.reason
        if is_cut or decoded.count("\ufffd") * _RARE < high_bytes:  # UTF-8 with a few broken characters
            return decoded
        start = max(0, error.start - _SAMPLE // 2)
        return content.decode(_guess(content[start : start + _SAMPLE]), "replace")


def _wide(sample: bytes) -> str | None:
    """The byte order of UTF-16 without its mark, None when it is something else.

    One byte of two names the alphabet, zero for Latin letters and spaces: few values, unlike the other byte. East
    Asian scripts have no such byte; they are known by characters that are in use, with full stops of their own.
    """
    if 0 in sample:
        high, low = _uniformity(sample[::2]), _uniformity(sample[1::2])
        if max(high, low) >= _ALPHABET_SHARE and abs(high - low) >= _MIN_DIFFERENCE:
            return "utf-16-be" if high > low else "utf-16-le"
    for order in ("utf-16-le", "utf-16-be"):
        if _EAST_ASIAN_SIGNS[order].search(sample) and _is_east_asian(
            sample[: len(sample) & ~1].decode(order, "replace")
        ):
            return order
    return None


def _is_east_asian(text: str) -> bool:
    """Whether nearly all characters are of East Asian scripts, punctuation or ASCII, at least half East Asian."""
    wide = sum(1 for character in text if _is_in(character, _EAST_ASIAN))
    plain = sum(1 for character in text if " " <= character <= "~" or character in "\t\r\n")
    return wide * 2 >= len(text) and wide + plain >= len(text) * _ALL_BUT_FEW


def _is_in(character: str, ranges: tuple[tuple[str, str], ...]) -> bool:
    return any(first <= character <= last for first, last in ranges)


def _uniformity(bytes_: bytes) -> float:
    """How much of the bytes their two most frequent values make up."""
    return sum(count for _, count in Counter(bytes_).most_common(2)) / max(1, len(bytes_))


def _guess(sample: bytes) -> str:
    """The encoding of bytes that are not UTF-8. Mostly ASCII and no words of any language: Western Europe."""
    from charset_normalizer import from_bytes

    if 0 in sample:
        raise UnicodeError("no text")
    matches = from_bytes(sample, cp_isolation=list(_NATIONAL))
    best = matches.best()
    mostly_ascii = sum(byte < 128 for byte in sample) > len(sample) / 2
    if mostly_ascii and (best is None or best.coherence == 0):
        return "cp1252"
    if best is None:
        raise UnicodeError("no known encoding")
    western = next((match for match in matches if match.encoding == "cp1252"), None)
    if western is not None and (western.chaos, -western.coherence) <= (best.chaos, -best.coherence):
        read = str(western)
        if not all(any(letter in read for letter in letters) for letters in _MUST_BE_HUNGARIAN):
            return "cp1252"
    return best.encoding
