# SPDX-License-Identifier: AGPL-3.0-or-later
"""From a question to the passages that answer it: embed, search, and for a search of sources, one line for each."""

from __future__ import annotations

from dataclasses import replace

from context_chat_backend.domain import FoundSource, Passage, Question
from context_chat_backend.language import detect
from context_chat_backend.ports import Embedder
from context_chat_backend.store.search import Search, Weights
from context_chat_backend.store.spaces import StoredSpace

_PASSAGES_PER_SOURCE = 4
"""How many passages are looked at for each source wanted: a long document may have several good ones."""
_MAX_PASSAGES = 400

NATIVE = Weights()
FOREIGN = Weights(meaning=0.3)
"""In a language the model was not trained for, nearness is a weak witness: words lead."""


class Retriever:
    """Finds what an asker may read."""

    def __init__(self, embedder: Embedder, search: Search, space: StoredSpace) -> None:
        self._embedder = embedder
        self._search = search
        self._space = space

    async def passages(self, question: Question, weights: Weights | None = None) -> list[Passage]:
        """At most `question.limit` passages, best first; without `weights` the language of the question decides them.

        Raises ModelUnavailable, DatabaseUnavailable.
        """
        vector = await self._embedder.embed_question(question.text)
        weights = weights or self._weights(question.text)
        return await self._search.passages(question, vector, self._space, weights)

    async def sources(self, question: Question) -> list[FoundSource]:
        """At most `question.limit` sources, best first, each once. Raises ModelUnavailable, DatabaseUnavailable."""
        wanted = min(question.limit * _PASSAGES_PER_SOURCE, _MAX_PASSAGES)
        found: dict[str, FoundSource] = {}
        for passage in await self.passages(replace(question, limit=wanted)):
            source = FoundSource(passage.source, passage.title, passage.similarity)
            found.setdefault(str(passage.source), source)
        return list(found.values())[: question.limit]

    def _weights(self, text: str) -> Weights:
        native = self._space.space.languages
        return NATIVE if not native or detect(text) in native else FOREIGN
