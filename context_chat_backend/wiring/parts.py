# SPDX-License-Identifier: AGPL-3.0-or-later
"""The parts of the program, opened one after the other from one configuration, and closed in reverse."""

from __future__ import annotations

import asyncio
import uuid
from contextlib import AsyncExitStack
from pathlib import Path

from context_chat_backend import traces
from context_chat_backend.answering.answer import Answering
from context_chat_backend.answering.memory import Memory
from context_chat_backend.answering.planner.planner import Planner
from context_chat_backend.audit import Audit
from context_chat_backend.chat_log import ChatLog
from context_chat_backend.completing.models import Role
from context_chat_backend.completing.passing import Passing
from context_chat_backend.config import Config
from context_chat_backend.hardware import usable_cores, usable_memory
from context_chat_backend.health import Health
from context_chat_backend.indexing.actions import Actions
from context_chat_backend.indexing.admission import Admissions
from context_chat_backend.indexing.collecting import Collecting
from context_chat_backend.indexing.embedding import Embedding
from context_chat_backend.indexing.excluding import keep_excluded
from context_chat_backend.indexing.index import Indexer
from context_chat_backend.indexing.preparing import Preparation
from context_chat_backend.indexing.records import keep_records
from context_chat_backend.indexing.reembedding import Reembedding
from context_chat_backend.indexing.settling import Settling
from context_chat_backend.indexing.sweeping import keep_forgetting, keep_sampled, keep_swept
from context_chat_backend.indexing.tails import keep_indexed
from context_chat_backend.logs import get_logger
from context_chat_backend.nextcloud.client import NextcloudClient
from context_chat_backend.nextcloud.server import Nextcloud
from context_chat_backend.parsing.registry import accepts
from context_chat_backend.parsing.sandbox import Sandbox
from context_chat_backend.retrieval.retrieve import Retriever
from context_chat_backend.shipping import Shipping
from context_chat_backend.spaces import SpacesInUse
from context_chat_backend.store.access import Access
from context_chat_backend.store.applied import Applied
from context_chat_backend.store.chunks import Chunks
from context_chat_backend.store.collections import Collections
from context_chat_backend.store.conversations import Conversations
from context_chat_backend.store.database import Database
from context_chat_backend.store.excluded import Excluded
from context_chat_backend.store.feedback import Feedback
from context_chat_backend.store.forgetting import Forgetting
from context_chat_backend.store.history import install_schema
from context_chat_backend.store.indexes import SearchIndexes
from context_chat_backend.store.keys import Keys
from context_chat_backend.store.leases import Leases
from context_chat_backend.store.ledger import Ledger
from context_chat_backend.store.lost_rows import LostRows
from context_chat_backend.store.neighbours import Neighbours
from context_chat_backend.store.overview import Overview
from context_chat_backend.store.planning import Planning
from context_chat_backend.store.queued import Queued
from context_chat_backend.store.search import Search
from context_chat_backend.store.spaces import Spaces, StoredSpace
from context_chat_backend.store.switch import Switch
from context_chat_backend.store.tails import Tails
from context_chat_backend.store.tasks import HeldTasks
from context_chat_backend.store.uses import Uses
from context_chat_backend.store.words import WordSample
from context_chat_backend.web_tokens import WebTokens
from context_chat_backend.wiring.background import Background
from context_chat_backend.wiring.completing import open_passing
from context_chat_backend.wiring.databases import OurDatabase, index_not_taken_over, our_database
from context_chat_backend.wiring.key_making import KeyMaking
from context_chat_backend.wiring.models import Models, load
from context_chat_backend.wiring.monitoring import Monitoring
from context_chat_backend.wiring.planning import build_planner
from context_chat_backend.wiring.recent_check import RecentCheck
from context_chat_backend.wiring.temporary import temporary_folder

_log = get_logger(__name__)


