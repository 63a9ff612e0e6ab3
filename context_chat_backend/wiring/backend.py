# SPDX-License-Identifier: AGPL-3.0-or-later
"""What entry points ask of the program."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from functools import partial

from context_chat_backend.answering.memory import Asking, Place
from context_chat_backend.answering.nothing import nothing_found
from context_chat_backend.answering.observing import observed, observed_search, whole
from context_chat_backend.answering.rights import Sight
from context_chat_backend.domain import (
    Answer,
    AnswerEvent,
    EmbeddingSpace,
    FoundSource,
    Passage,
    Principal,
    Question,
    Scope,
    SourceRef,
)
from context_chat_backend.errors import ModelFailure, ModelUnavailable
from context_chat_backend.indexing.urgency import wait_for_scope
from context_chat_backend.inference.language.separate import SeparateLanguageModel
from context_chat_backend.parsing.formats import recognition
from context_chat_backend.ports import Vectors
from context_chat_backend.steps import Step, step
from context_chat_backend.store.search import Weights
from context_chat_backend.wiring.models import probe
from context_chat_backend.wiring.parts import Parts


class Backend(Parts):
    """What entry points ask of the program, beside its parts."""

    async def answer(self, question: Question) -> Answer:
        """Answer from what the asker may read, after waiting a while for scoped sources that are being indexed.

        Raises InvalidRequest, ModelUnavailable, DatabaseUnavailable.
        """
        return await whole(self.stream_answer(question))

    async def stream_answer(
        self, question: Question, sight: Sight | None = None, place: Place | None = None
    ) -> AsyncGenerator[AnswerEvent, None]:
        """The events of an answer from what the asker may read and, by `sight`, sees now. Raises as `answer` does.

        With `place` it is a turn of that conversation.
        """
        asking: Asking = partial(self._answer_when_indexed, sight=sight)
        async with aclosing(self._observed(question, place, asking, "answer")) as events:
            async for event in events:
                yield event

    async def stream_chat(self, question: Question, place: Place | None = None) -> AsyncGenerator[AnswerEvent, None]:
        """The events of an answer without documents; `place` as above. Raises InvalidRequest, ModelUnavailable."""
        async with aclosing(self._observed(question, place, self._answering.converse, "chat")) as events:
            async for event in events:
                yield event

    def writer_named(self, model: str) -> str:
        """What wrote an answer, as provider/model; empty where nothing did."""
        if model not in self.language_models:
            return model
        choices = (self.config.llm, *self.config.llm_fallback)
        provider = choices[self.language_models.index(model)].name
        return provider if provider == model else f"{provider}/{model}"

    @property
    def shipping_status(self) -> str:
        """'enabled', 'unavailable' or 'disabled': whether records of exchanges reach Elasticsearch."""
        return "disabled" if self.shipping is None else self.shipping.status

    async def refusal(self, text: str, question: Question) -> str | None:
        """What is said to an asker where `text` is not found safe; None where it is, or nobody judges."""
        refused = None if self._moderation is None else await self._moderation.refusal([text], question)
        return None if refused is None else refused.text

    @property
    def judges_answers(self) -> bool:
        """Whether answers are shown only once they were judged."""
        return self._moderation is not None and self._moderation.answers

    @property
    def keeps_conversations(self) -> bool:
        """Whether the administrator wants that."""
        return self.config.conversation_days > 0

    @property
    def language_models(self) -> tuple[str, ...]:
        """The names of the language models, in the order in which they are asked."""
        return self._answering.models

    @property
    def embedding_model(self) -> str:
        """The name of the model whose vectors are compared now."""
        return self.spaces.answering.stored.space.model

    async def embed(self, texts: Sequence[str]) -> tuple[Vectors, int]:
        """The vectors of `texts` as those of passages, shape (len(texts), dimension), and how many tokens were read.

        Raises ModelUnavailable.
        """
        embedder = self.spaces.answering.embedder
        if embedder is None:
            raise ModelUnavailable("the embedding model cannot be used here")
        tokens = await asyncio.to_thread(lambda: sum(len(embedder.token_starts(text)) for text in texts))
        return await embedder.embed_passages(texts), tokens

    def nothing_found(self, text: str) -> Answer:
        """The honest sentence for a question whose chosen sources are none."""
        return nothing_found(text, Scope(sources=()))

    async def find_sources(self, question: Question, weights: Weights | None = None) -> list[FoundSource]:
        """The sources that answer best, each once; `weights` as for passages. Raises DatabaseUnavailable."""
        return await observed_search(self._sources(question, weights), question, self._audit)

    async def find_passages(self, question: Question, weights: Weights | None = None) -> list[Passage]:
        """The passages that answer best; `weights` decides how the lists are joined, the language where it is None.

        Raises DatabaseUnavailable.
        """
        return await observed_search(self._retriever.passages(question, weights), question, self._audit)

    async def chat(self, text: str, asker: Principal) -> str:
        """What the language model says to `asker` without documents. Raises InvalidRequest, ModelUnavailable."""
        return (await whole(self.stream_chat(Question(text, asker)))).text.strip()

    async def lost(self, asker: Principal, passages: Sequence[Passage]) -> bool:
        """Whether a source of these passages, found before, may not be read any more. Raises DatabaseUnavailable."""
        return bool(await self._retriever.lost(asker, passages))

    async def probe_embedding(self) -> tuple[EmbeddingSpace, Vectors]:
        """The space of the configured model, and the vector of a word in it, for `doctor`. Raises ModelUnavailable."""
        return self._embedder.space, await self._embedder.embed_question("health")

    @property
    def embedding_device(self) -> str:
        """What the configured embedding model computes on, once it was asked."""
        return self._embedder.device

    @property
    def missing_model(self) -> str | None:
        """Which configured embedding model is replaced by the packaged one, why, and what to do."""
        return self._models.missing

    async def probe_language_models(self) -> list[tuple[str, str | None]]:
        """The name of each language model in its order, and why it does not answer, for `doctor`."""
        return await probe([writer.model for writer in self._writers])

    def language_devices(self) -> list[tuple[str, str]]:
        """Each kind of language model that runs here, and what it computes on; known once it was asked."""
        choices = (self.config.llm, *self.config.llm_fallback)
        models = zip(choices, (writer.model for writer in self._writers), strict=True)
        return [
            (choice.name, model.device)
            for choice, model in models
            if isinstance(model, SeparateLanguageModel) and model.device is not None
        ]

    async def check_language_models(self) -> list[ModelFailure | None]:
        """Why each language model, in its order, could not write a moment ago; None where it could."""
        return list(await asyncio.gather(*(check.failure() for check in self._checks)))

    async def probe_reranker(self) -> None:
        """Let the re-ranker judge a word, for `doctor`. Raises ModelUnavailable."""
        await self._reranker.scores("health", ["health"])

    async def open_walls(self) -> list[str]:
        """What parsers are not kept from on this machine, for `doctor`. Raises OSError when they do not start."""
        return sorted(await self._parser.missing_walls())

    def recognition_languages(self) -> list[str]:
        """The languages in which text in pictures could be read on this machine, in the names of Tesseract."""
        return recognition.installed()

    def _observed(
        self, question: Question, place: Place | None, asking: Asking, kind: str
    ) -> AsyncGenerator[AnswerEvent, None]:
        events = asking(question) if place is None else self._memory.stream(question, place, asking)
        return observed(events, question, kind, self._audit)

    async def _answer_when_indexed(self, question: Question, sight: Sight | None) -> AsyncGenerator[AnswerEvent, None]:
        await self._wait_for_scope(question)
        async with aclosing(self._answering.stream(question, sight)) as events:
            async for event in events:
                yield event

    async def still_waiting(self, asker: Principal, refs: Sequence[SourceRef]) -> int:
        """How many of sources just admitted are not searched yet, after waiting a while for them."""
        await self._wait_for_scope(Question("", asker, Scope(sources=tuple(refs))))
        return await self.ledger.prefer(asker.sources_realm, refs)

    async def _sources(self, question: Question, weights: Weights | None) -> list[FoundSource]:
        await self._wait_for_scope(question)
        return await self._retriever.sources(question, weights)

    async def _wait_for_scope(self, question: Question) -> None:
        with step(Step.WAIT):
            await wait_for_scope(question, self.ledger, self.indexer)
