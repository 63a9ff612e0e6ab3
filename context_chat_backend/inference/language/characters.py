# SPDX-License-Identifier: AGPL-3.0-or-later
"""Whole characters out of pieces of text that servers cut anywhere.

Tokens end in the middle of characters. Some servers then send half of one, as bytes that are no UTF-8 or as one half of
a surrogate pair, and the other half with the next piece.
"""

from __future__ import annotations

import re

_HELD = re.compile("[\ud800-\udfff]+\\Z")
_LONE = re.compile("[\ud800-\udc7f\udd00-\udfff]")
"""Halves of pairs without the other one. Those between stand for bytes (Python's surrogateescape)."""


class WholeCharacters:
    """Joins what belongs together; what has no other half becomes U+FFFD, and NUL goes."""

    def __init__(self) -> None:
        self._held = ""

    def add(self, piece: str) -> str:
        """What is complete with `piece`."""
        text = self._held + piece
        last = _HELD.search(text)
        if last is None:
            self._held = ""
            return text.replace("\0", "") if text.isascii() else _joined(text)
        text, self._held = text[: last.start()], last[0]
        if joined := _complete(self._held):
            text, self._held = text + joined, ""
        return _joined(text)

    def end(self) -> str:
        """What is left when nothing follows."""
        text, self._held = self._held, ""
        return _joined(text)


def _complete(halves: str) -> str:
    """The characters of `halves`, when nothing is missing of them; else nothing."""
    joined = _joined(halves)
    return "" if "\ufffd" in joined else joined


def _joined(text: str) -> str:
    text = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "surrogatepass")
    text = _LONE.sub("\ufffd", text)
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace").replace("\0", "")
