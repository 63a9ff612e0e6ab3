# SPDX-License-Identifier: AGPL-3.0-or-later
"""What a model thinks before it answers: shown beside the answer, and as harmless as it."""

from __future__ import annotations

from collections.abc import Iterator

from context_chat_backend.answering.guardrails import harmless
from context_chat_backend.answering.secrecy import Discreet
from context_chat_backend.domain import Reasoning


class Thoughts:
    """Thoughts line by line, since an address in them shows only when it is whole. None of them is cited: all go."""

    def __init__(self, discreet: Discreet) -> None:
        self._discreet = discreet
        self._held = ""

    def add(self, piece: str) -> Iterator[Reasoning]:
        """What is complete with `piece`."""
        whole, line_end, self._held = (self._held + self._discreet.add(piece)).rpartition("\n")
        if line_end:
            yield from _shown(whole + line_end)

    def end(self) -> Iterator[Reasoning]:
        """What was held back."""
        rest, self._held = self._held + self._discreet.end(), ""
        yield from _shown(rest)


def _shown(text: str) -> Iterator[Reasoning]:
    if shown := harmless(text, ()):
        yield Reasoning(shown)
