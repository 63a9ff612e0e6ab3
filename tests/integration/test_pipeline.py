# SPDX-License-Identifier: AGPL-3.0-or-later
"""Many sources on their way at once: turns, batches, copies, tails, and what goes wrong on the way."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from context_chat_backend.domain import (
    Admission,
    Delivery,
    Document,
    Part,
    Principal,
    Question,
    Realm,
    Reason,
    SourceRef,
)
from context_chat_backend.errors import DatabaseUnavailable, SourceRejected
from context_chat_backend.exclusions import Exclusions
from context_chat_backend.indexing.admission import Admissions
from context_chat_backend.indexing.embedding import Embedding
from context_chat_backend.indexing.excluding import apply
from context_chat_backend.indexing.index import Indexer
from context_chat_backend.indexing.preparing import Preparation
from context_chat_backend.indexing.settling import Settling
from context_chat_backend.indexing.status import indexing_status
from context_chat_backend.inference.embedding.hashing import HashingEmbedder
from context_chat_backend.ports import Vectors
from context_chat_backend.spaces import SpacesInUse
from context_chat_backend.store.access import Access
from context_chat_backend.store.chunks import Chunks, IndexedSource
from context_chat_backend.store.database import Database
from context_chat_backend.store.excluded import Excluded
from context_chat_backend.store.ledger import Ledger
from context_chat_backend.store.overview import Overview
from context_chat_backend.store.search import Search, Weights
from context_chat_backend.store.tails import Tails
from tests.spaces import spaces_of

ALICE, BOB = Principal(Realm.NEXTCLOUD, "alice"), Principal(Realm.NEXTCLOUD, "bob")
LEASE = timedelta(minutes=5)
START = datetime(2024, 1, 1, tzinfo=UTC)
PATIENCE = 60.0


class GatedParser:
    """Reads text; while the gate is closed it waits. Texts may name a fault, and the disk is full `faults` times."""

    def __init__(self) -> None:
        self.gate = asyncio.Event()
        self.gate.set()
        self.entered = asyncio.Event()
        self.faults = 0

    async def parse(self, content: Path, media_type: str, title: str) -> Document:
        if self.faults:
            self.faults -= 1
            raise OSError(errno.ENOSPC, "No space left on device")
        text = content.read_text(encoding="utf-8")
        self.entered.set()
        await self.gate.wait()
        if text.startswith("damaged"):
            raise SourceRejected(Reason.DAMAGED)
        return Document((Part(text),), parser="text")


class CountingEmbedder(HashingEmbedder):
    """Counts texts and calls; refuses texts that hold 'poison' as a model refuses them."""

    def __init__(self) -> None:
        super().__init__(64)
        self.calls: list[int] = []

    async def embed_passages(self, texts: Sequence[str]) -> Vectors:
        await asyncio.sleep(0)
        if any("poison" in text for text in texts):
            raise ValueError("refused")
        self.calls.append(len(texts))
        return await super().embed_passages(texts)


class UnreliableChunks(Chunks):
    """The database is gone for the first `faults` transactions that put."""

    def __init__(self, database: Database, faults: int = 0) -> None:
        super().__init__(database)
        self.faults = faults
        self.batches: list[int] = []

    async def put(self, indexed: Sequence[IndexedSource]) -> set[int]:
        if self.faults:
            self.faults -= 1
            raise DatabaseUnavailable("gone")
        self.batches.append(len(indexed))
        return await super().put(indexed)


class Works:
    """All that indexes, over one database."""

    def __init__(self, database: Database, folder: Path, spaces: SpacesInUse, embedder: CountingEmbedder) -> None:
        self.database, self.folder, self.spaces, self.embedder = database, folder, spaces, embedder
        self.ledger, self.overview, self.tails = Ledger(database), Overview(database), Tails(database)
        self.actions = Access(database)
        self.parser = GatedParser()
        self.chunks = UnreliableChunks(database)
        self.admitted = asyncio.Event()
        self.exclusions = Exclusions()

    async def admit(
        self, item: str, text: str, *, reader: Principal = ALICE, modified: datetime = START, title: str = ""
    ) -> Admission:
        body = self.folder / "body"
        body.write_text(text, encoding="utf-8")
        admissions = Admissions(
            self.ledger, lambda kind, title: True, max_source_bytes=10**7, max_waiting_sources=10**5,
            max_waiting_bytes=10**9, admitted=self.admitted, exclusions=self.exclusions,
        )  # fmt: skip
        ref = SourceRef("files__default", item)
        delivery = Delivery(Realm.NEXTCLOUD, ref, title or "a.txt", "text/plain", modified, frozenset({reader}))
        return await admissions.admit(delivery, body, body.stat().st_size)

    def indexer(self) -> Indexer:
        preparation = Preparation(
            self.ledger, self.parser, self.spaces, folder=self.folder, chunk_tokens=60, chunk_overlap_tokens=0
        )
        return Indexer(
            self.ledger, preparation, Embedding(self.spaces, self.chunks), Settling(self.chunks), workers=3,
            admitted=self.admitted,
        )  # fmt: skip

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Indexer]:
        indexer = self.indexer()
        work = asyncio.create_task(indexer.run())
        try:
            yield indexer
        finally:
            while not work.done():
                work.cancel()
                await asyncio.wait([work], timeout=1)

    async def index_all(self) -> None:
        async with self.running():
            await self.until_nothing_waits()

    async def until_nothing_waits(self) -> None:
        async with asyncio.timeout(PATIENCE):
            while (await self.ledger.waiting()).sources:
                await asyncio.sleep(0.02)

    async def states(self) -> dict[str, int]:
        return await self.ledger.count_states()

    async def count(self, table: str) -> int:
        async with self.database.transaction() as connection:
            row = await (await connection.execute(f"SELECT count(*) FROM {table}")).fetchone()
        assert row is not None
        return int(row[0])

    async def found(self, text: str, asker: Principal = ALICE) -> list[str]:
        vector = await self.embedder.embed_question(text)
        stored = self.spaces.answering.stored
        question = Question(text, asker)
        passages = await Search(self.database).passages(question, vector, stored, Weights(words=0.0))
        return [passage.text for passage in passages]


@pytest.fixture
async def works(database: Database, tmp_path: Path) -> Works:
    embedder = CountingEmbedder()
    return Works(database, tmp_path, await spaces_of(database, embedder), embedder)


async def test_a_running_indexer_settles_everything_and_puts_together_what_is_ready(works: Works) -> None:
    for item in range(100):
        await works.admit(str(item), f"words number {item}")
    await works.index_all()

    assert await works.states() == {"indexed": 100}
    assert sum(works.chunks.batches) == 100
    assert len(works.chunks.batches) < 100
    assert await works.found("words number 77") != []


async def test_each_reader_has_a_turn_though_another_delivered_thousands(works: Works) -> None:
    for item in range(30):
        await works.admit(f"a{item}", "of alice")
    await works.admit("b", "of bob", reader=BOB)

    claimed = await works.ledger.claim(4, LEASE)

    assert len(claimed) == 4
    assert "b" in {source.ref.item for source in claimed}


async def test_newer_and_smaller_sources_come_first(works: Works) -> None:
    await works.admit("old", "x" * 50)
    await works.admit("large", "x" * 100_000, modified=START + timedelta(days=3))
    await works.admit("new", "x" * 50, modified=START + timedelta(days=3))

    claims = [await works.ledger.claim(1, LEASE) for _ in range(3)]

    assert [source.ref.item for (source,) in claims] == ["new", "old", "large"]


async def test_a_date_in_the_future_gives_no_precedence_over_today(works: Works) -> None:
    await works.admit("future", "x" * 1000, modified=START + timedelta(days=36500))
    await works.admit("now", "x" * 10, modified=datetime.now(UTC))

    (first,) = await works.ledger.claim(1, LEASE)

    assert first.ref.item == "now"


async def test_every_due_source_is_claimed_once_however_many_readers_there_are(works: Works) -> None:
    for item in range(40):
        await works.admit(str(item), "x", reader=Principal(Realm.NEXTCLOUD, f"user{item % 7}"))

    seen = [source.ref.item for _ in range(9) for source in await works.ledger.claim(5, LEASE)]

    assert sorted(seen, key=int) == [str(item) for item in range(40)]


async def test_copies_are_embedded_once_now_and_later(works: Works) -> None:
    text = "\n\n".join(f"Paragraph {n} says something of its own, at some length, about {n * 17}." for n in range(40))
    for item in range(3):
        await works.admit(f"first{item}", text, title=f"folder{item}/a.txt")
    await works.index_all()
    embedded = sum(works.embedder.calls)
    assert embedded * 3 == await works.count("chunk")

    await works.admit("later", text, title="elsewhere/a.txt")
    await works.index_all()
    assert sum(works.embedder.calls) == embedded
    assert await works.count("embedding_1") == await works.count("chunk") == embedded * 4


async def test_sources_share_batches(works: Works) -> None:
    works.parser.gate.clear()
    for item in range(64):
        await works.admit(str(item), f"short text {item}")
    async with works.running():
        await works.parser.entered.wait()
        works.parser.gate.set()
        await works.until_nothing_waits()

    assert len(works.embedder.calls) < 64


async def test_a_text_the_model_refuses_fails_its_source_alone(works: Works) -> None:
    for item in range(10):
        await works.admit(str(item), "poison" if item == 3 else f"good words {item}")
    claimed = await works.ledger.claim(20, LEASE)
    indexer = works.indexer()

    await asyncio.gather(*(indexer.settle(source) for source in claimed))

    assert await works.states() == {"indexed": 9, "waiting": 1}


async def test_new_vectors_are_found_at_once_and_after_they_were_indexed(works: Works) -> None:
    for item in range(20):
        await works.admit(str(item), f"lighthouse number {item}")
    await works.index_all()
    stored = works.spaces.answering.stored
    assert await works.tails.size(stored) == 20
    before = await works.found("lighthouse number 7")

    assert await works.tails.index(stored, 15) == 15
    assert await works.tails.size(stored) == 5
    assert await works.found("lighthouse number 7") == before
    assert await works.tails.index(stored, 15) == 5
    assert await works.tails.index(stored, 15) == 0
    assert await works.found("lighthouse number 7") == before


async def test_deleting_while_vectors_are_indexed_leaves_no_orphan(works: Works) -> None:
    for item in range(60):
        await works.admit(str(item), f"lighthouse number {item}")
    await works.index_all()
    stored = works.spaces.answering.stored

    async def move() -> None:
        while await works.tails.index(stored, 7):
            pass

    refs = [SourceRef("files__default", str(item)) for item in range(0, 60, 2)]
    await asyncio.gather(move(), works.actions.delete_sources(Realm.NEXTCLOUD, refs))
    await asyncio.gather(move(), works.actions.sweep_sources())

    assert await works.count("chunk") == await works.count("embedding_1") == await works.count("words") == 30


async def test_a_source_replaced_while_it_is_indexed_ends_with_the_newer_version(works: Works) -> None:
    works.parser.gate.clear()
    await works.admit("1", "first version")
    async with works.running():
        await works.parser.entered.wait()
        await works.admit("1", "second version", modified=START + timedelta(days=1))
        works.parser.gate.set()
        await works.until_nothing_waits()

    assert await works.found("version") == ["second version"]
    assert await works.count("chunk") == 1
    assert await works.count("spool") == 0


async def test_a_source_deleted_while_it_is_indexed_is_gone(works: Works) -> None:
    works.parser.gate.clear()
    await works.admit("1", "some words")
    async with works.running() as indexer:
        await works.parser.entered.wait()
        await works.actions.delete_sources(Realm.NEXTCLOUD, [SourceRef("files__default", "1")])
        works.parser.gate.set()
        await indexer.wait_for_verdict(PATIENCE)
    await works.actions.sweep_sources()

    assert await works.found("words") == []
    assert [await works.count(table) for table in ("source", "chunk", "spool", "embedding_1", "words")] == [0] * 5


async def test_a_database_that_is_gone_for_a_while_loses_nothing(works: Works, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("context_chat_backend.indexing.index._SECONDS_WITHOUT_DATABASE", 0.05)
    works.chunks.faults = 5
    for item in range(10):
        await works.admit(str(item), f"words number {item}")
    await works.index_all()

    assert await works.states() == {"indexed": 10}
    assert works.chunks.faults == 0


async def test_a_disk_that_is_full_for_a_while_loses_nothing_and_counts_no_attempt(
    works: Works, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("context_chat_backend.indexing.index._WHILE_DOWN", -5)  # waits some hundredths of a second
    works.parser.faults = 8
    for item in range(4):
        await works.admit(str(item), f"words number {item}")
    await works.index_all()

    assert await works.states() == {"indexed": 4}
    assert works.parser.faults == 0
    reports = [await works.overview.find(f"files__default: {item}") for item in range(4)]
    assert {report.attempts for (report,) in reports} == {1}


async def test_a_stopped_indexer_gives_back_what_it_had(works: Works) -> None:
    works.parser.gate.clear()
    for item in range(5):
        await works.admit(str(item), f"words number {item}")
    async with works.running(), asyncio.timeout(PATIENCE):
        await works.parser.entered.wait()

    again = await works.ledger.claim(10, LEASE)
    assert [source.attempts for source in again] == [1] * 5


async def test_an_indexer_that_is_stopped_again_and_again_gives_back_what_it_had(works: Works) -> None:
    works.parser.gate.clear()
    for item in range(5):
        await works.admit(str(item), f"words number {item}")
    work = asyncio.create_task(works.indexer().run())
    async with asyncio.timeout(PATIENCE):
        await works.parser.entered.wait()
        while not work.done():
            work.cancel()
            await asyncio.sleep(0)

    assert len(await works.ledger.claim(10, LEASE)) == 5


async def test_a_clock_set_back_changes_neither_order_nor_outcome(works: Works) -> None:
    await works.admit("1", "newer words", modified=START)
    await works.index_all()

    assert await works.admit("1", "older words", modified=START - timedelta(days=365)) is Admission.UNCHANGED
    await works.index_all()
    assert await works.found("words") == ["newer words"]


async def test_a_rejected_source_is_tried_again_with_the_bytes_that_were_kept(works: Works) -> None:
    await works.admit("1", "damaged beyond repair")
    await works.admit("2", "damaged, too")
    await works.index_all()
    (report,) = await works.overview.find("files__default: 1")
    assert (report.state, report.reason, report.bytes_kept, report.attempts) == ("rejected", Reason.DAMAGED, True, 1)

    assert (await works.overview.retry(reason=Reason.PARSER_DIED)).due == 0
    assert (await works.overview.retry(ref="files__default: 1")).due == 1
    assert (await works.overview.retry(provider="files__default")).due == 1
    await works.index_all()
    assert await works.states() == {"rejected": 2}
    assert await works.overview.drop_kept() == 0


async def test_a_rejected_source_without_bytes_is_tried_when_it_is_delivered_again(works: Works) -> None:
    works.exclusions = Exclusions(paths=("*.log",))
    with pytest.raises(SourceRejected):
        await works.admit("1", "words", title="files/a.log")
    retried = await works.overview.retry()
    assert (retried.due, retried.to_be_delivered) == (0, 1)

    works.exclusions = Exclusions()
    assert await works.admit("1", "words", title="files/a.log") is Admission.ADMITTED


async def test_reindexing_takes_an_unchanged_delivery_and_answers_meanwhile(works: Works) -> None:
    await works.admit("1", "old reading")
    await works.index_all()
    assert await works.overview.reindex(provider="files__default") == 1

    assert await works.admit("1", "new reading") is Admission.ADMITTED
    assert await works.found("reading") == ["old reading"]
    await works.index_all()
    assert await works.found("reading") == ["new reading"]
    assert await works.admit("1", "new reading") is Admission.UNCHANGED


async def test_a_report_says_what_became_of_a_source(works: Works) -> None:
    await works.admit("1", "some words", title="files/Projects/report.txt")
    (waiting,) = await works.overview.find("projects")
    assert (waiting.state, waiting.started_at, waiting.readers) == ("waiting", None, 1)

    await works.index_all()
    (report,) = await works.overview.find("files/Projects/report.txt")
    assert (report.state, report.parser, report.characters, report.chunk_count) == ("indexed", "text", 10, 1)
    assert report.parse_ms is not None
    assert report.embed_ms is not None
    assert await works.overview.find("nowhere") == []


async def test_status_counts_states_providers_and_reasons(works: Works) -> None:
    await works.admit("1", "damaged")
    await works.admit("2", "good")
    await works.admit("3", "good, too")
    await works.index_all()
    await works.admit("4", "waiting")

    status = await indexing_status(works.overview)
    assert status.states == {"indexed": 2, "rejected": 1, "waiting": 1}
    assert status.providers == {"files__default": {"indexed": 2, "rejected": 1, "waiting": 1}}
    assert status.rejected == {Reason.DAMAGED: 1}
    assert status.failing == {}
    assert status.seconds_left is not None
    assert {source.ref for source in status.slowest} == {"files__default: 2", "files__default: 3"}


async def test_new_rules_hold_for_what_is_indexed_and_for_what_waits(works: Works) -> None:
    await works.admit("1", "kept", title="files/a.txt")
    await works.admit("2", "left out", title="files/a.log")
    await works.index_all()
    await works.admit("3", "left out, too", title="files/b.log")
    excluded, rules, now = Excluded(works.database), Exclusions(paths=("*.log",)), datetime.now(UTC)

    assert await apply(excluded, rules, now) == 2
    assert await works.states() == {"indexed": 1, "rejected": 2}
    assert await works.found("left out kept") == ["kept"]
    assert await works.count("chunk") == 1
    assert await apply(excluded, rules, now) == 0


async def test_rules_about_age_are_applied_again_a_day_later(works: Works) -> None:
    now = datetime.now(UTC)
    await works.admit("1", "words", modified=now)
    rules, excluded = replace(Exclusions(), older_than=timedelta(days=10)), Excluded(works.database)

    assert await apply(excluded, rules, now) == 0
    assert await apply(excluded, rules, now + timedelta(days=11)) == 1


async def test_fifty_thousand_waiting_sources_are_claimed_from_quickly_after_a_restart(works: Works) -> None:
    await works.admit("0", "the first")
    async with works.database.transaction() as connection:
        await connection.execute(
            "INSERT INTO source (realm, ref, provider, title, media_type, size, modified_at, access_set_id, precedence)"
            " SELECT realm, 'files__default: ' || n, provider, title, media_type, size, modified_at, access_set_id, n"
            " FROM source CROSS JOIN generate_series(1, 50000) AS n"
        )
        await connection.execute("ANALYZE source")
        plan = await connection.execute(
            "EXPLAIN SELECT id FROM source WHERE state = 'waiting' AND access_set_id = 1 AND next_attempt_at <= now()"
            " ORDER BY precedence DESC, id LIMIT 64"
        )
        assert "source_due" in str(await plan.fetchall())

    claimed = await Ledger(works.database).claim(64, LEASE)
    assert len(claimed) == 64
    assert (await works.ledger.waiting()).sources == 50_001
