# SPDX-License-Identifier: AGPL-3.0-or-later
"""Every source that enters gets a verdict: admission, claims, leases and outcomes in the real database."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from context_chat_backend.domain import (
    Admission,
    Chunk,
    Delivery,
    Document,
    EmbeddingSpace,
    Part,
    Principal,
    Question,
    Realm,
    Reason,
    SourceRef,
)
from context_chat_backend.errors import ModelUnavailable, ParserKilled, SourceRejected, WaitingListFull
from context_chat_backend.exclusions import Exclusions
from context_chat_backend.indexing.admission import Admissions
from context_chat_backend.indexing.embedding import Embedding
from context_chat_backend.indexing.index import MAX_ATTEMPTS, Indexer
from context_chat_backend.indexing.preparing import Preparation
from context_chat_backend.indexing.settling import Settling
from context_chat_backend.inference.embedding.hashing import HashingEmbedder
from context_chat_backend.ports import Vectors
from context_chat_backend.store.access import Access
from context_chat_backend.store.chunks import Chunks, IndexedSource
from context_chat_backend.store.database import Database
from context_chat_backend.store.ledger import Ledger
from context_chat_backend.store.search import Search, Weights
from context_chat_backend.store.spaces import Spaces
from tests.spaces import spaces_of

ALICE = Principal(Realm.NEXTCLOUD, "alice")
REF = SourceRef("files__default", "1")
LEASE = timedelta(minutes=5)
START = datetime(2024, 1, 1, tzinfo=UTC)


class PlainParser:
    """Reads text, and fails as it is told to by the text."""

    async def parse(self, content: Path, media_type: str, title: str) -> Document:
        text = content.read_text(encoding="utf-8")
        if text == "crash":
            raise SourceRejected(Reason.PARSER_DIED)
        if text == "kill":
            raise ParserKilled(Reason.PARSER_DIED)
        if text == "fault":
            raise RuntimeError("a fault of ours")
        return Document((Part(text),))


class BrokenEmbedder(HashingEmbedder):
    """Is not there until it is mended."""

    broken = True

    async def embed_passages(self, texts: Sequence[str]) -> Vectors:
        if self.broken:
            raise ModelUnavailable("out of order")
        return await super().embed_passages(texts)


class Bench:
    """Ledger, admission and one indexing worker over one database."""

    def __init__(self, database: Database, folder: Path, exclusions: Exclusions | None = None, **limits: int) -> None:
        self.database, self.folder = database, folder
        self.ledger = Ledger(database)
        self.embedder = BrokenEmbedder(64)
        self.embedder.broken = False
        bounds = {"max_source_bytes": 1000, "max_waiting_sources": 100, "max_waiting_bytes": 10_000} | limits
        self.admissions = Admissions(
            self.ledger,
            lambda kind, title: kind != "no",
            max_source_bytes=bounds["max_source_bytes"],
            max_waiting_sources=bounds["max_waiting_sources"],
            max_waiting_bytes=bounds["max_waiting_bytes"],
            admitted=asyncio.Event(),
            exclusions=exclusions or Exclusions(),
        )

    async def admit(self, text: str = "some words", item: str = "1", **changes: object) -> Admission:
        body = self.folder / "body"
        body.write_text(text, encoding="utf-8")
        ref = SourceRef("files__default", item)
        delivery = Delivery(Realm.NEXTCLOUD, ref, "a.txt", "text/plain", START, frozenset({ALICE}))
        delivery = replace(delivery, **changes)  # type: ignore[arg-type]
        return await self.admissions.admit(delivery, body, body.stat().st_size)

    async def settle_all(self) -> None:
        spaces = await spaces_of(self.database, self.embedder)
        preparation = Preparation(
            self.ledger, PlainParser(), spaces, folder=self.folder, chunk_tokens=200, chunk_overlap_tokens=20
        )
        chunks = Chunks(self.database)
        indexer = Indexer(
            self.ledger,
            preparation,
            Embedding(spaces, chunks),
            Settling(chunks),
            workers=1,
            admitted=asyncio.Event(),
        )
        for source in await self.ledger.claim(100, LEASE):
            await indexer.settle(source)

    async def found(self, text: str, weights: Weights = Weights()) -> list[str]:  # noqa: B008
        space = await Spaces(self.database).ensure(self.embedder.space)
        vector = await self.embedder.embed_question(text)
        passages = await Search(self.database).passages(Question(text, ALICE), vector, space, weights)
        return [passage.text for passage in passages]

    async def due_now(self) -> None:
        async with self.database.transaction() as connection:
            await connection.execute("UPDATE source SET next_attempt_at = now()")

    async def states(self) -> dict[str, int]:
        return await self.ledger.count_states()


@pytest.fixture
def bench(database: Database, tmp_path: Path) -> Bench:
    return Bench(database, tmp_path)


async def test_a_delivery_is_admitted_once_and_answers_when_indexed(bench: Bench) -> None:
    assert await bench.admit() is Admission.ADMITTED
    assert await bench.admit() is Admission.WAITING
    await bench.settle_all()
    assert await bench.admit() is Admission.UNCHANGED
    assert await bench.found("words") == ["some words"]
    assert await bench.states() == {"indexed": 1}


async def test_spooled_bytes_come_back_whole_and_go_when_indexed(bench: Bench) -> None:
    bench.admissions = Bench(bench.database, bench.folder, max_source_bytes=10_000_000).admissions
    text = "0123456789" * 250_000  # more than two pieces of the spool
    await bench.admit(text)
    (source,) = await bench.ledger.claim(1, LEASE)

    assert b"".join([piece async for piece in bench.ledger.read(source)]).decode() == text
    await bench.due_now()
    await bench.settle_all()
    async with bench.database.transaction() as connection:
        assert await (await connection.execute("SELECT count(*) FROM spool")).fetchone() == (0,)


async def test_a_newer_version_replaces_the_old_one_only_when_it_is_indexed(bench: Bench) -> None:
    await bench.admit("old words")
    await bench.settle_all()
    assert await bench.admit("new words", modified_at=START + timedelta(1)) is Admission.ADMITTED

    assert await bench.found("words") == ["old words"]
    await bench.settle_all()
    assert await bench.found("words") == ["new words"]


def delivered(item: str, kind: str = "text/plain") -> Delivery:
    return Delivery(Realm.NEXTCLOUD, SourceRef("files__default", item), "a.txt", kind, START, frozenset({ALICE}))


async def test_what_is_new_is_admitted_together_and_the_rest_is_left_for_one_by_one(bench: Bench) -> None:
    await bench.admit("known words", item="known")
    batch = [
        (delivered("known"), b"known words"),
        (delivered("a"), b"first words"),
        (delivered("b", "no"), b"of no use"),
        (delivered("c"), b"other words"),
        (delivered("a"), b"the same once more"),
        (delivered("empty"), b""),
    ]

    assert await bench.admissions.admit_new(batch) == {"files__default: a", "files__default: c"}

    await bench.settle_all()
    assert sorted(await bench.found("words")) == ["first words", "known words", "other words"]
    assert await bench.admissions.admit_new(batch) == set()


async def test_no_more_is_admitted_together_than_there_is_room_for(database: Database, tmp_path: Path) -> None:
    bench = Bench(database, tmp_path, max_waiting_sources=2)
    batch = [(delivered(str(item)), b"words") for item in range(5)]

    assert await bench.admissions.admit_new(batch) == {"files__default: 0", "files__default: 1"}
    assert await bench.admissions.admit_new(batch[2:]) == set()


async def test_an_outcome_for_a_replaced_version_changes_nothing(bench: Bench) -> None:
    await bench.admit("first words")
    (stale,) = await bench.ledger.claim(1, LEASE)
    await bench.admit("second words", modified_at=START + timedelta(1))
    await bench.ledger.reject(stale, Reason.DAMAGED)
    await bench.ledger.retry_later(stale, Reason.INTERNAL, timedelta(days=1))
    large = replace(stale, body=None)  # the bytes of small ones came with the claim
    assert [piece async for piece in bench.ledger.read(large)] == []

    await bench.settle_all()
    assert await bench.found("words") == ["second words"]


async def test_two_workers_never_hold_the_same_source(bench: Bench) -> None:
    for item in range(20):
        await bench.admit(item=str(item))

    claims = await asyncio.gather(*(bench.ledger.claim(3, LEASE) for _ in range(10)))

    ids = [source.id for claim in claims for source in claim]
    assert len(ids) == len(set(ids)) == 20


async def test_a_lease_that_ends_makes_the_source_due_again(bench: Bench) -> None:
    await bench.admit()
    (first,) = await bench.ledger.claim(1, timedelta(seconds=-1))
    (second,) = await bench.ledger.claim(1, LEASE)

    assert (first.attempts, second.attempts) == (1, 2)
    assert await bench.ledger.claim(1, LEASE) == []


async def test_a_prolonged_lease_holds(bench: Bench) -> None:
    await bench.admit()
    (source,) = await bench.ledger.claim(1, timedelta(seconds=0))
    await bench.ledger.prolong([source], LEASE)

    assert await bench.ledger.claim(1, LEASE) == []


@pytest.mark.parametrize("wanted", [False, True])
async def test_a_lease_written_by_a_clock_that_was_ahead_ends_when_the_clock_is_right_again(
    bench: Bench, wanted: bool
) -> None:
    await bench.admit()
    await bench.ledger.claim(1, timedelta(days=1))
    if wanted:
        await bench.ledger.prefer(Realm.NEXTCLOUD, [SourceRef("files__default", "1")])

    assert len(await bench.ledger.claim(1, LEASE)) == 1
    assert await bench.ledger.claim(1, LEASE) == []


@pytest.mark.parametrize("wanted", [False, True])
async def test_what_nobody_has_tried_yet_is_due_though_the_clock_was_set_back_since(bench: Bench, wanted: bool) -> None:
    await bench.admit()
    if wanted:
        await bench.ledger.prefer(Realm.NEXTCLOUD, [SourceRef("files__default", "1")])
    async with bench.database.transaction() as connection:
        await connection.execute("UPDATE source SET next_attempt_at = now() + interval '40 seconds'")

    (claimed,) = await bench.ledger.claim(1, LEASE)
    await bench.ledger.postpone(claimed, Reason.UNREADABLE, timedelta(seconds=40))
    assert await bench.ledger.claim(1, LEASE) == []


REMOTE = Delivery(Realm.NEXTCLOUD, REF, "a.txt", "text/plain", START, frozenset({ALICE}), remote=True)
BOB = Principal(Realm.NEXTCLOUD, "bob")


@pytest.mark.parametrize("reason", [Reason.NOT_FOUND, Reason.UNREADABLE])
async def test_a_file_its_readers_could_not_open_is_sought_again_when_others_may_read_it(
    bench: Bench, reason: Reason
) -> None:
    await bench.ledger.admit(REMOTE, b"", 9)
    (claimed,) = await bench.ledger.claim(1, LEASE)
    await bench.ledger.reject(claimed, reason)

    await Access(bench.database).allow(Realm.NEXTCLOUD, [REF], [BOB])

    (again,) = await bench.ledger.claim(1, LEASE)
    assert again.attempts == 1


async def test_what_the_readers_of_before_could_not_open_is_not_final_when_somebody_was_let_in_meanwhile(
    bench: Bench,
) -> None:
    await bench.ledger.admit(REMOTE, b"", 9)
    for _ in range(MAX_ATTEMPTS):
        (claimed,) = await bench.ledger.claim(1, LEASE)
        await bench.ledger.begin(claimed)
        await bench.ledger.retry_later(claimed, Reason.UNREADABLE, timedelta(0))
    (last,) = await bench.ledger.claim(1, timedelta(0))

    await Access(bench.database).allow(Realm.NEXTCLOUD, [REF], [BOB])
    await bench.ledger.begin(last)
    await bench.ledger.reject(last, Reason.UNREADABLE)

    (again,) = await bench.ledger.claim(1, LEASE)
    assert (last.attempts, again.attempts) == (MAX_ATTEMPTS + 1, 1)


async def test_preferred_sources_are_claimed_first(bench: Bench) -> None:
    for item in range(5):
        await bench.admit(item=str(item))
    wanted = SourceRef("files__default", "3")

    assert await bench.ledger.prefer(Realm.NEXTCLOUD, [wanted, SourceRef("files__default", "99")]) == 1
    (source,) = await bench.ledger.claim(1, LEASE)
    assert source.ref == wanted


async def test_a_file_that_kills_its_parser_is_rejected_alone_with_its_reason(bench: Bench) -> None:
    await bench.admit("crash", item="1")
    await bench.admit("good words", item="2")
    await bench.settle_all()

    assert await bench.states() == {"indexed": 1, "rejected": 1}
    (rejected,) = await bench.ledger.rejected()
    assert (rejected.ref, rejected.reason) == ("files__default: 1", "its parser crashed")


async def test_a_rejected_version_no_longer_answers_and_is_tried_again_when_delivered_again(bench: Bench) -> None:
    await bench.admit("good words")
    await bench.settle_all()
    await bench.admit("crash", modified_at=START + timedelta(1))
    await bench.settle_all()
    assert await bench.found("words") == []

    assert await bench.admit("mended words", modified_at=START + timedelta(1)) is Admission.ADMITTED
    await bench.settle_all()
    assert await bench.found("words") == ["mended words"]


async def test_embedding_that_is_down_loses_nothing(bench: Bench) -> None:
    bench.embedder.broken = True
    await bench.admit()
    await bench.settle_all()
    assert await bench.states() == {"waiting": 1}
    assert await bench.ledger.claim(1, LEASE) == []  # backing off

    bench.embedder.broken = False
    await bench.due_now()
    await bench.settle_all()
    assert await bench.states() == {"indexed": 1}


async def test_what_only_waited_while_processes_died_is_not_blamed_for_it(bench: Bench) -> None:
    await bench.admit()
    for _ in range(MAX_ATTEMPTS + 2):
        (claimed,) = await bench.ledger.claim(1, timedelta(seconds=-1))
    assert claimed.attempts == 2

    await bench.settle_all()
    assert await bench.states() == {"indexed": 1}


async def test_what_was_begun_whenever_a_process_died_is_given_up(bench: Bench) -> None:
    await bench.admit()
    for _ in range(MAX_ATTEMPTS):
        (claimed,) = await bench.ledger.claim(1, timedelta(seconds=-1))
        await bench.ledger.begin(claimed)
    assert claimed.attempts == MAX_ATTEMPTS

    await bench.settle_all()
    assert await bench.states() == {"rejected": 1}


async def test_a_fault_of_ours_is_retried_and_ends_in_a_verdict(bench: Bench) -> None:
    await bench.admit("fault")
    for _ in range(MAX_ATTEMPTS + 1):
        await bench.due_now()
        await bench.settle_all()

    (rejected,) = await bench.ledger.rejected()
    assert rejected.reason == "internal error"


@pytest.mark.parametrize(
    ("text", "changes", "reason"),
    [
        ("", {}, Reason.EMPTY),
        ("x" * 1001, {}, Reason.TOO_LARGE),
        ("x", {"media_type": "no"}, Reason.UNSUPPORTED),
    ],
)
async def test_what_can_never_be_indexed_is_rejected_at_the_door_and_shown(
    bench: Bench, text: str, changes: dict[str, Any], reason: Reason
) -> None:
    await bench.admit("older words")
    await bench.settle_all()
    with pytest.raises(SourceRejected) as caught:
        await bench.admit(text, modified_at=START + timedelta(1), **changes)

    assert caught.value.reason is reason
    assert [source.reason for source in await bench.ledger.rejected()] == [str(reason)]
    assert await bench.found("words") == []


async def test_a_full_waiting_list_takes_nothing_new_and_answers_what_is_unchanged(bench: Bench) -> None:
    await bench.admit(item="1")
    await bench.settle_all()
    full = Bench(bench.database, bench.folder, max_waiting_sources=1)
    await full.admit(item="2")

    with pytest.raises(WaitingListFull):
        await full.admit(item="3")
    with pytest.raises(WaitingListFull):
        await full.admit(item="1", modified_at=START + timedelta(1))
    assert await full.admit(item="1") is Admission.UNCHANGED
    assert await full.admit(item="2") is Admission.WAITING
    assert not await full.admissions.wait_for_room(0.01)
    await bench.settle_all()
    assert await full.admissions.wait_for_room(5)
    assert await full.admit(item="3") is Admission.ADMITTED


async def test_the_same_source_admitted_at_once_by_many_waits_once(bench: Bench) -> None:
    outcomes = await asyncio.gather(*(Bench(bench.database, bench.folder).admit() for _ in range(8)))

    assert outcomes.count(Admission.ADMITTED) == 1
    assert await bench.states() == {"waiting": 1}


async def test_a_space_too_large_to_be_indexed_is_refused(bench: Bench) -> None:
    with pytest.raises(Exception, match="at most 4000"):
        await Spaces(bench.database).ensure(EmbeddingSpace("huge", 4001))


async def test_words_of_the_title_find_a_source_and_follow_it(bench: Bench) -> None:
    await bench.admit("nothing else", title="files/Steuer/lighthouse-2024.txt")
    await bench.settle_all()
    by_words = Weights(meaning=0.0)
    assert await bench.found("lighthouse", by_words) == ["nothing else"]
    assert await bench.found("windmill", by_words) == []

    await bench.admit("nothing else", title="files/windmill.txt")
    assert await bench.found("lighthouse", by_words) == []
    assert await bench.found("windmill", by_words) == ["nothing else"]
    assert await bench.found("else", by_words) == ["nothing else"]


async def test_put_needs_one_vector_for_each_chunk(bench: Bench) -> None:
    await bench.admit()
    (source,) = await bench.ledger.claim(1, LEASE)
    space = await Spaces(bench.database).ensure(bench.embedder.space)
    one_vector = {space: np.ones((1, 64), np.float32)}
    indexed = IndexedSource(source, [Chunk(0, "one"), Chunk(1, "two")], one_vector, b"")

    with pytest.raises(ValueError, match="2 chunks need as many vectors"):
        await Chunks(bench.database).put([indexed])
    assert await bench.states() == {"waiting": 1}
