# SPDX-License-Identifier: AGPL-3.0-or-later
"""Markers `[n]` in a model's text become citations; markers of passages that do not exist are taken out."""

from __future__ import annotations

import re
from collections.abc import Sequence

from context_chat_backend.domain import Answer, Citation, Passage

_MARKER = re.compile(r"[ \t]*\[(\d{1,4}(?:\s*[,;]\s*\d{1,4})*)\]")


def cite(text: str, passages: Sequence[Passage]) -> Answer:
    """An answer whose citations are the markers in `text`; `[2, 5]` counts as `[2] [5]`.

    Each marker stands in the answer's text as ` [n]`, where passage n is `passages[n - 1]`.
    """
    pieces: list[str] = []
    citations: list[Citation] = []
    length = 0
    read_to = 0
    for match in _MARKER.finditer(text):
        pieces.append(text[read_to : match.start()])
        length += len(pieces[-1])
        read_to = match.end()
        for number in dict.fromkeys(int(digits) for digits in re.findall(r"\d+", match[1])):
            if not 1 <= number <= len(passages):
                continue
            marker = f" [{number}]"
            pieces.append(marker)
            citations.append(Citation(length + 1, length + len(marker), passages[number - 1]))
            length += len(marker)
    pieces.append(text[read_to:])
    # Blank space at the end goes; at the start it would move every citation.
    return Answer("".join(pieces).rstrip(), tuple(citations))
