# SPDX-License-Identifier: AGPL-3.0-or-later
"""Passages that are put before what a model is asked, when the caller wants them and may read them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from context_chat_backend.answering.prompt import quoted
from context_chat_backend.answering.relevance import relevant
from context_chat_backend.completing.editing import estimated, quoted_code
from context_chat_backend.completing.templates import Template
from context_chat_backend.domain import EVERYTHING, Passage, Question, Scope
from context_chat_backend.web.callers import Caller
from context_chat_backend.web.chat_wire import Retrieval
from context_chat_backend.web.envelope import ApiError
from context_chat_backend.web.given import PROVIDER
from context_chat_backend.web.guarding import still_allowed
from context_chat_backend.web.scopes import scope_of
from context_chat_backend.web.sources import Names, sources_of
from context_chat_backend.wiring import Backend

LEAST_SHARE, LARGEST_SHARE = 50, 4096
"""Tokens that passages may take."""
_COUNT = 4


@dataclass(frozen=True)
class Gathered:
    """What was found, best first, and where it was looked for."""

    passages: tuple[Passage, ...] = ()
    scope: Scope | None = None
    names: Names | None = None
    """What the caller calls passages of his own."""

    def in_words(self, tokens: int) -> str:
        """As many as fit, as a language model reads them; empty where there are none."""
        kept: list[Passage] = []
        for passage in self.passages:
            tokens -= estimated(passage.text) + estimated(passage.title) + 20
            if tokens >= 0:
                kept.append(passage)
        return quoted(kept) if kept else ""

    def in_code(self, template: Template, tokens: int) -> str:
        """The same before code."""
        return quoted_code(self.passages, template, tokens)

    async def check(self, backend: Backend, caller: Caller) -> None:
        """Raise ApiError when the answer may not be given any more.

        The key may have been revoked meanwhile (401), a collection deleted (404), or the caller has lost one of the
        sources it was written from (403). Raises DatabaseUnavailable where nobody can tell.
        """
        if (reason := await still_allowed(backend, caller, self.scope)()) is not None:
            raise reason
        found = [one for one in self.passages if one.source.provider != PROVIDER]
        if found and await backend.lost(caller.asker, found):
            raise ApiError(403, "source_lost", "a source of this answer may not be read any more")

    @property
    def sources(self) -> list[dict[str, Any]]:
        """Each source once, best first."""
        return sources_of(self.passages, self.names or {})


def share_of(context_tokens: int, wanted: int = 0) -> int:
    """How many tokens passages may take of a context; `wanted` of them, where that is not 0."""
    return min(max(wanted or context_tokens // 2, LEAST_SHARE), LARGEST_SHARE, context_tokens // 2)


async def gathered(
    backend: Backend,
    caller: Caller,
    text: str,
    wanted: bool | Retrieval | None,
    *,
    given: tuple[Passage, ...] = (),
    names: Names | None = None,
) -> Gathered:
    """Passages for `text` out of what the caller may read, behind those he brings. Raises ApiError (400, 403)."""
    if not wanted:
        return Gathered(given, None, names)
    if not backend.config.gateway.retrieval:
        raise ApiError(400, "invalid_value", "retrieval: it is switched off here", param="retrieval")
    told = wanted if isinstance(wanted, Retrieval) else None
    scope = await scope_of(backend, caller, None if told is None else told.collections)
    limit = _COUNT if told is None or "top_k" not in told.model_fields_set else told.top_k
    question = Question(text[-2000:], caller.asker, scope, limit)
    found = relevant(question, await backend.find_passages(question)) if text.strip() else []
    return Gathered((*given, *found), scope if scope != EVERYTHING else None, names)
