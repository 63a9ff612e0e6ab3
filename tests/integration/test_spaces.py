# SPDX-License-Identifier: AGPL-3.0-or-later
"""A changed embedding model: the old one answers until the new one has every chunk, and nothing is lost on the way."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import pytest
from structlog.testing import capture_logs

from context_chat_backend.cli.status import EmbeddingStatus
from context_chat_backend.domain import Delivery, Document, Part, Passage, Principal, Question, Realm, SourceRef
from context_chat_backend.errors import ModelUnavailable, TextRefused
from context_chat_backend.indexing.embedding import Embedding
from context_chat_backend.indexing.index import Indexer
from context_chat_backend.indexing.preparing import Preparation
from context_chat_backend.indexing.reembedding import Reembedding
from context_chat_backend.indexing.settling import Settling
from context_chat_backend.inference.embedding.hashing import HashingEmbedder
from context_chat_backend.inference.reranking.none import NoReranker
from context_chat_backend.ports import Embedder, Vectors
from context_chat_backend.retrieval.retrieve import Retriever, Shaping
from context_chat_backend.settings import ModelChoice
from context_chat_backend.spaces import SpacesInUse
from context_chat_backend.store.access import Access
from context_chat_backend.store.chunks import Chunks
from context_chat_backend.store.database import Database
from context_chat_backend.store.indexes import SearchIndexes
from context_chat_backend.store.leases import Leases
from context_chat_backend.store.ledger import Ledger
from context_chat_backend.store.neighbours import Neighbours
from context_chat_backend.store.search import Search, Weights
from context_chat_backend.store.spaces import Spaces, StoredSpace
from tests.spaces import choice_of, spaces_of
from tests.waiting import soon

NC = Realm.NEXTCLOUD
ALICE, BOB = Principal(NC, "alice"), Principal(NC, "bob")
START = datetime(2024, 1, 1, tzinfo=UTC)
LEASE = timedelta(minutes=5)
BY_MEANING = Weights(words=0.0)


class PlainParser:
    """Reads text."""

    async def parse(self, content: Path, media_type: str, title: str) -> Document:
        return Document((Part(content.read_text(encoding="utf-8")),))


class Watched(HashingEmbedder):
    """Counts what it embeds; can be told to be down, and to wait at the next passages."""

    def __init__(self, dimension: int) -> None:
        super().__init__(dimension)
        self.embedded: list[str] = []
        self.down_after: int | None = None
        self.closed = False
        self.reached = asyncio.Event()
        self.goes_on = asyncio.Event()
        self.goes_on.set()

    async def embed_passages(self, texts: Sequence[str]) -> Vectors:
        if self.down_after is not None and len(self.embedded) >= self.down_after:
            raise ModelUnavailable("down")
        self.reached.set()
        await self.goes_on.wait()
        self.embedded += texts
        return await super().embed_passages(texts)

    async def embed_question(self, text: str) -> Vectors:
        if self.down_after is not None and len(self.embedded) >= self.down_after:
            raise ModelUnavailable("down")
        return await super().embed_question(text)

    async def close(self) -> None:
        self.closed = True


class Process:
    """What one process of the program does with one database, step by step."""

    def __init__(self, database: Database, folder: Path, spaces: SpacesInUse) -> None:
        self.database, self.folder, self.spaces = database, folder, spaces
        self.ledger, self.actions = Ledger(database), Access(database)
        preparation = Preparation(
            self.ledger, PlainParser(), spaces, folder=folder, chunk_tokens=200, chunk_overlap_tokens=20
        )
        chunks = Chunks(database)
        self.indexer = Indexer(
            self.ledger, preparation, Embedding(spaces, chunks), Settling(chunks), workers=1, admitted=asyncio.Event()
        )
        self.indexed_when_full: list[tuple[int, int]] = []
        self.reembedding = Reembedding(
            Spaces(database), spaces, chunks, Leases(database), self.build_index, grace=timedelta(0)
        )
        search, neighbours = Search(database), Neighbours(database)
        self.retriever = Retriever(spaces, search, NoReranker(), neighbours, Shaping(collapse=False))

    @classmethod
    async def start(cls, database: Database, folder: Path, embedder: Embedder, *others: Embedder) -> Process:
        return cls(database, folder, await spaces_of(database, embedder, *others))

    async def build_index(self, stored: StoredSpace) -> None:
        progress = await Spaces(self.database).progress(stored)
        if progress is None:  # given up a moment ago
            return
        self.indexed_when_full.append((progress.embedded, progress.chunks))
        await SearchIndexes(self.database, stored).build(stored.index, memory=64_000_000, workers=0)

    async def admit(
        self, item: str, text: str, modified: int = 0, readers: Sequence[Principal] = (ALICE,)
    ) -> SourceRef:
        body = self.folder / "body"
        body.write_text(text, encoding="utf-8")
        ref = SourceRef("files__default", item)
        at = START + timedelta(seconds=modified)
        delivery = Delivery(NC, ref, f"{item}.txt", "text/plain", at, frozenset(readers))
        await self.ledger.admit(delivery, body, body.stat().st_size)
        return ref

    async def settle(self) -> None:
        for source in await self.ledger.claim(100, LEASE):
            await self.indexer.settle(source)

    async def add(self, item: str, text: str, modified: int = 0, readers: Sequence[Principal] = (ALICE,)) -> SourceRef:
        ref = await self.admit(item, text, modified, readers)
        await self.settle()
        return ref

    async def by_meaning(self, text: str, asker: Principal = ALICE, limit: int = 50) -> list[Passage]:
        return await self.retriever.passages(Question(text, asker, limit=limit), BY_MEANING)

    @property
    def answering(self) -> int:
        return self.spaces.answering.stored.space.dimension


async def filled(database: Database, folder: Path, count: int = 40, dimension: int = 256) -> Process:
    process = await Process.start(database, folder, Watched(dimension))
    for number in range(count):
        await process.admit(str(number), f"word{number} stands here")
    await process.settle()
    return process


async def count(database: Database, table: str) -> int | None:
    """How many rows; None when there is no such table."""
    async with database.transaction() as connection:
        there = await (await connection.execute("SELECT to_regclass(%s) IS NOT NULL", (table,))).fetchone()
        if there != (True,):
            return None
        row = await (await connection.execute(f"SELECT count(*) FROM {table}".encode())).fetchone()
    assert row is not None
    return int(row[0])


def texts(passages: Sequence[Passage]) -> list[str]:
    return [passage.text for passage in passages]


async def test_the_first_model_answers_at_once(database: Database, tmp_path: Path) -> None:
    process = await filled(database, tmp_path, 3)

    assert process.spaces.filling is None
    assert await process.reembedding.progress() is None
    assert texts(await process.by_meaning("word1", limit=1)) == ["word1 stands here"]


async def test_a_changed_model_answers_when_all_is_embedded_and_the_old_one_is_dropped(
    database: Database, tmp_path: Path
) -> None:
    old = await filled(database, tmp_path)
    embedder = Watched(128)
    new = await Process.start(database, tmp_path, embedder, HashingEmbedder(256))

    assert (new.answering, new.spaces.filling is not None) == (256, True)
    assert texts(await new.by_meaning("word7", limit=1)) == ["word7 stands here"]
    await new.reembedding.work()

    assert (new.answering, new.spaces.filling) == (128, None)
    assert len(embedder.embedded) == 40
    assert new.indexed_when_full == [(40, 40)]  # the index comes after the bulk
    assert await SearchIndexes(database, new.spaces.answering.stored).missing() == []
    assert texts(await new.by_meaning("word7", limit=1)) == ["word7 stands here"]
    retired = old.spaces.answering.stored
    assert await count(database, f"embedding_{retired.id}") == 40
    await new.reembedding.drop_retired()
    assert await count(database, f"embedding_{retired.id}") is None
    assert await count(database, "embedding_space") == 1


async def test_a_process_that_has_not_looked_since_asks_the_space_that_answers_now(
    database: Database, tmp_path: Path
) -> None:
    old = await filled(database, tmp_path, 3)
    new = await Process.start(database, tmp_path, HashingEmbedder(128))
    await new.reembedding.work()
    await new.reembedding.drop_retired()

    assert old.answering == 256
    assert [found.ref.item for found in await old.retriever.sources(Question("word1", ALICE, limit=1))] == ["1"]
    assert old.answering == 128


async def test_a_model_chosen_while_nothing_is_indexed_answers_too(database: Database, tmp_path: Path) -> None:
    await filled(database, tmp_path, 0)
    new = await Process.start(database, tmp_path, HashingEmbedder(128))
    await new.reembedding.work()
    await new.add("1", "word1 stands here")

    assert new.answering == 128
    assert texts(await new.by_meaning("word1")) == ["word1 stands here"]


async def test_what_was_embedded_before_a_fault_is_not_embedded_again(database: Database, tmp_path: Path) -> None:
    await filled(database, tmp_path)
    embedder = Watched(128)
    embedder.down_after = 20
    new = await Process.start(database, tmp_path, embedder, HashingEmbedder(256))
    with pytest.raises(ModelUnavailable):
        await new.reembedding.work()
    progress = await new.reembedding.progress()
    assert progress is not None
    assert 20 <= progress.progress.embedded < 40
    assert not progress.at_work
    embedder.down_after = None
    again = await Process.start(database, tmp_path, embedder, HashingEmbedder(256))
    await again.reembedding.work()

    assert again.answering == 128
    assert len(embedder.embedded) == len(set(embedder.embedded)) == 40


async def test_new_and_changed_documents_are_embedded_in_both(database: Database, tmp_path: Path) -> None:
    await filled(database, tmp_path)
    old_model, embedder = Watched(256), Watched(128)
    new = await Process.start(database, tmp_path, embedder, old_model)
    embedder.goes_on.clear()
    filling = asyncio.create_task(new.reembedding.work())
    await embedder.reached.wait()
    settling = asyncio.create_task(_add_all(new))
    await asyncio.sleep(0)
    embedder.goes_on.set()
    await settling

    assert texts(await new.by_meaning("submarine", limit=1)) == ["submarine dives"]  # whichever answers
    await filling
    assert new.answering == 128
    assert texts(await new.by_meaning("submarine", limit=1)) == ["submarine dives"]
    assert texts(await new.by_meaning("balloon", limit=1)) == ["balloon flies"]
    assert "word3 stands here" not in texts(await new.by_meaning("word3"))
    assert sum("submarine" in text for text in old_model.embedded) == 1


async def _add_all(process: Process) -> None:
    await process.add("100", "submarine dives")
    await process.add("3", "balloon flies", modified=1)


async def test_no_space_answers_before_what_others_stored_without_it_is_in_it(
    database: Database, tmp_path: Path
) -> None:
    old = await filled(database, tmp_path, 3)
    new = await Process.start(database, tmp_path, HashingEmbedder(128))
    await old.add("100", "submarine dives")  # it knows nothing of the new space
    wanted = new.spaces.filling
    assert wanted is not None

    assert not await Spaces(database).complete(wanted.stored)
    await new.reembedding.work()
    assert new.answering == 128
    assert texts(await new.by_meaning("submarine", limit=1)) == ["submarine dives"]


async def test_what_a_process_stores_late_in_the_old_space_is_embedded_in_the_new_one(
    database: Database, tmp_path: Path
) -> None:
    old = await filled(database, tmp_path, 3)
    new = await Process.start(database, tmp_path, HashingEmbedder(128))
    await new.reembedding.work()
    await old.add("100", "submarine dives")  # it has not looked yet

    assert "submarine dives" in texts(await new.retriever.passages(Question("submarine", ALICE)))  # by its words
    await new.reembedding.work()
    assert texts(await new.by_meaning("submarine", limit=1)) == ["submarine dives"]


async def test_what_is_deleted_or_replaced_while_it_is_embedded_leaves_nothing(
    database: Database, tmp_path: Path
) -> None:
    old = await filled(database, tmp_path, 5)
    embedder = Watched(128)
    new = await Process.start(database, tmp_path, embedder, HashingEmbedder(256))
    embedder.goes_on.clear()
    filling = asyncio.create_task(new.reembedding.work())
    await embedder.reached.wait()
    await new.actions.delete_sources(NC, [SourceRef("files__default", "0")])
    await new.actions.sweep_sources()
    await old.add("1", "submarine dives", modified=1)
    embedder.goes_on.set()
    await filling

    assert new.answering == 128
    assert sorted(texts(await new.by_meaning("word0"))) == [
        "submarine dives", "word2 stands here", "word3 stands here", "word4 stands here",
    ]  # fmt: skip
    assert await count(database, f"embedding_{new.spaces.answering.stored.id}") == 4


async def test_a_change_back_in_the_middle_leaves_the_old_space_answering(database: Database, tmp_path: Path) -> None:
    await filled(database, tmp_path)
    embedder = Watched(128)
    embedder.goes_on.clear()
    new = await Process.start(database, tmp_path, embedder, HashingEmbedder(256))
    filling = asyncio.create_task(new.reembedding.work())
    await embedder.reached.wait()
    back = await Process.start(database, tmp_path, HashingEmbedder(256), embedder)
    embedder.goes_on.set()
    await filling
    await back.reembedding.work()

    assert (new.answering, back.answering) == (256, 256)
    assert (new.spaces.filling, back.spaces.filling) == (None, None)
    assert len(embedder.embedded) < 40
    await back.reembedding.drop_retired()
    assert await count(database, "embedding_space") == 1
    assert len(await back.by_meaning("word1")) == 40


async def test_a_space_that_is_wanted_again_before_it_is_dropped_goes_on_where_it_stopped(
    database: Database, tmp_path: Path
) -> None:
    await filled(database, tmp_path)
    embedder = Watched(128)
    embedder.down_after = 16
    half = await Process.start(database, tmp_path, embedder, HashingEmbedder(256))
    with pytest.raises(ModelUnavailable):
        await half.reembedding.work()
    back = await Process.start(database, tmp_path, HashingEmbedder(256), embedder)
    await back.add("100", "submarine dives")
    embedder.down_after = None
    again = await Process.start(database, tmp_path, embedder, HashingEmbedder(256))
    await again.reembedding.work()

    assert again.answering == 128
    assert len(embedder.embedded) == 41
    assert texts(await again.by_meaning("submarine", limit=1)) == ["submarine dives"]


async def test_one_process_fills_while_another_looks_on(database: Database, tmp_path: Path) -> None:
    await filled(database, tmp_path)
    busy, idle = Watched(128), Watched(128)
    first = await Process.start(database, tmp_path, busy, HashingEmbedder(256))
    second = await Process.start(database, tmp_path, idle, HashingEmbedder(256))
    busy.goes_on.clear()
    filling = asyncio.create_task(first.reembedding.work())
    await busy.reached.wait()
    await second.reembedding.work()

    progress = await second.reembedding.progress()
    assert progress is not None
    assert progress.at_work
    assert idle.embedded == []
    busy.goes_on.set()
    await filling
    await second.spaces.refresh()
    assert second.answering == 128
    assert texts(await second.by_meaning("word7", limit=1)) == ["word7 stands here"]


async def test_a_lease_ends_when_its_holder_says_nothing(database: Database) -> None:
    dead, other = Leases(database), Leases(database)
    async with dead.hold("work", timedelta(minutes=1)) as is_ours:
        assert is_ours
        async with other.hold("work", timedelta(minutes=1)) as is_others:
            assert not is_others
        async with database.transaction() as connection:  # as a killed process leaves it, some time later
            await connection.execute("UPDATE lease SET until = now() - interval '1 second'")
        assert not await other.is_held("work")
        async with other.hold("work", timedelta(minutes=1)) as is_others:
            assert is_others
            assert await dead.is_held("work")
    assert not await other.is_held("work")


async def test_a_long_task_keeps_its_lease(database: Database) -> None:
    mine, other = Leases(database), Leases(database)
    first = None

    async def is_prolonged() -> bool:
        nonlocal first
        async with database.transaction() as connection:
            row = await (await connection.execute("SELECT until FROM lease WHERE name = 'work'")).fetchone()
        first = first or row
        return row != first

    async with mine.hold("work", timedelta(seconds=3)) as is_ours:
        assert is_ours
        await soon(is_prolonged)
        async with other.hold("work", timedelta(seconds=3)) as is_others:
            assert not is_others


async def test_when_the_old_model_cannot_be_used_words_alone_answer_until_the_new_one_does(
    database: Database, tmp_path: Path
) -> None:
    await filled(database, tmp_path, 5)
    with capture_logs() as logged:
        new = await Process.start(database, tmp_path, Watched(128))  # nothing else can be built

    assert [(e["event"], e["log_level"]) for e in logged] == [("embedder_cannot_be_built", "warning")]
    assert new.spaces.answering.embedder is None
    assert await new.by_meaning("word1") == []
    assert texts(await new.retriever.passages(Question("word1", ALICE)))[0] == "word1 stands here"
    await new.add("100", "submarine dives")
    assert texts(await new.retriever.passages(Question("submarine", ALICE))) == ["submarine dives"]
    await new.reembedding.work()
    assert new.answering == 128
    assert texts(await new.by_meaning("submarine", limit=1)) == ["submarine dives"]


async def test_while_the_old_model_is_down_the_new_space_is_filled_and_documents_are_indexed(
    database: Database, tmp_path: Path
) -> None:
    await filled(database, tmp_path, 5)
    down = Watched(256)
    down.down_after = 0
    new = await Process.start(database, tmp_path, Watched(128), down)
    await new.add("100", "submarine dives")

    assert await new.ledger.count_states() == {"indexed": 6}
    with suppress(ModelUnavailable):
        await new.reembedding.work()
    assert new.answering == 128
    assert texts(await new.by_meaning("submarine", limit=1)) == ["submarine dives"]


async def test_while_the_new_model_is_down_documents_are_indexed_and_come_into_its_space_later(
    database: Database, tmp_path: Path
) -> None:
    await filled(database, tmp_path, 5)
    embedder = Watched(128)
    embedder.down_after = 0
    new = await Process.start(database, tmp_path, embedder, HashingEmbedder(256))
    await new.add("100", "submarine dives")

    assert texts(await new.by_meaning("submarine", limit=1)) == ["submarine dives"]
    embedder.down_after = None
    await new.reembedding.work()
    assert (new.answering, len(embedder.embedded)) == (128, 6)


async def test_a_model_that_was_built_for_a_dropped_space_is_closed(database: Database, tmp_path: Path) -> None:
    await filled(database, tmp_path, 2)
    old_model, embedder = Watched(256), Watched(128)
    new = await Process.start(database, tmp_path, embedder, old_model)
    await new.reembedding.work()
    assert not old_model.closed
    await new.reembedding.drop_retired()
    await new.spaces.refresh()

    assert (old_model.closed, embedder.closed) == (True, False)


async def test_a_model_that_now_makes_other_vectors_is_not_asked(database: Database, tmp_path: Path) -> None:
    await filled(database, tmp_path, 2)
    stored = Spaces(database)
    await stored.ensure(HashingEmbedder(128).space, choice_of(HashingEmbedder(128)))
    spaces = SpacesInUse(stored, HashingEmbedder(128), lambda _: HashingEmbedder(48))
    with capture_logs() as logged:
        await spaces.refresh()

    assert [event["event"] for event in logged] == ["embedder_makes_other_vectors"]
    assert spaces.answering.embedder is None


class Picky(HashingEmbedder):
    """Refuses some texts."""

    async def embed_passages(self, texts: Sequence[str]) -> Vectors:
        if any("word3 " in text for text in texts):
            raise TextRefused("no")
        return await super().embed_passages(texts)


async def test_a_text_the_new_model_refuses_does_not_keep_it_from_answering(database: Database, tmp_path: Path) -> None:
    await filled(database, tmp_path, 5)
    new = await Process.start(database, tmp_path, Picky(128), HashingEmbedder(256))
    await new.reembedding.work()

    assert new.answering == 128
    assert len(await new.by_meaning("word1")) == 5
    by_words = await new.retriever.passages(Question("word3", ALICE), Weights(meaning=0.0))
    assert by_words[0].text == "word3 stands here"


@pytest.mark.parametrize(("old", "new", "left"), [(HashingEmbedder, Picky, 256), (Picky, HashingEmbedder, 128)])
async def test_a_text_one_of_two_models_refuses_is_indexed_with_the_other(
    database: Database, old: type[HashingEmbedder], new: type[HashingEmbedder], left: int
) -> None:
    await spaces_of(database, old(256))
    embedding = Embedding(await spaces_of(database, new(128), old(256)), Chunks(database))
    found = await embedding.vectors(["word3 stands here"], [uuid4()])

    assert [space.space.dimension for space in found] == [left]


async def test_a_text_that_all_models_refuse_is_refused(database: Database) -> None:
    await spaces_of(database, Picky(256))
    embedding = Embedding(await spaces_of(database, Picky(128), Picky(256)), Chunks(database))
    with pytest.raises(TextRefused):
        await embedding.vectors(["word3 stands here"], [uuid4()])


class Late(Watched):
    """Its server is down at first."""

    opened = 0

    async def open(self) -> None:
        self.opened += 1
        if self.opened == 1:
            raise ModelUnavailable("down")


async def test_an_old_model_that_was_down_at_the_start_answers_when_it_is_back(
    database: Database, tmp_path: Path
) -> None:
    await filled(database, tmp_path, 3)
    stored, old, wanted = Spaces(database), Late(256), HashingEmbedder(128)
    await stored.ensure(wanted.space, choice_of(wanted))
    spaces = SpacesInUse(stored, wanted, lambda _: old, patience=0)
    await spaces.refresh()
    assert spaces.answering.embedder is None
    await spaces.refresh()
    assert spaces.answering.embedder is old


async def test_what_is_written_down_of_a_model_holds_no_secret(database: Database) -> None:
    options = {"base_url": "https://user:hidden@models.example/v1", "api_key": "hidden", "model": "small"}
    await Spaces(database).ensure(HashingEmbedder(128).space, ModelChoice("remote", options))
    async with database.transaction() as connection:
        row = await (await connection.execute("SELECT embedder::text FROM embedding_space")).fetchone()
    (listed,) = await Spaces(database).all()

    assert row is not None
    assert "hidden" not in row[0]
    assert listed.model == ModelChoice("remote", {"base_url": "https://models.example/v1", "model": "small"})
    assert listed.model.with_secrets_of(ModelChoice("remote", options)) == ModelChoice("remote", options)
    elsewhere = ModelChoice("remote", {**options, "base_url": "https://other.example"})
    assert listed.model.with_secrets_of(elsewhere) == listed.model


async def test_searches_while_the_space_changes_are_of_one_space_each(database: Database, tmp_path: Path) -> None:
    await filled(database, tmp_path)
    new = await Process.start(database, tmp_path, Watched(16), HashingEmbedder(256))
    question = "word7 stands"
    before = _ranked(await new.by_meaning(question))
    done = asyncio.Event()
    seen: list[list[tuple[str, float]]] = []

    async def ask() -> None:
        while not done.is_set():
            seen.append(_ranked(await new.by_meaning(question)))

    asking = [asyncio.create_task(ask()) for _ in range(3)]
    await new.reembedding.work()
    await new.reembedding.drop_retired()
    seen.append(_ranked(await new.by_meaning(question)))
    done.set()
    await asyncio.gather(*asking)
    after = _ranked(await new.by_meaning(question))

    assert before != after
    assert len(before) == len(after) == 40
    assert {str(found) for found in seen} == {str(before), str(after)}


def _ranked(passages: Sequence[Passage]) -> list[tuple[str, float]]:
    return sorted((passage.text, round(passage.similarity or 0.0, 3)) for passage in passages)


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (EmbeddingStatus("a", True), ["a answers"]),
        (EmbeddingStatus("a", False), ["words alone answer: the model a cannot be used here any more"]),
        (
            EmbeddingStatus("a", True, "b", 0.25, 4000, 10.0, 300.0, True),
            ["a answers", "b is to answer: 25.0% of 4000 chunks embedded, 10 a second, 5 min left"],
        ),
        (
            EmbeddingStatus("a", True, "b", 0.25, 400_000, 10.0, 30_000.0, True),
            ["a answers", "b is to answer: 25.0% of 400000 chunks embedded, 10 a second, 8 h 20 min left"],
        ),
        (
            EmbeddingStatus("a", True, "b", 0.25, 4000, 10.0, 300.0, False),
            [
                "a answers",
                "b is to answer: 25.0% of 4000 chunks embedded, stopped: it goes on while the program serves",
            ],
        ),
        (
            EmbeddingStatus("a", True, "b", 1.0, 4000, 10.0, 0.0, True),
            ["a answers", "b is to answer: 100.0% of 4000 chunks embedded, its index is being built"],
        ),
    ],
)
def test_status_says_what_answers_and_how_long_another_model_takes(status: EmbeddingStatus, said: list[str]) -> None:
    assert status.lines == said