class Parts:
    """Everything that runs. Attributes beside `config` and `health` exist from the end of `start()` on."""

    temporary: Path
    """A folder of this process for bytes that pass through."""
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
    key_making: KeyMaking
    uses: Uses
    feedback: Feedback
    collections: Collections
    collecting: Collecting
    conversations: Conversations
    planning: Planning
    planner: Planner
    nextcloud: Nextcloud | None
    web_tokens: WebTokens
    passing: Passing
    """The models that requests are passed on to."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.health = Health()
        self.monitoring = Monitoring(config, self.health)
        self._models = Models(config, self.health)
        self._stack = AsyncExitStack()
        self.chat_log: ChatLog | None = None
        self.shipping: Shipping | None = None

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

    @property
    def search_indexes(self) -> SearchIndexes:
        """The indexes of the space that answers, and of words."""
        return SearchIndexes(self.database, self.spaces.answering.stored)

    async def _filled(self) -> float:
        """Which part of the index has vectors of the configured model, 0 to 1."""
        filling = await self.reembedding.progress()
        return 1.0 if filling is None else filling.progress.share

    async def _open(self, indexing: bool) -> None:
        stack = self._stack
        self._audit = Audit(self.config.storage / "audit" if self.config.audit_log else None)
        stack.callback(self._audit.close)
        self._open_chat_log()
        if self.config.traces is not None:
            traces.configure(self.config.traces, self.config.app.role)
            stack.push_async_callback(asyncio.to_thread, traces.close)
        temporary = self.temporary = stack.enter_context(temporary_folder(self.config.storage))
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
            self.config.indexing.parser_processes,
            temporary,
            limits=self.config.limits,
            languages=self.config.indexing.recognition_languages,
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
        self.keys = Keys(database, self.config.chat.prefix)
        self.uses = Uses(database)
        self.collections = Collections(database, self.actions)
        self.key_making = KeyMaking(self.keys, self.collections)
        self.feedback = Feedback(database)
        self.conversations = Conversations(database)
        self.planning = Planning(database)
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
        self._checks = [RecentCheck(writer.model) for writer in self._writers]
        for writer in self._writers:
            self._stack.push_async_callback(writer.model.close)
        named = models.named(self._writers)
        for _, model in named:
            self._stack.push_async_callback(model.close)
        self.passing = open_passing(self.config.gateway, named, self._writers)
        self.passing_check = RecentCheck(self.passing.models.of(Role.COMPLETION)[0].model)
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
        self.planner = build_planner(self.config, database, self.spaces, self._retriever, self._writers)

    def _start_work(self, indexing: bool) -> None:
        run, database = Background(self._stack, self.health).run, self.database
        if self.our_database.server is not None:
            run(self.our_database.server.keep_running, "watching the database")
        run(self.spaces.keep_current, "watching embedding spaces")
        if self.chat_log is not None:
            log, overview = self.chat_log, self.overview
            run(lambda: keep_records(log, overview), "forgetting records")
        if self.shipping is not None:
            run(self.shipping.run, "sending records")
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

    def _open_chat_log(self) -> None:
        """The record of exchanges, where a chat server is wanted."""
        chat = self.config.chat
        if not any("chat" in listener.surfaces for listener in self.config.listeners):
            return
        self.chat_log = ChatLog(
            self.config.storage / "chat",
            max_bytes=chat.max_size_mb * 1024 * 1024,
            retention_days=chat.retention_days,
            redact=chat.redact,
        )
        if chat.ships_records:
            login = (chat.elasticsearch_username, chat.elasticsearch_password)
            self.shipping = Shipping(
                self.chat_log,
                chat.elasticsearch_node,
                chat.elasticsearch_index,
                login,
                verifies=chat.elasticsearch_verifies,
                retry_seconds=chat.elasticsearch_retry,
                answer_bytes=self.config.limits.answer_bytes,
            )
            self._stack.push_async_callback(self.shipping.close)

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
            app.nextcloud_url,
            app.id,
            app.version,
            app.secret.reveal(),
            verify=app.trusted_certificates,
            answer_bytes=self.config.limits.answer_bytes,
        )
        nextcloud = Nextcloud(client, max_source_bytes=self.config.indexing.max_source_bytes)
        self._stack.push_async_callback(nextcloud.close)
        return nextcloud
