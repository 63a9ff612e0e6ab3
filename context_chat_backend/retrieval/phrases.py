# SPDX-License-Identifier: AGPL-3.0-or-later
"""What a question puts in quotation marks is meant letter by letter: passages that hold it come first."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

from context_chat_backend.domain import Passage

_QUOTED = re.compile(r"\"([^\"]{3,200})\"|“([^“”]{3,200})”|„([^„“”]{3,200})[“”]|«([^«»]{3,200})»|「([^「」]{2,200})」")


def phrases(question: str) -> tuple[str, ...]:
    """The phrases a question quotes, without the quotation marks."""
    found = (next(filter(None, match.groups())) for match in _QUOTED.finditer(question))
    return tuple(phrase for phrase in map(_plain, found) if phrase)


def holders_first(passages: Sequence[Passage], quoted: Sequence[str]) -> list[Passage]:
    """The passages, those first that hold the most of the phrases; otherwise in their order."""
    if not quoted:
        return list(passages)

    def missing(passage: Passage) -> int:
        text = _plain(f"{passage.title}\n{passage.text}")
        return sum(phrase not in text for phrase in quoted)

    return sorted(passages, key=missing)


def _plain(text: str) -> str:
    """Blank space, case and ways to write the same letter do not count."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())
