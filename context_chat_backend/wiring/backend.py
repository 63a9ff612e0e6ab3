# SPDX-License-Identifier: AGPL-3.0-or-later
"""The program, built from one configuration."""

from __future__ import annotations

import asyncio
import shutil
import time
import uuid
from collections.abc import AsyncGenerator, Sequence
from contextlib import AsyncExitStack, aclosing
from functools import partial
from pathlib import Path

from context_chat_backend import traces
from context_chat_backend.answering.answer import Answering
from context_chat_backend.answering.memory import Asking, Memory, Place
from context_chat_backend.answering.nothing import nothing_found
from context_chat_backend.answering.observing import observed, observed_search, whole
from context_chat_backend.answering.rights import Sight
from context_chat_backend.answering.writing import Writer
from context_chat_backend.audit import Audit
from context_chat_backend.config import Config
from context_chat_backend.domain import (
    Answer,
    AnswerEvent,
    EmbeddingSpace,
    FoundSource,
    Passage,
    Principal,
    Question,
    Scope,
)
from context_chat_backend.errors import ModelFailure, ModelUnavailable
from context_chat_backend.hardware import usable_cores, usable_memory
from context_chat_backend.health import Health
from context_chat_backend.indexing.actions import Actions
from context_chat_backend.indexing.admission import Admissions
from context_chat_backend.indexing.collecting import Collecting
from context_chat_backend.indexing.embedding import Embedding
from context_chat_backend.indexing.excluding import keep_excluded
from context_chat_backend.indexing.index import Indexer
from context_chat_backend.indexing.preparing import Preparation
from context_chat_backend.indexing.reembedding import Reembedding
from context_chat_backend.indexing.settling import Settling
from context_chat_backend.indexing.sweeping import keep_forgetting, keep_sampled, keep_swept
from context_chat_backend.indexing.tails import keep_indexed
from context_chat_backend.indexing.urgency import wait_for_scope
from context_chat_backend.inference.language.separate import SeparateLanguageModel
from context_chat_backend.logs import get_logger
from context_chat_backend.nextcloud.client import NextcloudClient
from context_chat_backend.nextcloud.server import Nextcloud
from context_chat_backend.parsing.formats import recognition
from context_chat_backend.parsing.registry import accepts
from context_chat_backend.parsing.sandbox import Sandbox
from context_chat_backend.ports import Vectors
from context_chat_backend.retrieval.retrieve import Retriever
from context_chat_backend.spaces import SpacesInUse
from context_chat_backend.steps import Step, step
from context_chat_backend.store.access import Access
from context_chat_backend.store.applied import Applied
from context_chat_backend.store.chunks import Chunks
from context_chat_backend.store.collections import Collections
from context_chat_backend.store.conversations import Conversations
from context_chat_backend.store.database import Database
from context_chat_backend.store.excluded import Excluded
from context_chat_backend.store.forgetting import Forgetting
from context_chat_backend.store.history import install_schema
from context_chat_backend.store.indexes import SearchIndexes
from context_chat_backend.store.keys import Keys
from context_chat_backend.store.leases import Leases
from context_chat_backend.store.ledger import Ledger
from context_chat_backend.store.lost_rows import LostRows
from context_chat_backend.store.neighbours import Neighbours
from context_chat_backend.store.overview import Overview
from context_chat_backend.store.queued import Queued
from context_chat_backend.store.search import Search, Weights
from context_chat_backend.store.spaces import Spaces, StoredSpace
from context_chat_backend.store.switch import Switch
from context_chat_backend.store.tails import Tails
from context_chat_backend.store.tasks import HeldTasks
from context_chat_backend.store.uses import Uses
from context_chat_backend.store.words import WordSample
from context_chat_backend.web_tokens import WebTokens
from context_chat_backend.wiring.background import Background
from context_chat_backend.wiring.databases import OurDatabase, index_not_taken_over, our_database
from context_chat_backend.wiring.models import Models, load, probe
from context_chat_backend.wiring.monitoring import Monitoring

_TEMPORARY_SECONDS = 24 * 3600
_log = get_logger(__name__)


