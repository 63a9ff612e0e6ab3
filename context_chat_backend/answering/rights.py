# SPDX-License-Identifier: AGPL-3.0-or-later
"""Rights at the moment of the answer: what the source says its user cannot see is not used, whatever is indexed."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Protocol

from context_chat_backend.domain import Passage, SourceRef
from context_chat_backend.steps import Step, step


class Sight(Protocol):
    """What one user sees now."""

    async def hidden(self, titles: Mapping[SourceRef, str]) -> Collection[SourceRef]:
        """Those of the sources, given with their titles, that he does not see; none where nobody can tell."""
        ...


async def seen(passages: Sequence[Passage], sight: Sight) -> list[Passage]:
    """The passages whose sources are seen; a hidden one gives its place to a seen one that says the same."""
    titles = {one.source: one.title for passage in passages for one in (passage, *passage.duplicates)}
    if not titles:
        return []
    with step(Step.RECHECK):
        hidden = frozenset(await sight.hidden(titles))
    return [kept for passage in passages for kept in _kept(passage, hidden)]


def _kept(passage: Passage, hidden: frozenset[SourceRef]) -> Iterator[Passage]:
    left = [one for one in (passage, *passage.duplicates) if one.source not in hidden]
    if left:
        yield replace(left[0], duplicates=tuple(left[1:]))
