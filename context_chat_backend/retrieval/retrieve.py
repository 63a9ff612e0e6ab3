# SPDX-License-Identifier: AGPL-3.0-or-later
"""From a question to the passages that answer it: embed, search, collapse, re-rank, take turns, cut; later join."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from context_chat_backend.domain import FoundSource, Neighbour, Passage, Principal, Question, SourceRef
from context_chat_backend.errors import ModelUnavailable, SpaceGone
from context_chat_backend.language import detect
from context_chat_backend.logs import get_logger
from context_chat_backend.metrics import MODEL_FAILURES
from context_chat_backend.ports import Reranker
from context_chat_backend.retrieval.choosing import chosen
from context_chat_backend.retrieval.diversity import asks_for_several, take_turns
from context_chat_backend.retrieval.duplicates import collapse
from context_chat_backend.retrieval.joining import join
from context_chat_backend.retrieval.phrases import holders_first, phrases
from context_chat_backend.retrieval.reranking import RERANKED, rerank
from context_chat_backend.spaces import SpaceInUse, SpacesInUse
from context_chat_backend.steps import Step, step
from context_chat_backend.store.neighbours import Neighbours
from context_chat_backend.store.search import Search, Weights

_PASSAGES_PER_SOURCE = 4
"""How many passages are looked at for each source wanted: a long document may have several good ones."""
_MAX_PASSAGES = 400
_SPARE = 2
"""So many times the passages wanted are fetched, for those that collapse."""
_WIDER = 4
"""So many times more are fetched when too few are left."""
_OF_A_SHORT_SOURCE = 50
"""So many chunks are read on both sides."""
_log = get_logger(__name__)
T = TypeVar("T")

NATIVE = Weights()
FOREIGN = Weights(meaning=0.5)
"""In a language the model was not trained for, nearness is a weak witness: words lead."""


@dataclass(frozen=True, slots=True)
class Shaping:
    """What is done with the passages of a search; each can be switched off to measure it."""

    collapse: bool = True
    turns: bool = True
    """Whether sources take turns when a question asks for several."""
    join: bool = True
    around: int = 0
    """So many unseen chunks before and after each passage are joined to it."""


class Retriever:
    """Finds what an asker may read."""

    def __init__(
        self,
        spaces: SpacesInUse,
        search: Search,
        reranker: Reranker,
        neighbours: Neighbours,
        shaping: Shaping = Shaping(),
    ) -> None:
        self._spaces = spaces
        self._search = search
        self._reranker = reranker
        self._neighbours = neighbours
        self._shaping = shaping

    async def passages(self, question: Question, weights: Weights | None = None) -> list[Passage]:
        """At most `question.limit` passages, best first; without `weights` the language of the question decides them.

        Of near-duplicates the first is returned and carries the others. Raises DatabaseUnavailable.
        """
        return await self._in_one_space(lambda space: self._passages(question, weights, space))

    async def _passages(self, question: Question, weights: Weights | None, space: SpaceInUse) -> list[Passage]:
        vector = await _vector(question, space)
        weights = weights or _weights(question.text, space)
        most = max(_MAX_PASSAGES, question.limit)
        wanted = question.limit if question.choice is None else question.choice.looked_at
        fetched = min(max(_SPARE * wanted, RERANKED), most)
        while True:
            with step(Step.SEARCH):
                found = await self._search.passages(replace(question, limit=fetched), vector, space.stored, weights)
            distinct = collapse(found) if self._shaping.collapse else found
            if len(distinct) >= wanted or len(found) < fetched or fetched == most:
                break
            fetched = min(_WIDER * fetched, most)
        if question.choice is not None:
            distinct = chosen(distinct, question.choice)
        ranked = await self._ranked(question, distinct)
        if self._shaping.turns and asks_for_several(question.text):
            ranked = take_turns(ranked)
        return ranked[: question.limit]

    async def joined(self, asker: Principal, passages: Sequence[Passage]) -> list[Passage]:
        """The passages as a model is to read them: what stands side by side in a source is one. DatabaseUnavailable."""
        if not self._shaping.join or not passages:
            return list(passages)
        around = self._shaping.around
        if not around and all(passage.ordinal is not None for passage in passages):
            return join(passages, [_itself(passage) for passage in passages])
        ids = [passage.chunk_id for passage in passages]
        return join(passages, await self._neighbours.around(asker, ids, before=around, after=around))

    async def whole(self, asker: Principal, passage: Passage) -> str:
        """The text of a short source, of which a passage was found. Raises DatabaseUnavailable."""
        chunks = await self._neighbours.around(
            asker, [passage.chunk_id], before=_OF_A_SHORT_SOURCE, after=_OF_A_SHORT_SOURCE
        )
        return join([passage], chunks)[0].text if chunks else passage.text

    async def lost(self, asker: Principal, passages: Sequence[Passage]) -> set[SourceRef]:
        """Sources of passages that were found before and may not be read any more. Raises DatabaseUnavailable."""
        sources = {passage.source for passage in passages}
        return sources - await self._search.readable(asker, sources) if sources else set()

    async def sources(self, question: Question, weights: Weights | None = None) -> list[FoundSource]:
        """At most `question.limit` sources, best first, each once; `weights` as above. Raises DatabaseUnavailable.

        Copies are not collapsed here: another source with the same text is another thing to open.
        """
        return await self._in_one_space(lambda space: self._sources(question, weights, space))

    async def _sources(self, question: Question, weights: Weights | None, space: SpaceInUse) -> list[FoundSource]:
        wanted = min(question.limit * _PASSAGES_PER_SOURCE, _MAX_PASSAGES)
        vector = await _vector(question, space)
        weights = weights or _weights(question.text, space)
        with step(Step.SEARCH):
            passages = await self._search.passages(replace(question, limit=wanted), vector, space.stored, weights)
        found: dict[str, FoundSource] = {}
        for passage in await self._ranked(question, passages):
            source = FoundSource(passage.source, passage.title, passage.similarity)
            found.setdefault(str(passage.source), source)
        return list(found.values())[: question.limit]

    async def _ranked(self, question: Question, passages: Sequence[Passage]) -> list[Passage]:
        with step(Step.RERANK):
            ranked = await rerank(self._reranker, question.text, passages)
        return holders_first(ranked, phrases(question.text))

    async def _in_one_space(self, search: Callable[[SpaceInUse], Awaitable[T]]) -> T:
        """Ask the space that answers; one result never mixes two. Once more when it was dropped since we looked."""
        try:
            return await search(self._spaces.answering)
        except SpaceGone:
            await self._spaces.refresh()
            return await search(self._spaces.answering)


def _itself(passage: Passage) -> Neighbour:
    return Neighbour(passage.source, passage.chunk_id, passage.ordinal or 0, passage.location, passage.text)


async def _vector(question: Question, space: SpaceInUse) -> NDArray[np.float32] | None:
    """The question in the space that is searched; None while its model is not there, when words alone must do."""
    if space.embedder is None:
        return None
    try:
        with step(Step.EMBED_QUESTION):
            return await space.embedder.embed_question(question.text)
    except ModelUnavailable as error:
        MODEL_FAILURES.labels("embedding").inc()
        _log.warning("search_by_words_alone", reason=str(error))
        return None


def _weights(text: str, space: SpaceInUse) -> Weights:
    native = space.stored.space.languages
    return NATIVE if not native or detect(text) in native else FOREIGN