class Backend:
    """Everything that runs. Attributes beside `config` and `health` exist from the end of `start()` on."""

    our_database: OurDatabase
    database: Database
    old_index: str | None
    """Where an index of the reference lies that was not taken over."""
    ledger: Ledger
    actions: Access
    admission: Admissions
    indexer: Indexer
    overview: Overview
    switch: Switch
    spaces: SpacesInUse
    reembedding: Reembedding
    leases: Leases
    held_tasks: HeldTasks
    queued: Queued
    applied: Applied
    lost_rows: LostRows
    numbered_actions: Actions
    keys: Keys
    uses: Uses
    collections: Collections
    collecting: Collecting
    conversations: Conversations
    nextcloud: Nextcloud | None
    web_tokens: WebTokens

    def __init__(self, config: Config) -> None:
        self.config = config
        self.health = Health()
        self.monitoring = Monitoring(config, self.health)
        self._models = Models(config, self.health)
        self._stack = AsyncExitStack()

    async def start(self, *, indexing: bool = True) -> None:
        """Open everything; with `indexing` the workers run too. On an error what was opened is closed again.

        Raises StartError, ConfigurationError, DatabaseUnavailable, ModelUnavailable.
        """
        try:
            await self._open(indexing)
        except BaseException:
            await self.close()
            raise
        self.health.ready = True

    async def close(self) -> None:
        """Stop the workers, then close models and database."""
        self.health.ready = False
        await self._stack.aclose()

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

    @property
    def search_indexes(self) -> SearchIndexes:
        """The indexes of the space that answers, and of words."""
        return SearchIndexes(self.database, self.spaces.answering.stored)

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
        """Why each language model, in its order, could not write now; None where it could."""

        async def check(writer: Writer) -> ModelFailure | None:
            try:
                await writer.model.check()
            except ModelUnavailable as error:
                return error.failure
            return None

        return list(await asyncio.gather(*(check(writer) for writer in self._writers)))

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

    async def _sources(self, question: Question, weights: Weights | None) -> list[FoundSource]:
        await self._wait_for_scope(question)
        return await self._retriever.sources(question, weights)

    async def _wait_for_scope(self, question: Question) -> None:
        with step(Step.WAIT):
            await wait_for_scope(question, self.ledger, self.indexer)

    async def _filled(self) -> float:
        """Which part of the index has vectors of the configured model, 0 to 1."""
        filling = await self.reembedding.progress()
        return 1.0 if filling is None else filling.progress.share

    async def _open(self, indexing: bool) -> None:
        stack = self._stack
        self._audit = Audit(self.config.storage / "audit" if self.config.audit_log else None)
        stack.callback(self._audit.close)
        if self.config.traces is not None:
            traces.configure(self.config.traces, self.config.app.role)
            stack.push_async_callback(asyncio.to_thread, traces.close)
        temporary = _temporary_folder(self.config)
        self.our_database = await stack.enter_async_context(our_database(self.config))
        await install_schema(self.our_database.url)
        database = self.database = Database(self.our_database.url)
        await database.open()
        stack.push_async_callback(database.close)
        self.old_index = await index_not_taken_over(database, self.config.storage)
        if self.old_index is not None:
            _log.warning("old_index_found", place=self.old_index, cure="context-chat import-reference takes it over")
        self._open_tables(database)
        self.web_tokens = WebTokens(self.config.programs.issuers)
        stack.push_async_callback(self.web_tokens.close)
        self.monitoring.watch(database, self._filled)
        self.health.percent = 30
        self.nextcloud = self._open_nextcloud()
        await self._open_models(fetching=indexing)
        self.health.percent = 60
        await self._open_spaces(changing=indexing)
        self.health.percent = 80
        self._parser = Sandbox(
            self.config.indexing.parser_processes, temporary, languages=self.config.indexing.recognition_languages
        )
        await self._parser.start()
        stack.push_async_callback(self._parser.close)
        self._build_use_cases(temporary)
        self._start_work(indexing)

    def _open_tables(self, database: Database) -> None:
        """The rooms of the store that stand for themselves."""
        self.ledger = Ledger(database)
        self.actions = Access(database)
        self.switch = Switch(database)
        self.leases = Leases(database)
        self.queued = Queued(database)
        self.keys = Keys(database)
        self.uses = Uses(database)
        self.collections = Collections(database, self.actions)
        self.conversations = Conversations(database)
        self.overview = Overview(database)
        # Tasks are held by a process rather than by an installation: several may run.
        self.held_tasks = HeldTasks(database, uuid.uuid4().hex)

    async def _open_models(self, *, fetching: bool) -> None:
        models = self._models
        in_use = [space.model for space in await Spaces(self.database).all() if space.model is not None]
        self._chosen = await models.choose_embedding(fetching=fetching, in_use=in_use)
        self._embedder = models.embedder(self._chosen)
        self._stack.push_async_callback(self._embedder.close)
        await self._embedder.open()
        self._writers = models.writers(self.nextcloud)
        for writer in self._writers:
            self._stack.push_async_callback(writer.model.close)
        self._moderation = models.moderation(self._writers)
        if self._moderation is not None:
            self._stack.push_async_callback(self._moderation.judge.close)
        self._reranker = models.reranker()
        self._stack.push_async_callback(self._reranker.close)

    def _build_use_cases(self, temporary: Path) -> None:
        indexing, database, admitted = self.config.indexing, self.database, asyncio.Event()
        self.applied = Applied(database)
        self.lost_rows = LostRows(database)
        self.numbered_actions = Actions(self.actions, self.queued, self.applied)
        self.admission = Admissions(
            self.ledger,
            accepts,
            max_source_bytes=indexing.max_source_bytes,
            max_waiting_sources=indexing.waiting_sources_limit,
            max_waiting_bytes=indexing.waiting_bytes_limit,
            admitted=admitted,
            exclusions=self.config.exclusions,
        )
        self.collecting = Collecting(self.collections, self.admission, self.actions)
        preparation = Preparation(
            self.ledger,
            self._parser,
            self.spaces,
            folder=temporary,
            chunk_tokens=indexing.chunk_tokens,
            chunk_overlap_tokens=indexing.chunk_overlap_tokens,
            fetcher=None if self.nextcloud is None else self.nextcloud.files,
        )
        chunks = Chunks(database)
        self.indexer = Indexer(
            self.ledger,
            preparation,
            Embedding(self.spaces, chunks),
            Settling(chunks),
            workers=indexing.parser_processes + 2,
            admitted=admitted,
        )
        self._retriever = Retriever(self.spaces, Search(database), self._reranker, Neighbours(database))
        self._answering = Answering(self._retriever, self._writers, self._moderation)
        self._memory = Memory(self.conversations, self._writers)

    def _start_work(self, indexing: bool) -> None:
        run, database = Background(self._stack, self.health).run, self.database
        if self.our_database.server is not None:
            run(self.our_database.server.keep_running, "watching the database")
        run(self.spaces.keep_current, "watching embedding spaces")
        if not indexing:
            return
        run(lambda: load([writer.model for writer in self._writers]), "loading language models")
        run(self.reembedding.run, "re-embedding")
        run(self.reembedding.keep_clean, "dropping embedding spaces")
        run(self.indexer.run, "indexing")
        run(lambda: keep_indexed(self.spaces, Tails(database), self.ledger), "indexing new vectors")
        run(lambda: keep_swept(self.actions, self.overview), "sweeping")
        run(lambda: keep_forgetting(Forgetting(database), self.config.conversation_days), "forgetting")
        run(lambda: keep_excluded(Excluded(database), self.config.exclusions), "excluding")
        run(lambda: keep_sampled(WordSample(database)), "sampling")
        run(self.uses.keep_swept, "forgetting uses")

    async def _open_spaces(self, *, changing: bool) -> None:
        """The live spaces; with `changing` the configured model is to answer from now on, or once it can."""
        database, configured, choice = self.database, self._embedder, self._chosen
        stored = Spaces(database)
        await stored.renew_searches()
        if changing or not await stored.all():
            await stored.ensure(configured.space, choice)
        self.spaces = SpacesInUse(
            stored, configured, lambda model: self._models.embedder(model.with_secrets_of(choice))
        )
        self._stack.push_async_callback(self.spaces.close)
        await self.spaces.refresh()
        if (wanted := self.spaces.filling) is not None:
            _log.info("reembedding_needed", model=wanted.stored.space.model)
        self.reembedding = Reembedding(stored, self.spaces, Chunks(database), self.leases, self._build_vector_index)
        if unbuilt := await self.search_indexes.missing():
            _log.warning("search_indexes_missing", indexes=unbuilt, cure="context-chat indexes build")

    async def _build_vector_index(self, stored: StoredSpace) -> None:
        indexes = SearchIndexes(self.database, stored)
        if stored.index in await indexes.missing():
            # Half of the cores: searches and deliveries go on.
            await indexes.build(stored.index, memory=usable_memory() // 4, workers=max(0, usable_cores() // 2 - 1))

    def _open_nextcloud(self) -> Nextcloud | None:
        app = self.config.app
        if app.nextcloud_url is None or app.secret is None:
            return None
        client = NextcloudClient(
            app.nextcloud_url, app.id, app.version, app.secret.reveal(), verify=app.trusted_certificates
        )
        nextcloud = Nextcloud(client, max_source_bytes=self.config.indexing.max_source_bytes)
        self._stack.push_async_callback(nextcloud.close)
        return nextcloud


def _temporary_folder(config: Config) -> Path:
    """Made where it is missing, and without what a killed process left; younger files may be another one's."""
    folder = config.storage / "tmp"
    folder.mkdir(parents=True, exist_ok=True)
    for file in folder.iterdir():
        if time.time() - file.stat().st_mtime > _TEMPORARY_SECONDS:
            if file.is_dir():
                shutil.rmtree(file, ignore_errors=True)
            else:
                file.unlink(missing_ok=True)
    return folder
